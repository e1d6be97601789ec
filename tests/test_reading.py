"""The span reader: parity with transformers, and its choice of a span against brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from langbert.errors import CheckpointError, QuestionError
from langbert.models.bert.heads import SpanReader, span_loss
from langbert.models.bert.loading import load_span_reader
from langbert.models.bert.network import Bert, BertConfig
from langbert.reading import _LONGEST, Reader, _best_spans

WORDS = """
who what where did live in the a normans normandy bees make honey from nectar , . ? 诺 曼 人
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``BertForQuestionAnswering`` of random weights, as transformers writes it."""
    from transformers import BertConfig as TheirConfig
    from transformers import BertForQuestionAnswering

    folder = tmp_path_factory.mktemp("reader")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = TheirConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=400,
        initializer_range=0.1,
    )
    BertForQuestionAnswering(config).save_pretrained(folder)
    return folder


def test_logits_agree_with_transformers(folder: Path) -> None:
    from transformers import BertForQuestionAnswering

    theirs = BertForQuestionAnswering.from_pretrained(folder).eval()
    ours = load_span_reader(folder).network
    token_ids = torch.randint(len(WORDS), (3, 17))
    segments = torch.zeros_like(token_ids)
    segments[:, 6:] = 1
    mask = torch.ones_like(token_ids)
    mask[1, 12:] = 0
    with torch.no_grad():
        expected = theirs(input_ids=token_ids, attention_mask=mask, token_type_ids=segments)
        logits = ours(token_ids, mask, segments)
    real = mask.bool()
    assert torch.allclose(logits[..., 0][real], expected.start_logits[real], atol=1e-5)
    assert torch.allclose(logits[..., 1][real], expected.end_logits[real], atol=1e-5)


def test_a_span_is_cut_out_of_its_passage(folder: Path) -> None:
    reader = Reader(folder, precision="float32")
    passages = ["The Normans live in Normandy.", "", "诺曼人 make honey, bees make honey from nectar. " * 60]
    spans = reader.read("Who did live in Normandy?", passages)
    assert {span.passage for span in spans} == {0, 2}  # an empty passage holds no answer
    for span in spans:
        assert passages[span.passage][span.start : span.end] == span.text
        assert span.text
        assert 0 <= span.score <= 1
    assert [span.score for span in spans] == sorted((span.score for span in spans), reverse=True)


def test_a_passage_is_read_the_same_alone_and_among_others(folder: Path) -> None:
    reader = Reader(folder, precision="float32")
    passages = ["Bees make honey.", "The Normans live in Normandy.", "Bees make honey from nectar " * 90]
    together = reader.margins(["What make honey?"] * 3, passages)
    for passage, found in zip(passages, together, strict=True):
        (alone,) = reader.margins(["What make honey?"], [passage])
        assert alone[1:] == found[1:]
        assert alone[0] == pytest.approx(found[0], abs=1e-4)


def test_a_passage_has_as_many_spans_as_asked_for(folder: Path) -> None:
    reader = Reader(folder, precision="float32")
    passage = "Bees make honey from nectar, the Normans live in Normandy. " * 60  # several windows
    questions, passages = ["What make honey?"] * 3, ["Bees", passage, ""]
    one, many, none = reader.best_spans(questions, passages, 12)
    assert [(span.start, span.end) for span in one] == [(0, 4)]
    assert none == []
    assert len({(span.start, span.end) for span in many}) == len(many) == 12
    assert many == sorted(many, reverse=True)
    assert all(passage[span.start : span.end] for span in many)
    assert [reader.best_spans(questions, passages, 1)[1][0][:3]] == [reader.margins(questions, passages)[1]]


def test_the_best_spans_are_those_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n_question, n_passage = int(rng.integers(1, 8)), int(rng.integers(1, 19))
        length = 1 + n_question + 1 + n_passage + 1
        logits = rng.normal(size=(length, 2)).astype(np.float32)
        found = _best_spans(logits, slice(5, 5 + n_passage), 4)
        offset = n_question + 2
        everything = sorted(
            (
                (logits[offset + i, 0] + logits[offset + j, 1], i, j)
                for i in range(n_passage)
                for j in range(i, min(n_passage, i + _LONGEST))
            ),
            reverse=True,
        )
        assert len(found) == min(4, len(everything))
        for span, (total, first, last) in zip(found, everything, strict=False):
            assert (span.start - 5, span.end - 5) == (first, last)
            assert span.logits == pytest.approx(float(total), abs=1e-5)
            assert span.margin == pytest.approx(float(total) - float(logits[0].sum()), abs=1e-5)


def test_the_loss_is_the_mean_cross_entropy_over_allowed_tokens() -> None:
    logits = torch.zeros(1, 4, 2)
    allowed = torch.tensor([[True, False, True, True]])  # three equally likely places
    loss = span_loss(logits, torch.tensor([2]), torch.tensor([3]), allowed)
    assert loss.item() == pytest.approx(float(np.log(3)))
    logits[0, 1] = 100.0  # a token of the question cannot be an answer, however loud
    assert span_loss(logits, torch.tensor([2]), torch.tensor([3]), allowed).item() == pytest.approx(float(np.log(3)))


def test_questions_and_checkpoints_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(QuestionError):
        Reader(folder).read("  ", ["x"])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="gpt2"):
        load_span_reader(tmp_path)


def test_the_trainable_reader_has_two_logits_a_token() -> None:
    config = BertConfig(vocab_size=20, hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32, max_positions=16)
    assert SpanReader(Bert(config, pooler=False))(torch.randint(20, (2, 9))).shape == (2, 9, 2)
