"""The Reranker: against transformers, and against its own promises on tiny random cross-encoders."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import transformers

from langbert import Candidate, Chunk, Reranker
from langbert.errors import CheckpointError, QuestionError
from langbert.models.files.tokenizer import TextTokenizer, windows

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", "hello", "world", "机", "器"]
SIZES = {
    "vocab_size": len(VOCAB),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "num_labels": 1,
}
QUESTION = "a b hello"
PASSAGES = ["", "a", "hello world c d", "机器", "e f g h i j", "a b hello"]


def write_tiny(folder, kind, **changes):
    torch.manual_seed(0)
    model = kind(kind.config_class(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCAB), encoding="utf-8")
    tokenizer = TextTokenizer.from_folder(folder)
    tokenizer.save(folder, max_length=30)
    return model


@pytest.fixture(scope="module", params=["BertForSequenceClassification", "DistilBertForSequenceClassification"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cross")
    model = write_tiny(folder, getattr(transformers, request.param))
    return model, folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    write_tiny(folder, transformers.BertForSequenceClassification)
    return Reranker(folder, precision="float32")


@torch.no_grad()
def test_agrees_with_transformers(pair):
    model, folder = pair
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    inputs = tokenizer([QUESTION] * len(PASSAGES), PASSAGES, padding=True, return_tensors="pt")
    if model.config.model_type != "bert":
        inputs.pop("token_type_ids", None)
    expected = torch.sigmoid(model(**inputs).logits[:, 0]).numpy()
    scores = Reranker(folder, precision="float32").score(QUESTION, PASSAGES)
    assert scores.dtype == np.float32
    assert np.ptp(scores) > 0.01  # a constant would agree with itself
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_pair_has_one_score_alone_and_in_a_batch(bert):
    together = bert.score(QUESTION, PASSAGES)
    alone = np.concatenate([bert.score(QUESTION, [passage]) for passage in PASSAGES])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert bert.score(QUESTION, []).shape == (0,)


def test_a_long_passage_scores_as_its_best_window(bert):
    assert bert.max_length == 30
    words = [VOCAB[5 + i % 12] for i in range(70)]
    room = 30 - 3 - 3  # three special tokens, three of the question
    parts = [" ".join(words[cut]) for cut in windows(list(range(70)), room, overlap=room // 4)]
    read = []
    score = bert.score(QUESTION, [" ".join(words)], progress=read.append)
    np.testing.assert_allclose(score, bert.score(QUESTION, parts).max(keepdims=True), atol=1e-6)
    assert len(parts) == 4
    assert read == [1]


def test_a_long_question_is_cut_and_says_so(bert, caplog):
    with caplog.at_level(logging.WARNING, "langbert"):
        score = bert.score("a " * 40, ["hello"])
    assert "the question has 40 tokens; only the first 13 are read" in caplog.text
    np.testing.assert_allclose(score, bert.score("a " * 13, ["hello"]), atol=1e-6)


def test_rerank_orders_and_keeps_the_earlier_scores(bert):
    candidates = [
        Candidate(Chunk(str(i), "doc", text), score=0.5, scores={"dense": 0.1 * i}) for i, text in enumerate(PASSAGES)
    ]
    ranked = bert.rerank(QUESTION, candidates)
    assert sorted(c.chunk.id for c in ranked) == sorted(c.chunk.id for c in candidates)
    assert [c.score for c in ranked] == sorted((c.score for c in ranked), reverse=True)
    expected = dict(zip("012345", bert.score(QUESTION, PASSAGES).tolist(), strict=True))
    for candidate in ranked:
        assert candidate.scores == {
            "dense": 0.1 * int(candidate.chunk.id),
            "reranker": pytest.approx(expected[candidate.chunk.id], abs=1e-6),
        }
    assert all(c.score == 0.5 and "reranker" not in c.scores for c in candidates)
    assert bert.rerank(QUESTION, candidates, top_n=2) == ranked[:2]
    assert bert.rerank(QUESTION, candidates, top_n=0) == []
    floor = ranked[2].score
    assert bert.rerank(QUESTION, candidates, min_score=floor) == ranked[:3]
    assert bert.rerank(QUESTION, []) == []


def test_headings_are_read_with_the_passage(bert):
    chunk = Chunk("1", "doc", "hello", headings=("a", "b"))
    (ranked,) = bert.rerank(QUESTION, [Candidate(chunk, 0.1)])
    assert ranked.score == pytest.approx(bert.score(QUESTION, ["a > b\nhello"])[0], abs=1e-6)


def test_bad_input_is_named(bert):
    with pytest.raises(QuestionError, match="blank"):
        bert.score("  \n", ["a"])
    with pytest.raises(TypeError, match="got one str"):
        bert.score("a", "b")
    with pytest.raises(TypeError, match="passage 1 is int"):
        bert.score("a", ["b", 3])
    with pytest.raises(ValueError, match="top_n must be 0 or more"):
        bert.rerank("a", [], top_n=-1)


def test_models_that_are_no_reranker_are_refused(tmp_path):
    for name, kind, changes, message in [
        ("three", transformers.BertForSequenceClassification, {"num_labels": 3}, "has 3 labels"),
        ("plain", transformers.BertModel, {}, r"no classifier\.weight"),
        ("distil", transformers.DistilBertModel, {}, "missing classifier"),
    ]:
        folder = tmp_path / name
        write_tiny(folder, kind, **changes)
        with pytest.raises(CheckpointError, match=message):
            Reranker(folder)
    write_tiny(tmp_path / "ok", transformers.BertForSequenceClassification)
    with pytest.raises(ValueError, match="max_length 33 is out of range"):
        Reranker(tmp_path / "ok", max_length=33)
