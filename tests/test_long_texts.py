"""Long texts: windows joined token by token, one pooling over all of it, and vectors of parts of it."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from store_tools import HashEmbedder, LineChunker

from langbert import Chunker, Document, Embedder, Pooling, Store
from langbert.cli import run
from langbert.embedding.long_texts import ONE_TOKEN, SPAN_POOLINGS, TextReader
from langbert.errors import StoreError, StoreMismatch
from langbert.models.bert.checkpoint import bert_table, unparse_config
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.json_files import write_json
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.files.weights import save_tensors
from langbert.models.layers.pooling import AttentionPooling
from langbert.records import Chunk

WORDS = [*"abcde", "hello", "world", "search", "the", "##s", "##ing", "token", *"机器学习好,.!", "🙂"]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
LIMIT = 24
TEXT = "Hello 机器学习! The tokens, searching 🙂🙂 the world.\n"
SHORT = "Searching, the 机器 🙂 tokens!"

pieces = st.sampled_from(["hello ", "searching ", "the\n", "机器学习", "🙂", ", ", "e\u0301 ", "  ", "\u200b", "zzz "])
texts = st.builds(lambda some, times: "".join(some) * times, st.lists(pieces, max_size=30), st.integers(1, 6))


def write_tiny(folder: Path, max_positions: int = LIMIT) -> Path:
    """A random BERT whose positions and neighbours matter."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCAB),
        hidden_size=32,
        n_layers=2,
        n_heads=4,
        intermediate_size=64,
        max_positions=max_positions,
        initializer_range=0.2,
    )
    bert = Bert(config)
    with torch.no_grad():
        for parameter in bert.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    write_json(unparse_config(config), folder / "config.json")
    save_tensors(bert_table(config).to_theirs(bert.state_dict()), folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def embedder(tiny) -> Embedder:
    return Embedder(tiny, precision="float32")


@pytest.fixture(scope="module")
def raw(tiny) -> Embedder:
    return Embedder(tiny, precision="float32", normalize=False)


@pytest.fixture(scope="module")
def attentive(tiny, tmp_path_factory) -> Path:
    """The same BERT with an attention pooling."""
    folder = tmp_path_factory.mktemp("attentive")
    Embedder(tiny, pooling="cls").save(folder)
    torch.manual_seed(1)
    write_json({"embedding_dimension": 32, "pooling_mode": "attention"}, folder / "1_Pooling" / "config.json")
    save_tensors(AttentionPooling(32).state_dict(), folder / "1_Pooling" / "model.safetensors")
    (folder / "config_sentence_transformers.json").write_text("{}", encoding="utf-8")
    return folder


def with_pooling(pooling: Pooling, tiny: Path, attentive: Path, **options) -> Embedder:
    if pooling is Pooling.ATTENTION:
        return Embedder(attentive, precision="float32", **options)
    return Embedder(tiny, pooling=pooling, precision="float32", **options)


def joined_states(embedder: Embedder, text: str, prompt: str = "") -> tuple[torch.Tensor, list[str]]:
    """A text's hidden states one for each token, and the tokens."""
    tokenizer = TextTokenizer.from_folder(embedder.name)
    reader = TextReader(tokenizer, prompt, include_prompt=True)
    ((read, _),) = reader.read([text], embedder.max_length)
    ((_, states),) = embedder._runner.run([read], lambda states, _: [states])
    ids = [window.ids[row] for window in read for row in window.rows]
    return states, [VOCAB[i] for i in ids]


# --- windows ---------------------------------------------------------------------------------------------------------


@given(text=texts, prompt=st.sampled_from(["", "search the "]), limit=st.integers(6, LIMIT))
@example(text="hello world " * 20, prompt="", limit=LIMIT)
@example(text="hello world " * 20, prompt="search the ", limit=LIMIT)
@settings(max_examples=40)
def test_joined_windows_hold_every_token_once_from_where_it_has_most_context(tiny, text, prompt, limit):
    tokenizer = TextTokenizer.from_folder(tiny)
    reader = TextReader(tokenizer, prompt, include_prompt=True)
    ((read, n_tokens),) = reader.read([text], limit)
    whole = [*tokenizer.prefix, *tokenizer.encode([prompt + text])[0].ids, *tokenizer.suffix]
    assert [window.ids[row] for window in read for row in window.rows] == whole
    assert n_tokens == len(whole) - 2
    assert all(len(window.ids) <= limit for window in read)
    n_text, n_before = sum(len(window.rows) for window in read) - reader.n_around, reader.n_around - 1
    if len(read) == 1:
        return
    stretches, own, done = [], [], 0  # in tokens of the text
    for window in read:
        start = done - max(window.rows[0] - n_before, 0)
        stretches.append((start, start + len(window.ids) - reader.n_around))
        stop = min(start + window.rows[-1] + 1 - n_before, n_text)
        own.append(range(done, stop))
        done = stop
    assert done == n_text

    def context(token: int, start: int, stop: int) -> float:
        """On the poorer side; where the text itself begins or ends nothing is missing."""
        before = token - start if start > 0 else float("inf")
        return min(before, stop - 1 - token if stop < n_text else float("inf"))

    for stretch, tokens in zip(stretches, own, strict=True):
        for token in tokens:
            best = max(context(token, *other) for other in stretches if other[0] <= token < other[1])
            assert context(token, *stretch) >= best - 1


# --- one pooling over all of it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", Pooling)
def test_a_text_of_one_window_is_pooled_as_ever_and_a_long_one_over_all_its_states(tiny, attentive, pooling):
    embedder = with_pooling(pooling, tiny, attentive, normalize=False)
    long = TEXT * 4
    states, _ = joined_states(embedder, long)
    first, vector = embedder.embed([SHORT, long])
    encoder = embedder._encoder
    ids = TextTokenizer.from_folder(tiny).encode([SHORT])[0].ids
    alone = encoder([[2, *ids, 3]])
    expected = {
        Pooling.CLS: lambda rows: rows[0],
        Pooling.POOLER: lambda rows: encoder.pooler(rows[0]),
        Pooling.LAST: lambda rows: rows[-1],
        Pooling.MEAN: lambda rows: rows.mean(0),
        Pooling.MAX: lambda rows: rows.amax(0),
        Pooling.MEAN_SQRT_LEN: lambda rows: rows.sum(0) / len(rows) ** 0.5,
        Pooling.WEIGHTED_MEAN: lambda rows: torch.arange(1.0, len(rows) + 1) @ rows / sum(range(len(rows) + 1)),
        Pooling.ATTENTION: lambda rows: embedder._head.attention.scores(rows).softmax(0) @ rows,
    }[pooling]
    with torch.inference_mode():
        np.testing.assert_allclose(first, expected(alone), atol=1e-5)
        if pooling not in ONE_TOKEN:
            np.testing.assert_allclose(vector, expected(states), atol=1e-5)


@pytest.mark.parametrize(("pooling", "row"), [("cls", 0), ("pooler", 0), ("last", -1)])
def test_one_token_poolings_take_the_mean_of_the_windows_tokens(tiny, pooling, row):
    embedder = Embedder(tiny, pooling=pooling, precision="float32", normalize=False)
    reader = TextReader(TextTokenizer.from_folder(tiny), "", include_prompt=True)
    ((read, _),) = reader.read([TEXT * 4], LIMIT)
    assert len(read) > 2
    with torch.inference_mode():
        mean = torch.stack([embedder._encoder([window.ids])[row] for window in read]).mean(0)
        expected = embedder._encoder.pooler(mean) if pooling == "pooler" else mean
        np.testing.assert_allclose(embedder.embed([TEXT * 4])[0], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "last", Pooling.ATTENTION])
