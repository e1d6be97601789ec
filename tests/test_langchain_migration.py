"""Folders of LangChain's FAISS store: read with their vectors, and whatever is hostile in them refused, never run."""

from __future__ import annotations

import builtins
import collections
import datetime
import io
import os
import pickle
import shutil
import struct
import sys
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from pydantic import Field

from langbert.errors import LangbertError, StoreCorrupt, StoreError, StoreMismatch, UnsafePickle
from langbert.pickled import Instance, read_pickle
from langchain_langbert import LangBertVectorStore
from langchain_langbert._faiss_file import read_faiss_vectors
from langchain_langbert.migration import read_langchain_faiss

GOLDEN = Path(__file__).parent / "golden" / "langchain_faiss"  # made by golden/make_langchain_faiss.py
WORDS = DeterministicFakeEmbedding(size=16)


class Counting(DeterministicFakeEmbedding):
    """Remembers what it was asked to embed."""

    asked: list[str] = Field(default_factory=list)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked += texts
        return super().embed_documents(texts)


# --- a real folder ---------------------------------------------------------------------------------------------------


def test_a_folder_comes_over_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "langchain_community"]:
        monkeypatch.delitem(sys.modules, name)  # of another test
    embedding = Counting(size=16)
    with LangBertVectorStore.from_langchain_faiss(GOLDEN, embedding, tmp_path / "store") as store:
        assert len(embedding.asked) == 1  # the check; nothing else is embedded again
        assert len(store.store) == 5
        assert store.get_by_ids(["pep8", "bees", "zh", "empty"]) == [
            Document(
                id="pep8", page_content="Limit all lines to 79 characters.", metadata={"source": "pep8.pdf", "page": 0}
            ),
            Document(
                id="bees",
                page_content="Bees make honey from nectar.",
                metadata={"source": "bees.md", "tags": ["a", "b"]},
            ),
            Document(
                id="zh",
                page_content="变压器是一种神经网络。",
                metadata={"source": "网络.txt", "lang": "zh", "year": 2017},
            ),
            Document(id="empty", page_content="", metadata={}),
        ]
        (made,) = store.similarity_search("An id was made for this one.", k=1)
        assert uuid.UUID(made.id or "")
        assert made.metadata == {"ok": True, "none": None, "deep": {"x": [1, 2]}}
    with LangBertVectorStore(embedding, tmp_path / "store") as store:
        ((found, score),) = store.similarity_search_with_score("Bees make honey from nectar.", k=1)
        assert found.id == "bees"
        assert score == pytest.approx(1, abs=1e-6)
        expected = np.array(WORDS.embed_documents(["Bees make honey from nectar."])[0], dtype=np.float32)
        assert store.store.vectors(["bees"])[0] == pytest.approx(expected)
    assert "langchain_community" not in sys.modules


def test_it_can_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        with LangBertVectorStore.from_langchain_faiss(GOLDEN, WORDS, tmp_path / "store") as store:
            assert len(store.store) == 5


def test_another_embedding_is_noticed(tmp_path: Path) -> None:
    class Other(DeterministicFakeEmbedding):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return super().embed_documents([text + "!" for text in texts])

    with pytest.raises(StoreMismatch, match="not the one that made"):
        LangBertVectorStore.from_langchain_faiss(GOLDEN, Other(size=16), tmp_path / "store")
    with pytest.raises(StoreMismatch, match="16 dimensions, this embedding makes 8"):
        LangBertVectorStore.from_langchain_faiss(GOLDEN, DeterministicFakeEmbedding(size=8), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"index\.faiss and index\.pkl"):
        LangBertVectorStore.from_langchain_faiss(tmp_path, WORDS)
    shutil.copy(GOLDEN / "index.pkl", tmp_path / "mine.pkl")
    with pytest.raises(StoreError, match=r"mine\.faiss"):
        LangBertVectorStore.from_langchain_faiss(tmp_path, WORDS, index_name="mine")


# --- folders of other versions, made here ----------------------------------------------------------------------------


def write_folder(folder: Path, content: bytes, vectors: np.ndarray | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "index.pkl").write_bytes(content)
    index = faiss.IndexFlatL2(16)
    if vectors is not None and len(vectors):
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    faiss.write_index(index, str(folder / "index.faiss"))
    return folder


