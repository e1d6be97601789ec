"""Readers of data sets, and retrieval metrics against hand-worked values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from langbert.errors import DataError
from langbert.evaluation import evaluate_retrieval, read_questions, read_retrieval_set
from langbert.evaluation.retrieval import corpus_chunks
from langbert.retrieval import Retriever
from langbert.store import Store

SQUAD = {
    "data": [
        {
            "title": "Normans_and_others",
            "paragraphs": [
                {
                    "context": "The Normans lived in Normandy.",
                    "qas": [
                        {"id": "q1", "question": "Where?", "answers": [{"text": "Normandy", "answer_start": 21}]},
                        {"id": "q2", "question": "When?", "answers": [], "is_impossible": True},
                    ],
                },
                {"context": "Bees make honey in hives.", "qas": []},
            ],
        }
    ]
}


def write(path: Path, rows: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    corpus = {"d1": "apples grow on trees", "d2": "fish swim in rivers", "d3": "rivers carry apples"}
    write(tmp_path / "corpus.jsonl", [{"_id": name, "title": "", "text": text} for name, text in corpus.items()])
    write(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "fish"}, {"_id": "q2", "text": "trees"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\nq2\td3\t1\n", encoding="utf-8")
    return tmp_path


def test_squad_is_read_with_its_unanswerable_questions(tmp_path: Path) -> None:
    file = tmp_path / "squad.json"
    file.write_text(json.dumps(SQUAD), encoding="utf-8")
    data = read_questions(file)
    assert [question.answers for question in data.questions] == [("Normandy",), ()]
    assert data.questions[0].title == "Normans and others"
    assert list(data.paragraphs) == ["p0", "p1"]
    retrieval = read_retrieval_set(file)
    assert retrieval.queries == {"q1": "Where?"}
    assert retrieval.qrels == {"q1": {"p0": 1}}


def test_metrics_agree_with_values_worked_by_hand(beir: Path) -> None:
    data = read_retrieval_set(beir)
    with Store.open() as store:
        store.add(corpus_chunks(data))
        report = evaluate_retrieval(data, Retriever(store, mode="lexical"))
    # q1 finds d2 first; q2 finds d1 ("trees") and not d3, the only relevant one
    assert report.per_query["q1"]["nDCG@10"] == 1.0
    assert report.per_query["q2"].get("R@20", 0.0) == 0.0
    assert math.isclose(report.scores["R@1"], 0.5)
    assert math.isclose(report.scores["RR@10"], 0.5)
    assert report.to_dict()["queries"] == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("not json", "is not JSON"), ("[]", "SQuAD's form"), ('{"data": [{"paragraphs": [{}]}]}', "'context'")],
)
def test_a_file_that_is_not_squad_is_refused_with_the_reason(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        read_questions(file)


def test_a_broken_line_is_named(beir: Path) -> None:
    (beir / "corpus.jsonl").write_text('{"_id": "d1", "text": "fine"}\n{"_id": "d2"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"corpus\.jsonl:2: expected an object with text"):
        read_retrieval_set(beir)


def test_an_ambiguous_split_lists_what_is_there(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "train.tsv")
    assert read_retrieval_set(beir).queries  # the only one there is
    with pytest.raises(DataError, match="there: train"):
        read_retrieval_set(beir, split="dev")


def test_a_missing_path_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="BEIR folder"):
        read_retrieval_set(tmp_path / "nowhere")