def test_a_long_text_has_one_vector_in_any_company(tiny, attentive, pooling):
    embedder = with_pooling(pooling, tiny, attentive)
    some = [TEXT * n for n in (1, 7, 2, 40, 3)] + [SHORT, "", "hello " * 2200]  # more than a forward pass takes
    together = embedder.embed(some)
    alone = np.concatenate([embedder.embed([text]) for text in some])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together[::-1], embedder.embed(some[::-1]), atol=1e-6)


def test_a_prompt_stands_before_every_window_and_may_take_no_part(tiny, tmp_path):
    told = Embedder(tiny, precision="float32", normalize=False, document_prompt="search the ")
    long = "hello world token " * 12
    states, tokens = joined_states(told, long, "search the ")
    assert tokens[:4] == ["[CLS]", "search", "the", "hello"]
    np.testing.assert_allclose(told.embed([long])[0], states.mean(0), atol=1e-5)
    told.save(tmp_path)
    config = tmp_path / "1_Pooling" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"include_prompt": true', '"include_prompt": false'))
    untold = Embedder(tmp_path, precision="float32")
    np.testing.assert_allclose(untold.embed([long])[0], states[3:].mean(0), atol=1e-5)


# --- vectors of parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", SPAN_POOLINGS)
@pytest.mark.parametrize("prompt", ["", "search the "])
def test_a_span_over_all_of_a_text_has_its_vector(tiny, attentive, pooling, prompt):
    embedder = with_pooling(pooling, tiny, attentive, document_prompt=prompt)
    some = [SHORT, "", "  ", "🙂", TEXT * 9]
    found = embedder.embed_spans(some, [[(0, len(text))] for text in some])
    np.testing.assert_allclose(np.concatenate(found), embedder.embed(some), atol=1e-6)


