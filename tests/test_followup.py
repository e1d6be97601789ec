"""Follow-up questions: when a rewriting is believed, and what is searched for when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.answering.follow_up import leans, rewriting_messages, standalone_question, with_key_words
from langbert.records import Message

HISTORY = [
    Message("user", "Who was William the Conqueror?"),
    Message("assistant", "A duke of Normandy who became king of England."),
]


@pytest.mark.parametrize(
    ("question", "rewritten", "expected"),
    [
        ("How old did he get?", "How old did William the Conqueror get?", None),
        ("How old did he get?", 'Rewritten question: "How old did William the Conqueror get?"\nHe was 59.', None),
        ("Why?", "Why did William become king of England?", "Why did William become king of England?"),
        ("Do bees make honey?", "Do bees make honey?", "Do bees make honey?"),
        # an answer, a refusal, an invention, an echo, nothing
        ("How old did he get?", "He died at the age of 59 in Rouen.", "How old did he get? William Conqueror"),
        ("How old did he get?", "I cannot answer this.", "How old did he get? William Conqueror"),
        ("How old did he get?", "How old is the Eiffel Tower in Paris?", "How old did he get? William Conqueror"),
        ("How old did he get?", "How old did he get?", "How old did he get? William Conqueror"),
        ("How old did he get?", "", "How old did he get? William Conqueror"),
        ("Why?", "Why?", "Why? William Conqueror"),
        ("How old was William?", "x" * 500, "How old was William?"),
        ("What about William?", "x" * 500, "What about William? Conqueror"),
    ],
)
def test_what_is_searched_for(question: str, rewritten: str, expected: str | None) -> None:
    assert standalone_question(question, rewritten, HISTORY) == (expected or "How old did William the Conqueror get?")


def test_chinese() -> None:
    history = [Message("user", "机器学习是什么？"), Message("assistant", "人工智能的一个分支。")]
    assert standalone_question("它有什么应用？", "机器学习有什么应用？", history) == "机器学习有什么应用？"
    assert "机器学习" in standalone_question("它有什么应用？", "I do not know", history)


def test_a_question_that_stands_alone_is_left_alone() -> None:
    assert with_key_words("Do bees make honey?", HISTORY) == "Do bees make honey?"
    assert with_key_words("How old did he get?", []) == "How old did he get?"


def test_a_third_question_still_knows_what_the_first_was_about() -> None:
    history = [*HISTORY, Message("user", "How old did he get?"), Message("assistant", "59.")]
    assert with_key_words("Where did he die?", history).startswith("Where did he die?")
    assert "William Conqueror" in with_key_words("Where did he die?", history)
    changed = [*history, Message("user", "Do bees make honey?"), Message("assistant", "Yes.")]
    assert with_key_words("Where do they live?", changed) == "Where do they live? bees make honey"


@pytest.mark.parametrize(
    "question", ["它有多大？", "还有呢？", "为什么？", "And then?", "Why?", "What about Rouen?", " "]
)
def test_questions_that_lean_on_what_was_said(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize("question", ["机器学习是什么？", "Who was William?", "How long may a line be?"])
def test_questions_that_do_not(question: str) -> None:
    assert not leans(question)


def test_the_prompt_is_short_and_holds_the_last_turns() -> None:
    long = [Message("system", "Be kind."), *(Message("user", f"turn {n} " + "word " * 1000) for n in range(20))]
    system, asked = rewriting_messages("And then?", long)
    assert system.role == "system"
    assert "turn 19" in asked.content
    assert "turn 13" not in asked.content
    assert "Be kind" not in asked.content
    assert "And then?" in asked.content
    assert len(asked.content) < 5000


@given(question=st.text(min_size=1), rewritten=st.text(), said=st.text())
def test_something_is_always_searched_for(question: str, rewritten: str, said: str) -> None:
    found = standalone_question(question, rewritten, [Message("user", said)])
    assert found.startswith(question) or found in rewritten