def pickled_as(
    monkeypatch: pytest.MonkeyPatch, docstore: str, document: str, states: list[dict[str, Any]], protocol: int
) -> bytes:
    """A pickle as it comes from these classes; ``states`` are the documents' ``__dict__`` as pickle sees it."""

    def made(name: str) -> type:
        module, _, kind = name.rpartition(".")
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            here = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, here, types.ModuleType(here))
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        made = type(kind, (), {"__module__": module, "__getstate__": lambda self: self.state})
        setattr(sys.modules[module], kind, made)
        return made

    with monkeypatch.context() as monkeypatch:
        store, of_documents = made(docstore)(), made(document)
        entries = {}
        for n, state in enumerate(states):
            entries[f"id{n}"] = of_documents()
            entries[f"id{n}"].state = state
        store.state = {"_dict": entries}
        return pickle.dumps((store, {n: f"id{n}" for n in range(len(states))}), protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("docstore", "document", "wrap"),
    [
        (
            "langchain_community.docstore.in_memory.InMemoryDocstore",
            "langchain_core.documents.base.Document",
            lambda d: {"__dict__": d, "__pydantic_fields_set__": {"page_content"}, "__pydantic_private__": None},
        ),
        (
            "langchain_classic.docstore.in_memory.InMemoryDocstore",
            "langchain_core.documents.base.Document",
            lambda d: {"__dict__": d, "__pydantic_extra__": None, "__pydantic_fields_set__": set()},
        ),
        (
            "langchain.docstore.in_memory.InMemoryDocstore",
            "langchain.schema.document.Document",
            lambda d: {"__dict__": d, "__fields_set__": {"page_content"}, "__private_attribute_values__": {}},
        ),
    ],
)
def test_other_versions(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    docstore: str,
    document: str,
    wrap: Callable[[dict[str, Any]], dict[str, Any]],
    protocol: int,
) -> None:
    texts = ["one", "two 二"]
    states = [wrap({"page_content": text, "metadata": {"n": n}}) for n, text in enumerate(texts)]
    content = pickled_as(monkeypatch, docstore, document, states, protocol)
    folder = write_folder(tmp_path / "old", content, np.array(WORDS.embed_documents(texts)))
    with LangBertVectorStore.from_langchain_faiss(folder, WORDS) as store:
        assert store.get_by_ids(["id0", "id1"]) == [
            Document(id=f"id{n}", page_content=text, metadata={"n": n}) for n, text in enumerate(texts)
        ]


def modern(monkeypatch: pytest.MonkeyPatch, *metadata: Any, protocol: int = 4) -> bytes:
    return pickled_as(
        monkeypatch,
        "langchain_community.docstore.in_memory.InMemoryDocstore",
        "langchain_core.documents.base.Document",
        [{"__dict__": {"page_content": "text", "metadata": each}} for each in metadata],
        protocol,
    )


def test_what_loaders_put_into_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utc = datetime.timezone.utc
    metadata = {
        "when": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=utc),
        "day": datetime.date(2024, 2, 29),
        "id": uuid.UUID(int=7),
        "path": Path("/a/网络.txt"),
        "pair": (1, {"x": {2}}),
        3: "three",
    }
    write_folder(tmp_path, modern(monkeypatch, metadata), np.ones((1, 16)))
    (document,), _ = read_langchain_faiss(tmp_path)
    assert document.metadata == {
        "when": "2024-02-29T12:30:00+00:00",
        "day": "2024-02-29",
        "id": str(uuid.UUID(int=7)),
        "path": str(Path("/a/网络.txt")),
        "pair": [1, {"x": [2]}],
        "3": "three",
    }


def test_an_empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path, modern(monkeypatch))
    assert len(LangBertVectorStore.from_langchain_faiss(folder, WORDS).store) == 0


def test_the_two_files_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path, modern(monkeypatch, {}, {}), np.ones((3, 16)))
    with pytest.raises(StoreCorrupt, match=r"3 vectors, .* 2 documents"):
        read_langchain_faiss(folder)


# --- hostile pickles -------------------------------------------------------------------------------------------------

RAN: list[str] = []


def ran(what: str = "") -> str:
    """What every hostile pickle below would call; unpickling one for real proves that it would."""
    RAN.append(what)
    return what


