"""One cross-encoder with several heads: trained, then run once for whoever asks."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from langbert import Checker, Reader, Reranker
from langbert.errors import CheckpointError, DataError
from langbert.evaluation import read_questions
from langbert.models.bert.evidence import (
    ENTAILMENT,
    ROWS,
    EvidenceCalibration,
    EvidenceEncoder,
    EvidenceStates,
    is_evidence,
)
from langbert.models.bert.network import Bert, BertConfig
from langbert.training import train
from langbert.training.claims import made_claims, statement
from langbert.training.evidence import EvidenceTask
from langbert.training.unanswerable import edited_question

ARTICLES = {
    "Bees": [("Bees make honey from nectar. Their hives hold 40,000 of them.", "What do bees make?", "honey")],
    "Normans": [("The Normans lived in Normandy. William was crowned in 1066.", "When was William crowned?", "1066")],
    "范廷颂": [
        ("范廷颂枢机是越南人。他在1963年被任为主教。", "范廷颂是什么时候被任为主教的？", "1963年"),
        ("范廷颂于1919年出生。他在河内读书。", "范廷颂在哪里读书？", "河内"),
    ],
    "Rivers": [("The Rhine ends in the North Sea. The Elbe passes Hamburg.", "Which river passes Hamburg?", "Elbe")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reading set of two languages, its negatives, and pairs."""
    folder = tmp_path_factory.mktemp("data")
    articles, lines = [], []
    for title, rows in ARTICLES.items():
        paragraphs = []
        for i, (text, question, answer) in enumerate(rows):
            answers = [{"text": answer, "answer_start": text.index(answer)}]
            qas = [{"id": f"{title}{i}", "question": question, "answers": answers}]
            paragraphs.append({"context": text, "qas": qas})
            lines.append(json.dumps({"id": f"{title}{i}", "negatives": ["p0" if title != "Bees" else "p1"]}))
        articles.append({"title": title, "paragraphs": paragraphs})
    (folder / "facts.json").write_text(json.dumps({"data": articles}), encoding="utf-8")
    (folder / "facts.negatives.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pairs = [
        {"premise": f"Number {i} sleeps.", "hypothesis": f"It {how} sleeps.", "label": label}
        for i in range(9)
        for how, label in (("still", "entailment"), ("maybe", "neutral"), ("never", "contradiction"))
    ]
    (folder / "nli.pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"base": "minilm", "holdout": 0.4, "batch_size": 4, "unanswerable": 1.0}
    report = train("evidence", folder, tmp_path_factory.mktemp("run"), max_steps=3, **options)
    assert {"mean", "exact", "relevance_auroc", "answerable_auroc", "entailment_accuracy"} == set(report.metrics)
    return report.folder


def test_a_batch_says_what_each_sequence_shall_learn(folder: Path) -> None:
    task = EvidenceTask(folder, base="minilm", holdout=0, unanswerable=1.0, made=0)
    batch = task.collate(list(range(len(task))), seed=1)
    read = task._tokenizer
    for i in range(len(batch["token_ids"])):
        start, end, label = int(batch["starts"][i]), int(batch["ends"][i]), int(batch["labels"][i])
        if label >= 0:
            assert start == -1
        elif start > 0:
            ids = batch["token_ids"][i, start : end + 1].tolist()
            assert ids in [read.encode([answer])[0].ids for rows in ARTICLES.values() for _, _, answer in rows]
            assert batch["allowed"][i, start]
            assert batch["relevant"][i] == 1
        else:
            assert batch["relevant"][i] in (0, -1)
    assert (batch["labels"] >= 0).sum() == 27
    assert all(torch.equal(batch[name], task.collate(range(len(task)), seed=1)[name]) for name in batch)


def test_sentences_beside_the_answers_are_the_wrong_ones(folder: Path) -> None:
    task = EvidenceTask(folder, base="minilm", holdout=0, unanswerable=0.0, made=0, pieces=1.0, title_dropout=1.0)
    batch = task.collate([0], seed=0)
    tokenizer = task._tokenizer
    texts = ["Bees make honey from nectar.", "Their hives hold 40,000 of them."]
    question = "What do bees make?"
    pairs = [tokenizer.pair(*(each.ids for each in tokenizer.encode([question, text]))).ids for text in texts]
    rows = [ids[:n] for ids, n in zip(batch["token_ids"].tolist(), batch["attention_mask"].sum(dim=1), strict=True)]
    assert pairs[0] in rows  # by itself, or with the next
    if len(rows) > 1 and pairs[1] in rows:
        assert batch["relevant"][rows.index(pairs[1])] == 0
    relevant = [bool(set(tokenizer.encode(["honey"])[0].ids) <= set(ids)) for ids in rows]
    assert batch["relevant"].tolist() == [int(is_relevant) for is_relevant in relevant]


def test_one_model_reranks_reads_and_checks(trained: Path) -> None:
    assert is_evidence(trained)
    reranker, reader, checker = Reranker(trained), Reader(trained), Checker(trained)
    passages = [text for rows in ARTICLES.values() for text, _, _ in rows]
    scores = reranker.score("What do bees make?", passages)
    assert scores.shape == (5,)
    assert ((scores > 0) & (scores < 1)).all()
    spans = reader.read("What do bees make?", passages)
    assert all(passages[span.passage][span.start : span.end] == span.text for span in spans)
    verdicts = checker.check([("Bees make honey.", "Bees work."), ("word " * 600, "It is long."), ("", "Nothing.")])
    for verdict in verdicts:
        assert verdict.entailed + verdict.neutral + verdict.contradicted == pytest.approx(1, abs=1e-5)
    assert checker.check([]) == []
    assert reranker._scorer.states is reader._scorer.states  # one network in memory


def test_pairs_read_once_are_not_read_again(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker, reader = Reranker(trained, precision="float32"), Reader(trained, precision="float32")
    passages = [text for rows in ARTICLES.values() for text, _, _ in rows]
    alone = reader.margins(["What do bees make?"], passages[:1])
    reranker.score("What do bees make?", passages)

    def refuse(*args: object) -> None:
        raise AssertionError("the network ran again")

    monkeypatch.setattr(reranker._scorer.states, "_prepared", refuse)
    assert reader.margins(["What do bees make?"] * 5, passages)[0] == pytest.approx(alone[0])
    with pytest.raises(AssertionError, match="ran again"):
        reader.margins(["What else?"], passages[:1])


def test_rows_are_the_padded_networks_logits() -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=32, n_layers=2, n_heads=4, intermediate_size=64, max_positions=50)
    network = EvidenceEncoder(Bert(config, pooler=False)).eval()
    states = EvidenceStates(network, dtype=torch.float32, device=torch.device("cpu"), calibration=EvidenceCalibration())
    sequences = [[2, 5, 3, 7, 3], [2, *range(4, 20), 3, 8, 3], [2, 5, 3, 7, 3]]
    rows = torch.split(states(sequences, [[0] * len(ids) for ids in sequences]), [5, 20, 5])
    with torch.no_grad():
        for ids, own in zip(sequences, rows, strict=True):
            expected = network(torch.tensor([ids]))
            torch.testing.assert_close(own[:, ROWS.SPANS], expected.spans[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(own[0, ROWS.RELEVANCE], expected.relevance[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(own[0, ROWS.ENTAILMENT], expected.entailment[0], atol=1e-5, rtol=0)


def test_a_model_without_an_entailment_head_checks_nothing() -> None:
    with pytest.raises(CheckpointError, match="no entailment head"):
        Checker("minilm-reader")


def test_a_folder_without_reading_sets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reading sets in SQuAD's form"):
        EvidenceTask(tmp_path, base="minilm")


@pytest.mark.parametrize(
    ("question", "answer", "stated"),
    [
        ("范廷颂是什么时候被任为主教的？", "1963年", "范廷颂是1963年被任为主教的。"),
        ("誰殖民了臺灣？", "葡萄牙", "葡萄牙殖民了臺灣。"),
        ("Who invented the telephone?", "Bell", "Bell invented the telephone."),
        ("When did the war end?", "in 1945", None),
        ("谁在什么时候来的？", "他", None),
    ],
)
def test_questions_become_statements_where_a_rule_fits(question: str, answer: str, stated: str | None) -> None:
    assert statement(question, answer) == stated


def test_claims_are_entailed_by_copies_and_contradicted_by_swaps(folder: Path) -> None:
    data = read_questions(folder / "facts.json")
    claims = [claim for seed in range(20) for claim in made_claims(data, data.questions, random.Random(seed))]
    assert {claim.label for claim in claims} == {0, 1, 2}
    assert len(ENTAILMENT) == 3
    for claim in claims:
        if ENTAILMENT[claim.label] == "contradicted":
            assert claim.hypothesis not in claim.premise
        assert claim.premise in "".join(text for _, text in data.paragraphs.values())


def test_chinese_questions_are_edited_too() -> None:
    changed = {edited_question("中国最大的湖在哪里？", [], random.Random(seed)) for seed in range(5)}
    assert changed == {"中国最小的湖在哪里？"}
    assert edited_question("1963年发生了什么？", [], random.Random(0)) != "1963年发生了什么？"
    assert edited_question("范廷颂在哪里？", ["梵文"], random.Random(0), title="范廷颂") == "梵文在哪里？"


def test_scores_do_not_depend_on_the_batch(trained: Path) -> None:
    passages = [text for rows in ARTICLES.values() for text, _, _ in rows]
    together = Reranker(trained, precision="float32").score("Who?", passages)
    alone = [Reranker(trained, precision="float32").score("Who?", [text])[0] for text in passages]
    np.testing.assert_allclose(together, alone, atol=1e-6)