@given(text=texts, cuts=st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=40)
def test_parts_weighted_by_their_tokens_make_up_the_mean_of_the_text(raw, text, cuts):
    bounds = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    spans = list(pairwise(bounds))
    ends = [end for _, end in raw.token_offsets(text)]
    counts = [sum(start < end <= stop for end in ends) for start, stop in spans]
    full = [i for i, count in enumerate(counts) if count]
    (vectors,) = raw.embed_spans([text], [spans])
    assert vectors.shape == (len(spans), 32)
    assert np.isfinite(vectors).all()
    if full:
        assert sum(counts) == len(ends)
        counts[full[0]] += 1  # [CLS]
        counts[full[-1]] += 1  # [SEP]
        mean = sum(counts[i] * vectors[i] for i in full) / (len(ends) + 2)
        np.testing.assert_allclose(mean, raw.embed([text])[0], atol=1e-5)


def test_a_part_is_the_mean_of_its_own_tokens_in_characters(raw):
    text = TEXT * 5  # several windows, Chinese and emoji before every later offset
    states, tokens = joined_states(raw, text)
    spans = [(at, at + len(word)) for word in ("机器学习", "searching", "🙂🙂", "world") for at in [text.rindex(word)]]
    (vectors,) = raw.embed_spans([text], [spans])
    for vector, wanted in zip(vectors, (list("机器学习"), ["search", "##ing"], ["[UNK]"], ["world"]), strict=True):
        last = max(i for i in range(len(tokens)) if tokens[i : i + len(wanted)] == wanted)
        np.testing.assert_allclose(vector, states[last : last + len(wanted)].mean(0), atol=1e-5)


def test_parts_know_what_stands_around_them_and_do_not_depend_on_the_batch(embedder):
    some = [TEXT * n for n in (1, 30, 2)] + [SHORT] * 70
    spans = [[(0, 5), (6, 10), (0, len(text)), (0, 5)] for text in some]
    together = embedder.embed_spans(some, spans)
    alone = [embedder.embed_spans([text], [asked])[0] for text, asked in zip(some, spans, strict=True)]
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(alone), atol=1e-6)
    np.testing.assert_array_equal(together[0][0], together[0][3])
    assert not np.allclose(together[0][0], embedder.embed([TEXT[:5]])[0], atol=1e-2)
    assert embedder.embed_spans([], []) == []
    assert embedder.embed_spans(["hello"], [[]])[0].shape == (0, 32)


