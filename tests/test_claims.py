"""The claims of an answer that others wrote: which sentences claim something, and what holds them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langbert.answering import claims
from langbert.records import Candidate, Chunk

STYLE = "Limit all lines to a maximum of 79 characters. Long blocks of text are limited to 72 characters."
LEAVE = "员工每年有十天年假。申请须提前三天提交给主管。"
SOURCES = [
    Candidate(Chunk("c1", "style", STYLE, start=100, source="style.txt"), 0.5),
    Candidate(Chunk("c2", "leave", LEAVE, source="手册.txt"), 0.5),
]


def told(text: str, question: str = "") -> list[tuple[str, str | None]]:
    return [
        (text[claim.start : claim.end], claim.evidence.quote if claim.evidence else None)
        for claim in claims.checked(text, SOURCES, question)
    ]


def test_markdown_of_two_languages() -> None:
    answer = (
        "Here is what I found:\n\n## Limits\n\n"
        "1. **Lines** are limited to a maximum of 79 characters [1].\n"
        "2. Lines are limited to 80 characters.\n\n"
        "| what | limit |\n|---|---|\n| long blocks of text | 72 characters |\n\n"
        "```python\nlimit = 120\n```\n\n"
        "员工每年有十天年假。申请须提前五天提交给主管。\n\nWould you like to know more?"
    )
    first, second = STYLE.split(". ")
    assert told(answer) == [
        ("**Lines** are limited to a maximum of 79 characters [1].", f"{first}."),
        ("Lines are limited to 80 characters.", None),
        ("| long blocks of text | 72 characters |", second),
        ("员工每年有十天年假。", "员工每年有十天年假。"),
        ("申请须提前五天提交给主管。", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("Sure!", "Here are the results:", "I found two documents.", "Let me know if you need anything else."),
        *(
            "Would you like more?",
            "# Tim Peters",
            "---",
            "```\nx = 80\n```",
            "The documents do not say.",
            "I don't know.",
        ),
        *(
            "以下是查到的内容：",
            "您还想知道什么？",
            "如果您还有问题，请告诉我。",
            "我查到了两份文件。",
            "文档中没有提到。",
            "",
            "\n",
        ),
    ],
)
def test_what_claims_nothing(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Tim Peters wrote it.",
            "- Lines have 80 characters.",
            "You may take 20 days of leave.",
            "Sure of it is Tim.",
        ),
        *("We measured 12 volts.", "您可以休二十天年假。", "以下是规定：员工有二十天年假。", "> 年假为二十天。"),
    ],
)
def test_what_no_source_holds_is_a_claim_without_evidence(text: str) -> None:
    assert [quote for _, quote in told(text)] == [None]


def test_a_sentence_that_only_repeats_the_question_has_no_evidence() -> None:
    assert told("All lines have a maximum.", "What maximum do all lines have?") == [("All lines have a maximum.", None)]


def test_evidence_knows_its_place_in_the_document() -> None:
    (claim,) = claims.checked("- At most 79 characters a line.", SOURCES)
    assert claim.evidence is not None
    citation = claim.evidence.citation
    assert (" " * 100 + STYLE)[citation.start : citation.end] == citation.quote
    assert citation.document_id == "style"


@given(st.text(alphabet="ab1 .。？?\n-*#|`[]()>_年假", max_size=80))
@example(">\n1")
def test_claims_are_stretches_of_the_text_in_order(text: str) -> None:
    last = 0
    for claim in claims.checked(text, SOURCES):
        assert last <= claim.start < claim.end <= len(text)
        assert text[claim.start : claim.end].strip() == text[claim.start : claim.end]
        last = claim.end
