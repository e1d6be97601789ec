"""The reranker and the reader that come with the package: whole, pinned, small, and what Rag uses."""

from __future__ import annotations

import hashlib

import pytest

from langbert import Checker, Rag, Reader, Reranker, Store
from langbert.models import CATALOGUE, resolve

SHIPPED = [entry for entry in CATALOGUE.values() if entry.shipped]
PASSAGES = [
    "Limit all lines to a maximum of 79 characters.",
    "The Normans gave their name to Normandy, a region in France.",
    "Bees make honey from the nectar of flowers.",
]


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_the_files_are_the_pinned_ones(entry) -> None:
    folder = resolve(entry.name, offline=True)
    for file in entry.files:
        data = (folder / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)
    assert "## Scores" in (folder / "README.md").read_text(encoding="utf-8"), "no model card"
    assert entry.size < 5_000_000


def test_what_is_shipped() -> None:
    assert {entry.name for entry in SHIPPED} == {
        *("minilm-reranker", "minilm-reader"),
        *("e5-reranker", "e5-reader", "e5-checker"),
    }


@pytest.mark.models
@pytest.mark.parametrize(
    ("question", "place", "answer"),
    [
        ("What is the maximum line length?", 0, "79 characters"),
        ("Which region is named after the Normans?", 1, "Normandy"),
        ("What do bees make?", 2, "honey"),
    ],
)
def test_they_know_which_passage_answers_and_with_which_words(question: str, place: int, answer: str) -> None:
    scores = Reranker().score(question, PASSAGES)
    assert scores.argmax() == place
    assert scores[place] > 10 * sorted(scores)[1]
    best = Reader().read(question, PASSAGES)[0]
    assert (best.passage, best.text) == (place, answer)
    assert best.score > 0.5


@pytest.mark.models
def test_one_folder_reranks_reads_and_checks_in_two_languages() -> None:
    reranker, reader, checker = Reranker("e5-reranker"), Reader("e5-reader"), Checker()
    passages = ["蜜蜂用花蜜酿造蜂蜜。", "The Normans gave their name to Normandy, a region in France."]
    assert reranker.score("蜜蜂酿造什么？", passages).argmax() == 0
    assert reranker.score("Which region is named after the Normans?", passages).argmax() == 1
    span = reader.read("蜜蜂酿造什么？", passages)[0]
    assert span.passage == 0
    assert "蜂蜜" in span.text
    same, other = checker.check([(passages[1], passages[1]), (passages[1], "Nobody sleeps in Normandy.")])
    assert same.entailed > other.entailed


@pytest.fixture(scope="module")
def store(peps: Store) -> Store:
    return peps


@pytest.mark.models
def test_rag_uses_both_by_default(store: Store) -> None:
    rag = Rag(store)
    question = "What is the maximum line length?"
    found = rag.retriever_for(question).retrieve(question, 3)
    assert {"reranker", "search"} <= found[0].scores.keys()
    answer = rag.ask(question, mode="extract")
    assert (answer.short, answer.text.endswith(" [1]")) == ("79 characters", True)
    assert "79 characters" in answer.citations[0].quote
    document = store.document(answer.citations[0].document_id)
    assert document is not None
    assert document.text[answer.citations[0].start : answer.citations[0].end] == answer.citations[0].quote


@pytest.mark.models
def test_rag_without_them_quotes_a_sentence(store: Store) -> None:
    answer = Rag(store, reranker=False, reader=False).ask("What is the maximum line length?", mode="extract")
    assert "79" in answer.text
    assert "reranker" not in Rag(store, reranker=False).retriever_for("?").retrieve("line length")[0].scores


@pytest.mark.models
def test_a_chinese_question_is_answered_without_the_english_models(store: Store) -> None:
    answer = Rag(store).ask("诺曼底因何得名？", mode="extract")
    assert "诺曼" in answer.text
    assert answer.citations[0].source == "诺曼人.txt"
