"""Documents that disagree are both shown, the newer first."""

from __future__ import annotations

import pytest

from langbert import Document, Embedder, Rag, Store

TEXTS = {
    "rules_a.md": "House rules of 1 May 2020\n\nThe gate is locked at ten. Bikes stand in the cellar.",
    "rules_b.md": "House rules of 2 June 2023\n\nThe gate is locked at eleven. Bikes stand in the yard.",
    "prices.txt": "Prices, autumn 2021. Laundry costs 3 euros for tenants and 5 euros for guests.",
    "prices_new.txt": "Prices, autumn 2024. Laundry costs 4 euros for tenants and 6 euros for guests.",
    "旧.txt": "员工守则（2019年版）\n\n加班须提前两天申请。",
    "新.txt": "员工守则（2022年3月1日起施行，2019年版废止）\n\n加班须提前一天申请。",
    "north.txt": "North hall. Tables in the north hall seat 8 guests.",
    "south.txt": "South hall. Tables in the south hall seat 6 guests.",
}


@pytest.fixture(scope="module")
def rag() -> Rag:
    store = Store.open(embedder=Embedder("e5-small"))
    store.add(Document(name, text, name) for name, text in TEXTS.items())
    return Rag(store)


@pytest.mark.parametrize(
    ("question", "newer", "older"),
    [
        ("When is the gate locked?", "at eleven", "at ten"),
        ("Where do bikes stand?", "in the yard", "in the cellar"),
        ("How much does laundry cost for guests?", "6 euros for guests", "5 euros for guests"),
        ("加班要提前几天申请？", "提前一天", "提前两天"),
    ],
)
def test_both_versions_are_shown(rag: Rag, question: str, newer: str, older: str) -> None:
    answer = rag.ask(question, mode="extract")
    assert newer in answer.text
    assert older in answer.text
    assert answer.text.index(newer) < answer.text.index(older)
    assert [newer in citation.quote for citation in answer.citations[:2]] == [True, False]
    assert len({citation.source for citation in answer.citations}) == len(answer.citations)


@pytest.mark.parametrize(
    ("question", "said", "other"),
    [
        ("How much did laundry cost for guests in 2021?", "5 euros", "6 euros"),
        ("How many guests do tables in the south hall seat?", "6 guests", "8 guests"),
    ],
)
def test_what_is_of_another_year_or_thing_is_no_version(rag: Rag, question: str, said: str, other: str) -> None:
    answer = rag.ask(question, mode="extract")
    assert said in answer.text
    assert other not in answer.text