class Reduced:
    def __init__(self, call: Any, *args: Any) -> None:
        self.reduced = (call, args)

    def __reduce__(self) -> Any:
        return self.reduced


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda mark: pickle.dumps(Reduced(os.system, f"touch '{mark}'")),
    "eval": lambda mark: pickle.dumps(Reduced(builtins.eval, f"open({str(mark)!r}, 'w').close()")),
    "exec": lambda mark: pickle.dumps(Reduced(builtins.exec, f"open({str(mark)!r}, 'w').close()")),
    "open": lambda mark: pickle.dumps(Reduced(open, str(mark), "w")),
    "mkdir": lambda mark: pickle.dumps(Reduced(os.mkdir, str(mark)), protocol=2),
    "protocol 0": lambda mark: pickle.dumps(Reduced(os.mkdir, str(mark)), protocol=0),
    "nested": lambda mark: pickle.dumps(({"_dict": [[{"x": Reduced(os.mkdir, str(mark))}]]}, {})),
    "inst": lambda mark: f"(S'{mark}'\nios\nmkdir\n.".encode(),
    "obj": lambda mark: f"(cos\nmkdir\nS'{mark}'\no.".encode(),
    "after the end": lambda mark: (
        b"\x80\x04cos\nmkdir\n(X" + struct.pack("<I", len(str(mark))) + str(mark).encode() + b"tR."
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles_are_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    content = HOSTILE[kind](tmp_path / "mark")
    folder = write_folder(tmp_path / "old", content)
    with pytest.raises(UnsafePickle):
        LangBertVectorStore.from_langchain_faiss(folder, WORDS, tmp_path / "store")
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "store").exists()
    loaded = pickle.loads(content)  # the file is what it says: Python's own unpickler runs it
    if isinstance(loaded, io.IOBase):
        loaded.close()
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "value",
    [Reduced(ran, "metadata"), collections.OrderedDict(a=1), np.float64(3), ran, Reduced(getattr, "a", "b")],
    ids=["call", "OrderedDict", "numpy", "function", "getattr"],
)
def test_hostile_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    folder = write_folder(tmp_path / "old", modern(monkeypatch, {"x": value}), np.ones((1, 16)))
    with pytest.raises(UnsafePickle, match="wants '"):
        read_langchain_faiss(folder)
    assert not RAN


def test_allowed_names_are_data_too(tmp_path: Path) -> None:
    """No attribute of a class can be set, nor an allowed name called with what it should not be called with."""
    poison = b"\x80\x04cpathlib\nPosixPath\n}X\x07\x00\x00\x00__new__X\x01\x00\x00\x00xsb."
    with pytest.raises(StoreCorrupt):
        read_langchain_faiss(write_folder(tmp_path / "a", poison))
    before = datetime.datetime
    strange = pickle.dumps((Reduced(datetime.timedelta, "x" * 100), {}))
    with pytest.raises(StoreCorrupt):
        read_langchain_faiss(write_folder(tmp_path / "b", strange))
    assert datetime.datetime is before


def test_an_object_that_was_not_announced_is_refused_and_others_stay_data() -> None:
    content = pickle.dumps(datetime.date(2024, 2, 29))
    assert read_pickle(content, {"datetime.date"}, name="x") == Instance("datetime.date", (b"\x07\xe8\x02\x1d",))
    with pytest.raises(UnsafePickle, match=r"datetime\.date"):
        read_pickle(content, {"datetime.datetime"}, name="x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x04",
        b"\x80\x04N",
        b"not a pickle at all",
        b"\x80\x04r\xff\xff\xff\xff.",  # memo without a value
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # memo number 2**31: Python's unpickler makes room for all before it
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0fx.",  # a text of 2**60 bytes
        b"\x80\x04B\xff\xff\xff\x7fx.",
        b"\x80\x04j\x01\x00\x00\x00.",
        b"\x80\x04" + b"(" * 100_000 + b".",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04]q\x00h\x00a.",  # a list in itself
        b"\x80\x04}(]K\x01u.",  # a list as a key
        b"\x80\x04\x94.",
        b"\x80\x04t.",
        b"\x80\x04\x85.",
        b"\x80\x04]K\x01e.",
    ],
)
@pytest.mark.timeout(60)
def test_broken_pickles(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path, content)
    with pytest.raises(StoreError):
        read_langchain_faiss(folder)