def test_what_cannot_be_is_named(tiny, embedder):
    with pytest.raises(ValueError, match=r"span 0:6 does not lie in text 1, which has 5 characters"):
        embedder.embed_spans(["a", "hello"], [[(0, 1)], [(0, 6)]])
    with pytest.raises(ValueError, match="expected the spans of 1 texts, got those of 2"):
        embedder.embed_spans(["a"], [[], []])
    with pytest.raises(ValueError, match=r"late chunking needs a pooling .* \(mean, max, .*\); .* pools by cls"):
        Embedder(tiny, pooling="cls").embed_spans(["a"], [[(0, 1)]])


# --- stores ----------------------------------------------------------------------------------------------------------

LINES = "hello world\nthe tokens search 机器\n\nsearching, the world"


def documents(*texts: str) -> list[Document]:
    return [Document(id=f"d{i}", text=text) for i, text in enumerate(texts)]


def test_a_store_embeds_the_chunks_of_a_document_in_its_context(embedder, tmp_path):
    with Store.open(tmp_path / "s", embedder=embedder, chunker=LineChunker(), late_chunking=True) as store:
        store.add([*documents(LINES, "hello world"), Chunk(id="alone", document_id="x", text="hello world")])
        assert len(store) == 5
        spans = [(0, 11), (12, 32), (34, len(LINES))]
        expected = embedder.embed_spans([LINES], [spans])[0]
        ids = [f"d0:{start}" for start, _ in spans]
        np.testing.assert_allclose(store.vectors(ids), expected, atol=1e-6)
        plain = embedder.embed(["hello world"])
        np.testing.assert_allclose(store.vectors(["d1:0", "alone"]), np.repeat(plain, 2, axis=0), atol=1e-6)
        assert not np.allclose(store.vectors(["d0:0"]), plain, atol=1e-2)
        assert store.search("hello world", 1, mode="dense")[0].text == "hello world"
        assert store.info()["embedding_space"]["late_chunking"] == LIMIT


def test_a_change_in_a_document_reaches_all_its_chunks_and_nothing_else_is_embedded(embedder, monkeypatch):
    read = []
    embed_spans = embedder.embed_spans
    monkeypatch.setattr(
        embedder, "embed_spans", lambda texts, spans, **options: read.append(texts) or embed_spans(texts, spans)
    )
    store = Store.open(embedder=embedder, chunker=LineChunker(), late_chunking=True)
    store.add(documents(LINES, "hello world"))
    before = store.vectors(["d0:0"])
    store.add(documents(LINES, "hello world"))
    store.add([Document(id="d0", text=LINES, metadata={"year": 2024})])
    assert read == [[LINES, "hello world"]]
    assert store.search("hello", where={"year": 2024})
    longer = LINES + "\nthe the the"
    store.add(documents(longer))
    assert read[1:] == [[longer]]
    assert not np.allclose(store.vectors(["d0:0"]), before, atol=1e-3)
    np.testing.assert_allclose(store.vectors(["d0:0"]), embed_spans([longer], [[(0, 11)]])[0], atol=1e-6)


