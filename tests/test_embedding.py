"""The Embedder: against sentence-transformers, and against its own promises on tiny random models."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert import Document, Embedder, Pooling, Store
from langbert.errors import CheckpointError, TextTooLong
from langbert.models.files.json_files import write_json
from langbert.models.files.tokenizer import TextTokenizer, windows
from langbert.models.files.weights import save_tensors
from langbert.models.hardware import resolve_precision
from langbert.models.layers.pooling import AttentionPooling

GOLDEN = json.loads((Path(__file__).parent / "golden" / "embeddings.json").read_text(encoding="utf-8"))
WORDS = [*"abcde", "hello", "world", "search", "the", "##s", "##ing", "token", *"机器学习,.!"]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
TEXTS = ["", "a", "hello world", "机器学习", "Searching, the tokens!", "hello " * 60, "the a b c d e"]
SIZES = {
    "vocab_size": len(VOCAB),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
}


def write_tiny(folder: Path, kind=transformers.BertModel, **changes) -> Path:
    torch.manual_seed(0)
    model = kind(kind.config_class(**{**SIZES, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def embedder(tiny) -> Embedder:
    return Embedder(tiny, precision="float32")


def sentence_transformers_vectors(folder: Path, texts: list[str], **options) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(texts, **options)


def test_shape_dtype_and_length(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimension) == (7, 32)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 32)


@given(texts=st.lists(st.text(max_size=40), max_size=6))
@settings(max_examples=30)
def test_any_text_has_a_vector(embedder, texts):
    assert np.isfinite(embedder.embed(texts)).all()


@pytest.mark.parametrize("pooling", [p for p in Pooling if p is not Pooling.ATTENTION])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_text_has_one_vector_alone_and_in_any_batch(tiny, pooling, precision):
    embedder = Embedder(tiny, pooling=pooling, precision=precision)
    together = embedder.embed(TEXTS)
    backwards = embedder.embed(TEXTS[::-1])[::-1]
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    atol = 1e-6 if precision == "float32" else 1e-2
    np.testing.assert_allclose(together, alone, atol=atol)
    np.testing.assert_allclose(together, backwards, atol=atol)


def test_a_store_made_in_one_precision_is_read_and_filled_in_another(tiny, tmp_path):
    documents = [Document(str(i), text) for i, text in enumerate(TEXTS) if 0 < len(text) < 60]
    made = Embedder(tiny, precision="float32")
    with Store.open(tmp_path / "store", embedder=made) as store:
        store.add(documents[:-1])
    for precision in ("int8", "bfloat16", "auto"):
        other = Embedder(tiny, precision=precision)
        assert other.space.fingerprint == made.space.fingerprint
        with Store.open(tmp_path / "store", embedder=other) as store:
            store.add(documents)
            assert len(store) == len(documents)
            for document in documents:
                (nearest,) = store.search(document.text, 1, mode="dense")
                assert nearest.document_id == document.id
                assert nearest.score > 0.98


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="about x86 processors")
def test_a_store_made_on_one_kind_of_processor_opens_on_another(tiny, tmp_path):
    with Store.open(tmp_path / "store", embedder=Embedder(tiny)) as store:
        store.add([Document("a", TEXTS[-1])])
    program = f"""
from langbert import Embedder, Store
embedder = Embedder({str(tiny)!r})
with Store.open({str(tmp_path / "store")!r}, embedder=embedder) as store:
    print(store.search({TEXTS[-1]!r}, 1, mode="dense")[0].score > 0.98, embedder.precision)