def test_what_unfolds_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb: list[Any] = []
    for _ in range(50):
        bomb = [bomb, bomb]  # 2**50 lists in a few bytes
    endless: list[Any] = []
    endless.append(endless)
    text = "x" * 1_000_000
    for value in ({"x": bomb}, {"x": endless}, {"x": [text] * 500}):
        folder = write_folder(tmp_path / "old", modern(monkeypatch, value), np.ones((1, 16)))
        with pytest.raises((UnsafePickle, StoreCorrupt), match=r"unfolds|deep"):
            read_langchain_faiss(folder)


def test_what_many_documents_share_is_no_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {f"key {n}": "x" * 20 for n in range(50)}
    folder = write_folder(tmp_path, modern(monkeypatch, *[shared] * 1000), np.ones((1000, 16)))
    documents, _ = read_langchain_faiss(folder)
    assert len(documents) == 1000
    assert documents[999].metadata == shared
    assert documents[0].metadata is not documents[1].metadata


@settings(max_examples=150)
@example(cut=0, flips=[(316, 95)])  # a number near the largest there is
@given(cut=st.integers(0, 900), flips=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=4))
def test_damaged_folders_give_named_errors(tmp_path: Path, cut: int, flips: list[tuple[int, int]]) -> None:
    for name in ("index.pkl", "index.faiss"):
        content = bytearray((GOLDEN / name).read_bytes()[: cut or None])
        for place, byte in flips:
            if place < len(content) and (name == "index.pkl" or place >= 4):  # other kinds of index: see below
                content[place] = byte
        (tmp_path / name).write_bytes(content)
    try:
        documents, vectors = read_langchain_faiss(tmp_path)
    except LangbertError:
        return
    assert len(documents) == len(vectors)


# --- the index -------------------------------------------------------------------------------------------------------


def some_vectors(n: int = 300) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(n, 16)).astype(np.float32)


def indexes() -> dict[str, Any]:
    quantizer = faiss.IndexFlatL2(16)
    made = {
        "L2": faiss.IndexFlatL2(16),
        "IP": faiss.IndexFlatIP(16),
        "HNSW": faiss.IndexHNSWFlat(16, 8),
        "IVF": faiss.IndexIVFFlat(quantizer, 16, 4),
        "IDMap2": faiss.IndexIDMap2(faiss.IndexFlatL2(16)),
    }
    for name, index in made.items():
        if not index.is_trained:
            index.train(some_vectors())
        if name == "IDMap2":
            index.add_with_ids(some_vectors(), np.arange(300))
        else:
            index.add(some_vectors())
    return made


@pytest.mark.parametrize("kind", ["L2", "IP", "HNSW", "IVF", "IDMap2"])
def test_every_kind_of_index_gives_its_vectors(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "索引.faiss"
    file.write_bytes(faiss.serialize_index(indexes()[kind]).tobytes())
    assert np.array_equal(read_faiss_vectors(file), some_vectors())


def test_an_index_that_forgot_its_vectors(tmp_path: Path) -> None:
    index = faiss.IndexIDMap(faiss.IndexFlatL2(16))  # maps one way only
    index.add_with_ids(some_vectors(), np.arange(300))
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    with pytest.raises(StoreCorrupt, match="not give its vectors back"):
        read_faiss_vectors(tmp_path / "x.faiss")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"IxF2",
        b"garbage that is no index",
        b"IHNf" + b"\xff" * 200,
        struct.pack("<4sIqqqBiQ", b"IxF2", 16, 2**40, 0, 0, 1, 1, 2**44),
        struct.pack("<4sIqqqBiQ", b"IxF2", 16, -1, 0, 0, 1, 1, 2**64 - 16),
        struct.pack("<4sIqqqBiQ", b"IxF2", 0, 5, 0, 0, 1, 1, 0),
        struct.pack("<4sIqqqBiQ", b"IxFI", 16, 1, 0, 0, 1, 7, 16) + bytes(64),
        struct.pack("<4sIqqqBiQ", b"IxFI", 16, 1, 0, 0, 1, 0, 16) + bytes(63),
    ],
)
def test_hostile_index_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.faiss").write_bytes(content)
    with pytest.raises(StoreCorrupt):
        read_faiss_vectors(tmp_path / "x.faiss")