def test_a_store_stays_as_it_was_made(tiny, embedder, tmp_path):
    with Store.open(tmp_path / "late", embedder=embedder, chunker=LineChunker(), late_chunking=True) as store:
        store.add(documents(LINES))
        vectors = store.vectors(["d0:0"])
    with Store.open(tmp_path / "late", embedder=embedder, chunker=LineChunker()) as store:
        store.add([Document(id="again", text=LINES)])
        np.testing.assert_allclose(store.vectors(["again:0"]), vectors, atol=1e-6)
    with pytest.raises(StoreMismatch, match=f"late_chunking: {LIMIT} != 0"):
        Store.open(tmp_path / "late", embedder=embedder, late_chunking=False)
    with pytest.raises(StoreMismatch, match=f"late_chunking: {LIMIT} != 20"):
        Store.open(tmp_path / "late", embedder=Embedder(tiny, precision="float32", max_length=20))
    with Store.open(tmp_path / "plain", embedder=embedder, chunker=LineChunker()) as store:
        store.add(documents(LINES))
    with pytest.raises(StoreMismatch, match=f"late_chunking: 0 != {LIMIT}"):
        Store.open(tmp_path / "plain", embedder=embedder, late_chunking=True)


def test_late_chunking_needs_the_means(tiny, embedder):
    with pytest.raises(StoreError, match=r"needs an embedder with embed_spans, .*; HashEmbedder has none"):
        Store.open(embedder=HashEmbedder(), late_chunking=True)
    with pytest.raises(StoreError, match="pools by cls"):
        Store.open(embedder=Embedder(tiny, pooling="cls"), late_chunking=True)

    class Shouting(LineChunker):
        def split(self, document):
            return [Chunk(id=c.id, document_id=c.document_id, text=c.text.upper()) for c in super().split(document)]

    store = Store.open(embedder=embedder, chunker=Shouting(), late_chunking=True)
    with pytest.raises(StoreError, match=r"the text of chunk 'd0:0' is not characters 0 to 11 of 'd0'"):
        store.add(documents(LINES))
    assert len(store) == 0


def test_spaces_differ_and_plain_fingerprints_hold(embedder):
    assert embedder.span_space.differences(embedder.space) == [f"late_chunking: {LIMIT} != 0"]
    assert embedder.span_space.fingerprint != embedder.space.fingerprint


def test_the_command_line_remembers_how_a_store_was_made(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    log = logging.getLogger("langbert")
    for name in ("handlers", "level", "propagate"):  # the command line sets them
        monkeypatch.setattr(log, name, getattr(log, name))
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"{name}. {LINES}", encoding="utf-8")
    store, quiet = str(tmp_path / "s"), ["--json", "--offline"]
    embedder = Embedder(tiny, max_length=20)
    with Store.open(store, embedder=embedder, late_chunking=True) as made:
        made.add(documents(LINES))
    assert run(["index", str(tmp_path / "one.txt"), "--store", store, *quiet]) == 0
    assert run(["search", "hello", "--store", store, *quiet]) == 0
    with Store.open(store, embedder=embedder) as made:
        assert len(made) == 2
        assert made.info()["embedding_space"]["late_chunking"] == 20
    other = ["--store", str(tmp_path / "other"), "--embedder", str(tiny), *quiet]
    assert run(["index", str(tmp_path / "one.txt"), "--late-chunking", *other]) == 0
    with Store.open(tmp_path / "other") as made:
        assert made.info()["embedding_space"]["late_chunking"] == LIMIT
    capsys.readouterr()
    plain = ["--store", str(tmp_path / "plain"), "--embedder", str(tiny), *quiet]
    assert run(["index", str(tmp_path / "one.txt"), *plain]) == 0
    assert run(["index", str(tmp_path / "two.txt"), "--late-chunking", *plain]) != 0
    assert f"late_chunking: 0 != {LIMIT}" in capsys.readouterr().out


@pytest.mark.models
def test_minilm_over_a_real_article(minilm, documents_folder):
    text = next(iter(sorted(documents_folder.glob("*.rst")))).read_text(encoding="utf-8")[:6000]
    chunks = Chunker.for_embedder(minilm, max_tokens=64).split(Document("d", text))
    (vectors,) = minilm.embed_spans([text], [[(chunk.start, chunk.end) for chunk in chunks]])
    plain = minilm.embed([chunk.text for chunk in chunks])
    cosines = (vectors * plain).sum(axis=1)
    assert 0.5 < np.median(cosines) < 0.999