"""
    older = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    run = subprocess.run([sys.executable, "-c", program], env=older, capture_output=True, text=True, check=True)
    found, precision = run.stdout.split()
    assert found == "True"
    assert precision != "torch.bfloat16"


@pytest.mark.models
def test_auto_is_int8_where_that_is_close_enough(minilm_folder, monkeypatch):
    assert Embedder("e5-small").precision == torch.int8  # on every processor
    exact = resolve_precision("auto", torch.device("cpu"))
    for mean, least, expected in ((0.9, 0.9, torch.int8), (0.9, 0.9999, exact), (0.9999, 0.9, exact)):
        monkeypatch.setattr("langbert.models.bert.calibration._MEAN", mean)
        monkeypatch.setattr("langbert.models.bert.calibration._LEAST", least)
        assert Embedder(minilm_folder).precision == expected  # without VNNI it loses more than is allowed
    assert Embedder(minilm_folder, precision="int8").precision == torch.int8


@pytest.mark.parametrize("pooling", [p for p in Pooling if p is not Pooling.ATTENTION])
@pytest.mark.parametrize("normalize", [True, False])
def test_sentence_transformers_loads_what_save_writes(tiny, tmp_path, pooling, normalize):
    embedder = Embedder(tiny, pooling=pooling, normalize=normalize, precision="float32", on_overflow="truncate")
    embedder.save(tmp_path)
    expected = embedder.embed(TEXTS)
    np.testing.assert_allclose(sentence_transformers_vectors(tmp_path, TEXTS), expected, atol=1e-5)
    again = Embedder(tmp_path, precision="float32", on_overflow="truncate")
    assert (again.pooling, again.normalize) == (pooling, normalize)
    assert again.space.differences(embedder.space) == []
    assert np.array_equal(again.embed(TEXTS), expected)


def test_prompts_length_and_dimensions_are_saved(tiny, tmp_path):
    embedder = Embedder(
        tiny, precision="float32", query_prompt="search the ", max_length=11, dimensions=8, on_overflow="truncate"
    )
    embedder.save(tmp_path)
    again = Embedder(tmp_path, precision="float32", on_overflow="truncate")
    assert (again.dimension, again.max_length) == (8, 11)
    assert again.space.differences(embedder.space) == []
    questions = again.embed(TEXTS, role="query")
    assert not np.allclose(questions, again.embed(TEXTS))
    theirs = sentence_transformers_vectors(tmp_path, TEXTS, prompt_name="query")
    np.testing.assert_allclose(theirs, questions, atol=1e-5)


@pytest.mark.parametrize(("mode", "ours"), [("weightedmean", Pooling.WEIGHTED_MEAN), ("cls", Pooling.CLS)])
def test_what_sentence_transformers_itself_saves_is_understood(tiny, tmp_path, mode, ours):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    transformer = modules.Transformer(str(tiny), max_seq_length=20)
    pooling = modules.Pooling(32, pooling_mode=mode, include_prompt=False)
    dense = modules.Dense(32, 12, activation_function=torch.nn.ReLU())
    prompts = {"query": "search ", "document": "the "}
    model = SentenceTransformer(modules=[transformer, pooling, dense], prompts=prompts, device="cpu")
    model.save(str(tmp_path), create_model_card=False)
    embedder = Embedder(tmp_path, precision="float32", on_overflow="truncate")
    assert (embedder.pooling, embedder.normalize) == (ours, False)
    assert (embedder.dimension, embedder.max_length) == (12, 20)
    for role in ("query", "document"):
        theirs = model.encode(TEXTS, prompt_name=role)
        np.testing.assert_allclose(embedder.embed(TEXTS, role), theirs, atol=1e-5)


def test_attention_pooling_is_saved_and_loaded(tiny, tmp_path):
    Embedder(tiny, pooling="cls").save(tmp_path)
    attention = AttentionPooling(32)
    write_json({"embedding_dimension": 32, "pooling_mode": "attention"}, tmp_path / "1_Pooling" / "config.json")
    save_tensors(attention.state_dict(), tmp_path / "1_Pooling" / "model.safetensors")
    settings_file = tmp_path / "config_sentence_transformers.json"
    settings_file.write_text("{}", encoding="utf-8")
    embedder = Embedder(tmp_path, precision="float32")
    assert embedder.pooling is Pooling.ATTENTION
    embedder.save(tmp_path / "again")
    again = Embedder(tmp_path / "again", precision="float32")
    assert again.space.differences(embedder.space) == []
    assert np.array_equal(again.embed(TEXTS), embedder.embed(TEXTS))
    assert not np.allclose(
        again.embed(TEXTS[2:]), Embedder(tmp_path, pooling="mean", precision="float32").embed(TEXTS[2:])
    )


def test_explicit_pooling_wins_and_says_so(tiny, tmp_path, caplog):
    Embedder(tiny, pooling="max").save(tmp_path)
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "langbert"):
        assert Embedder(tmp_path, pooling="cls").pooling is Pooling.CLS
    assert "trained with max pooling; using cls, as asked" in caplog.text


def test_a_pooling_of_others_is_refused_unless_another_is_asked_for(tiny, tmp_path):
    Embedder(tiny).save(tmp_path)
    (tmp_path / "config_sentence_transformers.json").write_text("{}", encoding="utf-8")
    write_json({"pooling_mode": ["mean", "max"]}, tmp_path / "1_Pooling" / "config.json")
    with pytest.raises(CheckpointError, match=r"pools by mean \+ max, langbert by one of cls, .*pooling="):
        Embedder(tmp_path)
    assert Embedder(tmp_path, pooling="max").pooling is Pooling.MAX


def test_missing_normalize_folder_still_normalises(tiny, tmp_path):
    Embedder(tiny).save(tmp_path)
    (tmp_path / "2_Normalize").rmdir()
    assert Embedder(tmp_path).normalize


def test_split_reads_a_text_to_its_end(embedder):
    text = "hello world search the " * 20  # 80 tokens, 22 at a time
    before = embedder.overflowed
    vector = embedder.embed(["a", text])[1]
    assert embedder.overflowed == before + 1
    assert embedder.max_length == 24
    assert not np.allclose(vector, embedder.embed([text[:-4] + "token"])[0], atol=1e-4)


def test_overflow_is_counted_logged_truncated_or_refused(tiny, caplog):
    long = "hello " * 30
    cut = Embedder(tiny, on_overflow="truncate", precision="float32")
    with caplog.at_level(logging.WARNING, "langbert"):
        vectors = cut.embed([long, "hello", "hello " * 22])
    assert "1 of 3 texts were over 24 tokens: cut off" in caplog.text
    assert cut.overflowed == 1
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    with pytest.raises(TextTooLong, match=r"text 1 has 30 tokens, .* takes 22"):
        Embedder(tiny, on_overflow="error").embed(["a", long])


@given(
    words=st.lists(st.integers(1, 6), max_size=40),
    room=st.integers(2, 30),
    share=st.floats(0, 0.49),
)
def test_windows_cover_every_token_within_the_room(words, room, share):
    owners = [i for i, size in enumerate(words) for _ in range(size)]
    ids = list(range(len(owners)))
    overlap = int(room * share)
    found = [ids[cut] for cut in windows(owners, room, overlap)]
    assert all(len(window) <= room for window in found)
    joined = found[0] + [token for window in found[1:] for token in window[overlap:]]
    assert joined == ids


def test_room_and_offsets(tiny):
    embedder = Embedder(tiny, query_prompt="search the ")
    assert (embedder.room("document"), embedder.room("query")) == (22, 20)
    text = "hello  机器 searching!"
    assert [text[start:end] for start, end in embedder.token_offsets(text)] == [
        "hello",
        "机",
        "器",
        "search",
        "ing",
        "!",
    ]
    assert len(embedder.token_offsets("hello " * 500)) == 500
    assert embedder.token_offsets("") == []


def test_lone_surrogates_keep_offsets_true(embedder):
    text = "hello \ud83d world"
    assert embedder.token_offsets(text)[-1] == (8, 13)
    assert np.isfinite(embedder.embed([text])).all()


def test_progress_counts_every_text_once(embedder):
    done = []
    embedder.embed(["hello " * 100, *(f"a {n}" for n in range(3000)), "b", "b"], progress=done.append)
    assert sum(done) == 3003
    assert len(done) > 2


def test_a_stream_is_embedded_block_by_block_and_read_no_further(embedder):
    read = []

    def stream():
        for n in range(1000):
            read.append(n)
            yield f"hello {n % 7} world"

    blocks = embedder.embed_iter(stream(), size=100)
    assert read == []
    first = next(blocks)
    assert first.shape == (100, 32)
    assert len(read) == 100
    done = []
    everything = list(embedder.embed_iter((f"a {n}" for n in range(250)), size=100, progress=done.append))
    assert [len(block) for block in everything] == [100, 100, 50]
    assert sum(done) == 250
    np.testing.assert_array_equal(np.concatenate(everything), embedder.embed([f"a {n}" for n in range(250)]))
    assert list(embedder.embed_iter([])) == []


def test_a_stream_must_be_one_of_texts(embedder):
    with pytest.raises(TypeError, match="put it in a list"):
        embedder.embed_iter("hello")
    with pytest.raises(ValueError, match="size"):
        embedder.embed_iter(["hello"], size=0)
    with pytest.raises(TypeError, match="text 1 is int"):
        list(embedder.embed_iter(["hello", 3]))


def test_tokens_are_counted(tiny):
    embedder = Embedder(tiny, precision="float32")
    embedder.embed(["hello world", "a", "a"])
    assert embedder.tokens == (2 + 2) + (1 + 2), "special ones too; what is embedded once counts once"


def test_equal_texts_are_embedded_once(tiny, monkeypatch):
    embedder = Embedder(tiny, precision="float32")
    read = []
    encoder = embedder._encoder
    monkeypatch.setattr(embedder._runner, "_states", lambda ids, segments: read.extend(ids) or encoder(ids, segments))
    texts = ["hello", "world", "hello", "hello " * 60, "hello " * 60]
    vectors = embedder.embed(texts)
    assert embedder.overflowed == 2
    assert len([ids for ids in read if len(ids) == 3]) == 2
    np.testing.assert_array_equal(vectors[[0, 3]], vectors[[2, 4]])
    with pytest.raises(TextTooLong, match="text 3 has"):
        Embedder(tiny, on_overflow="error").embed(["a", "a", "b", "hello " * 60])


def test_tokenizer_from_vocabulary_is_transformers(tiny):
    theirs = transformers.BertTokenizer.from_pretrained(tiny)
    ours = TextTokenizer.from_folder(tiny)
    for text in [*TEXTS, "HELLO Wörld [SEP] 机器!"]:
        assert [*ours.prefix, *ours.encode([text])[0].ids, *ours.suffix] == theirs(text)["input_ids"]
        first, second = (ours.encode([t])[0].ids for t in (text, "world"))
        pair = theirs(text, "world", return_token_type_ids=True)
        assert ours.pair(first, second) == (pair["input_ids"], pair["token_type_ids"])


def test_space_tells_models_apart_and_knows_the_same_one(tiny, embedder, tmp_path):
    assert embedder.space == Embedder(tiny, precision="bfloat16").space
    other = Embedder(write_tiny(tmp_path, intermediate_size=32))
    assert any("weights" in line for line in other.space.differences(embedder.space))
    assert Embedder(tiny, pooling="cls").space.differences(embedder.space) == ["pooling: 'cls' != 'mean'"]
    assert Embedder(tiny, query_prompt="x ").space.fingerprint != embedder.space.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "avg"}, "pooling 'avg' is unknown; expected one of cls, mean, max"),
        ({"precision": "int4"}, "precision 'int4' is unknown; expected one of auto, float32, bfloat16, int8"),
        ({"precision": "int8", "device": "meta"}, "precision 'int8' is for CPUs"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"threads": 0}, "threads must be a whole number from 1"),
        ({"max_length": 25}, "max_length 25 is out of range: .* takes 3 to 24"),
        ({"max_length": 4, "query_prompt": "hello world"}, "takes 5 to 24"),
        ({"dimensions": 33}, "dimensions 33 is out of range: .* has 1 to 32"),
        ({"on_overflow": "ignore"}, "on_overflow 'ignore' is unknown"),
    ],
)
def test_bad_options_are_named(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        Embedder(tiny, **options)


def test_bad_input_is_named(embedder):
    with pytest.raises(TypeError, match="got one str; put it in a list"):
        embedder.embed("hello")
    with pytest.raises(TypeError, match="text 1 is NoneType, expected str"):
        embedder.embed(["a", None])
    with pytest.raises(ValueError, match="role 'question' is unknown; expected one of query, document"):
        embedder.embed(["a"], role="question")


def test_pooling_needs_its_weights(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="no trained attention pooling"):
        Embedder(tiny, pooling="attention")
    write_tiny(tmp_path)
    transformers.BertModel(transformers.BertConfig(**SIZES), add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no trained pooler"):
        Embedder(tmp_path, pooling="pooler")


def test_stages_of_others_are_refused_not_run(tiny, tmp_path):
    Embedder(tiny).save(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    modules[2]["type"] = "os.system"
    write_json(modules, tmp_path / "modules.json")
    with pytest.raises(CheckpointError, match=r"stage 'os\.system' is not one langbert runs"):
        Embedder(tmp_path)


@pytest.mark.parametrize("kind", [transformers.DistilBertModel, transformers.XLMRobertaModel])
def test_other_families_have_the_vectors_of_sentence_transformers(kind, tmp_path):
    folder = tmp_path / "model"
    write_tiny(folder, kind)
    # what such checkpoints bring: a tokenizer.json
    source = TextTokenizer.from_folder(folder)
    source.save(folder, max_length=18)
    embedder = Embedder(folder, precision="float32", on_overflow="truncate")
    assert embedder.max_length == 18
    together = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    theirs = sentence_transformers_vectors(folder, TEXTS)  # a plain folder: it takes the mean, unnormalised
    np.testing.assert_allclose(together, theirs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=1e-5)
    embedder.save(tmp_path / "saved")
    np.testing.assert_allclose(sentence_transformers_vectors(tmp_path / "saved", TEXTS), together, atol=1e-5)
    again = Embedder(tmp_path / "saved", precision="bfloat16")
    assert again.space.differences(embedder.space) == []


def test_a_network_of_another_family_larger_than_its_weights_is_refused(tmp_path):
    write_tiny(tmp_path, transformers.DistilBertModel)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    write_json({**config, "hidden_dim": 10**9}, tmp_path / "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json: it describes a network of [\d,]{10,} parameters"):
        Embedder(tmp_path)


def test_int8_is_for_bert(tmp_path):
    write_tiny(tmp_path, transformers.DistilBertModel)
    with pytest.raises(CheckpointError, match="'int8' is for BERT"):
        Embedder(tmp_path, precision="int8")


def test_code_in_a_checkpoint_runs_only_when_asked_for(tmp_path):
    write_json(
        {"model_type": "homemade", "auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.C"}},
        tmp_path / "config.json",
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('code from a checkpoint ran')", encoding="utf-8")
    with pytest.raises(CheckpointError, match="trust_remote_code=True"):
        Embedder(tmp_path)


@pytest.mark.models
def test_minilm_gives_the_golden_vectors(minilm_folder):
    embedder = Embedder(minilm_folder, precision="float32", on_overflow="truncate")
    assert embedder.max_length == GOLDEN["max_length"]
    texts = [case["text"] for case in GOLDEN["cases"]]
    expected = np.array([case["vector"] for case in GOLDEN["cases"]], dtype=np.float32)
    np.testing.assert_allclose(embedder.embed(texts), expected, atol=1e-5)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_allclose(alone, embedder.embed(texts), atol=1e-6)


@pytest.mark.models
def test_minilm_agrees_with_sentence_transformers(minilm_folder):
    texts = ["", "a", "How do I sort a list?", "如何对列表进行排序？", "word " * 500]
    embedder = Embedder(minilm_folder, precision="float32", on_overflow="truncate")
    np.testing.assert_allclose(embedder.embed(texts), sentence_transformers_vectors(minilm_folder, texts), atol=1e-5)


@pytest.mark.models
@pytest.mark.parametrize(("precision", "mean", "least"), [("bfloat16", 0.9999, 0.9995), ("int8", 0.995, 0.98)])
def test_minilm_in_fewer_bits_points_the_same_way(minilm_folder, precision, mean, least):
    texts = [case["text"] for case in GOLDEN["cases"]]
    exact = Embedder(minilm_folder, precision="float32").embed(texts)
    rough = Embedder(minilm_folder, precision=precision)
    cosines = (exact * rough.embed(texts)).sum(axis=1)
    assert cosines.mean() > mean
    assert cosines.min() > least
    together, alone = rough.embed(texts), np.concatenate([rough.embed([text]) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.99999


@pytest.mark.models
def test_minilm_in_float32_is_the_same_to_the_bit_alone_and_in_any_batch(minilm_folder):
    texts = ["", "a", "How do I sort a list?", "如何对列表进行排序？", *("word " * n for n in range(3, 260, 17))]
    embedder = Embedder(minilm_folder, precision="float32", on_overflow="truncate")
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_array_equal(embedder.embed(texts), alone)
    np.testing.assert_array_equal(embedder.embed(texts[::-1])[::-1], alone)
    np.testing.assert_array_equal(Embedder(minilm_folder, precision="float32", threads=1).embed(texts[:4]), alone[:4])
