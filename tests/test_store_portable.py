"""Export and import: what comes back is what was stored, bit for bit; what is not in order is refused and named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_tools import HashEmbedder, LineChunker

from langbert.errors import MissingExtra, StoreError
from langbert.records import Chunk, Document, Heading
from langbert.store import Store
from langbert.store.maintenance.doctor import examine
from langbert.store.maintenance.portable import export_store, import_store

FORMATS = ["jsonl", "parquet"]


@pytest.fixture(autouse=True)
def _needs_pyarrow(request: pytest.FixtureRequest) -> None:
    if "parquet" in request.node.name:
        pytest.importorskip("pyarrow")


def content(store: Store) -> dict[str, Any]:
    with store.snapshot() as snapshot:
        return {
            "documents": list(snapshot.stored_documents()),
            "chunks": list(snapshot.stored_chunks()),
            "ledger": sorted(snapshot.ledger_entries()),
            "dimension": snapshot.dimension,
            "space": snapshot.space,
        }


def filled(path: Path | None = None) -> Store:
    store = Store.open(path, embedder=HashEmbedder(), chunker=LineChunker())
    store.add(
        [
            Document(f"doc{i}", f"line {i}\n第二行", f"{i}.txt", {"n": i}, (0, 3), (Heading(0, 1, "头"),))
            for i in range(9)
        ]
    )
    store.add([Chunk(f"c{i}", "loose", f"chunk {i}", page=i, metadata={"x": i / 7}) for i in range(50)])
    store.delete(["c3", "doc4"])
    store.ledger("a").record(["c1", "c2"], ["g", None], at=1.25)
    return store


@pytest.mark.parametrize("format", FORMATS)
def test_a_round_trip_changes_nothing(tmp_path: Path, format: Any) -> None:
    steps: list[tuple[str, int, int]] = []
    with filled(tmp_path / "s") as store:
        out = export_store(store, tmp_path / "out", format=format, watch=lambda *step: steps.append(step))
        back = import_store(tmp_path / "out", tmp_path / "new", format=format)
        assert out == back
        assert (out.documents, out.chunks, out.ledger, out.dimension) == (8, 65, 2, 16)
        assert steps[-1] == ("exporting", 75, 75)
        with Store.open(tmp_path / "new", embedder=HashEmbedder(), chunker=LineChunker()) as new:
            assert content(new) == content(store)
            assert new.search("chunk 7", 5) == store.search("chunk 7", 5)
            assert new.add([Document("doc1", "line 1\n第二行", "1.txt", {"n": 1}, (0, 3), (Heading(0, 1, "头"),))])
            assert new.info()["change"] == 65  # one a row: what is unchanged costs nothing
    assert examine(tmp_path / "new").findings == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "out", "s"]


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_METADATA = st.dictionaries(_TEXTS, _JSON, max_size=3)
_VECTORS = st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=3, max_size=3)


@st.composite
def chunks(draw: st.DrawFn) -> list[tuple[Chunk, list[float]]]:
    ids = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), unique=True, max_size=6))
    return [
        (
            Chunk(
                id,
                draw(_TEXTS),
                draw(_TEXTS),
                start=draw(st.integers(0, 2**40)),
                page=draw(st.none() | st.integers(-5, 2**40)),
                headings=tuple(draw(st.lists(_TEXTS, max_size=2))),
                source=draw(_TEXTS),
                metadata=draw(_METADATA),
            ),
            draw(_VECTORS),
        )
        for id in ids
    ]


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25)
@given(given_chunks=chunks(), text=_TEXTS, metadata=_METADATA)
def test_whatever_can_be_stored_comes_back(
    tmp_path_factory: pytest.TempPathFactory, format: Any, given_chunks: Any, text: str, metadata: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with Store.open(folder / "s", chunker=LineChunker(), durability="normal") as store:
        if given_chunks:
            vectors = np.array([vector for _, vector in given_chunks], dtype=np.float32)
            store.add_vectors([chunk for chunk, _ in given_chunks], vectors)
        else:
            store.add([Document("only words", text, metadata=metadata)])
        export_store(store, folder / "out", format=format)
        import_store(folder / "out", folder / "new", format=format)
        with Store.open(folder / "new") as new:
            assert content(new) == content(store)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_written_over_and_nothing_is_left_of_what_fails(tmp_path: Path, format: Any) -> None:
    with filled() as store:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(StoreError, match="exists already"):
            export_store(store, tmp_path / "out", format=format)
        export_store(store, tmp_path / "good", format=format)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        import_store(tmp_path / "good", tmp_path / "there", format=format)
    with pytest.raises(StoreError, match=r"cannot read|not a folder"):
        import_store(tmp_path / "nothing", tmp_path / "new", format=format)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good", "out", "there"]


def _lines(tmp_path: Path) -> list[dict[str, Any]]:
    with filled() as store:
        export_store(store, tmp_path / "s.jsonl")
    return [json.loads(line) for line in (tmp_path / "s.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda lines: lines.pop(), "not whole: it says 2 ledger and holds 1"),
        (lambda lines: lines.pop(0), "its first line|does not begin"),
        (lambda lines: lines[0]["store"].update(format=9), "format 9.*upgrade"),
        (lambda lines: lines[0]["store"].update(dimension="x"), "dimension 'x'"),
        (lambda lines: lines[0]["store"].update(dimension=8), "dimension 8"),
        (lambda lines: lines[0]["store"].update(embedding_space={"a": 1}), "embedding space"),
        (lambda lines: lines[12]["chunk"].update(vector=[1.0]), "chunk .*1 dimensions"),
        (lambda lines: lines[12]["chunk"].update(vector=["a"] * 16), "chunk .*numbers"),
        (lambda lines: lines[12]["chunk"].update(end=99), "chunk .*offsets"),
        (lambda lines: lines[12]["chunk"].pop("text"), "chunk .*'text' is missing"),
        (lambda lines: lines[12]["chunk"].update(text=7), "chunk .*expected a text"),
        (lambda lines: lines[3]["document"].update(headings=[1]), "document"),
        (lambda lines: lines.insert(12, lines[12]), "same chunk twice"),
        (lambda lines: lines.append({"other": {}}), "line 77.*'other' is not one of"),
        (lambda lines: lines.append([]), "line 77"),
    ],
)
def test_what_is_not_in_order_is_refused_and_named(tmp_path: Path, change: Any, match: str) -> None:
    lines = _lines(tmp_path)
    change(lines)
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StoreError, match=match):
        import_store(tmp_path / "bad.jsonl", tmp_path / "new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.jsonl", "s.jsonl"]


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with filled() as store:
        export_store(store, tmp_path / "out")
    file = tmp_path / "out" / "chunks.parquet"
    for damaged in (b"", b"PAR1", file.read_bytes()[:-20]):
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match="out"):
            import_store(tmp_path / "out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_parquet_without_pyarrow_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with filled() as store, pytest.raises(MissingExtra, match=r'pip install "langbert\[parquet\]"'):
        export_store(store, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
