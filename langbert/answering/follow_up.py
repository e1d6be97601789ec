"""A follow-up question → a question that stands on its own, for a search that knows nothing of the conversation.

A question that leans on what was said ("How old is he?", "And in winter?") is searched for together with the key words
of the user's turn before it: no model, no time. Of 150 follow-ups made of SQuAD questions that finds the passage among
the first five for 99.3 %; as asked 85.3 % are found, with the names written out 100 % (``benchmarks/followups.py``).
A chat model can rewrite the question instead. Small ones often answer, drift off or invent, so what comes back is only
believed if it keeps the follow-up's own words and is made of the conversation's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..records import Message
from ..text.terms import terms

__all__ = ["leans", "rewriting_messages", "standalone_question", "with_key_words"]

_TURNS = 6
_TURN_LENGTH = 600  # characters; enough to know what was talked about, little to read
_LONGEST = 400
_KEPT = 0.5  # share of the follow-up's terms that a rewritten question must have
_KNOWN = 0.7  # share of its own terms that must come from the conversation
_KEY_WORDS = 8

_SYSTEM = (
    "Rewrite the user's last question so that it can be understood without the conversation: put names in the place "
    "of words like it, he, they or that. Keep its language and its words. Do not answer it. "
    "Reply with the rewritten question alone, on one line."
)
_LABEL = re.compile(r"^\s*(?:(?:standalone|rewritten|the)\s+)*question\s*:\s*", re.IGNORECASE)
_PRONOUN = re.compile(
    r"\b(?:it|its|he|him|his|she|hers?|they|them|theirs?|this|that|these|those)\b|[它他她这這那其该該]"
    r"|^\W*(?:and|or|but|what about|how about|also)\b|^\W*(?:还有|還有|另外)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w[\w.+#'-]*")


def rewriting_messages(question: str, history: Sequence[Message]) -> list[Message]:
    """The conversation that asks a chat model for a standalone form of ``question``."""
    names = {"user": "User", "assistant": "Assistant"}
    turns = [f"{names[turn.role]}: {turn.content[:_TURN_LENGTH]}" for turn in history if turn.role in names][-_TURNS:]
    said = "\n".join(turns)
    return [
        Message("system", _SYSTEM),
        Message("user", f"Conversation:\n{said}\n\nLast question: {question}\n\nRewritten question:"),
    ]


def standalone_question(question: str, rewritten: str, history: Sequence[Message]) -> str:
    """``rewritten`` where it can be believed, else :func:`with_key_words`.

    Believed is one line of at most 400 characters that holds at least half of the follow-up's terms and seven tenths
    of whose own terms come from the conversation. A follow-up that leans on the conversation
    must have gained a term, too.
    """
    line = next((line for line in rewritten.splitlines() if line.strip()), "")
    line = _LABEL.sub("", line).strip().strip("\"'“”「」").strip()
    # All texts together: alone, one of nothing but stop words would have those for terms.
    content = set(terms("\n".join([question, line, *(turn.content for turn in history)])))
    asked, got = set(terms(question)) & content, set(terms(line)) & content
    said = {term for turn in history for term in terms(turn.content)}
    believed = (
        len(line) <= _LONGEST
        and len(asked & got) >= _KEPT * len(asked)
        and len(got & (asked | said)) >= _KNOWN * len(got) > 0
        and (not leans(question) or bool(got - asked))
    )
    return line if believed else with_key_words(question, history)


def leans(question: str) -> bool:
    """Whether it can only be understood out of what was said before: by a pronoun, its first word, or saying nothing.

    >>> [leans(question) for question in ("How old is he?", "And in France?", "Why?", "How old is PEP 8?")]
    [True, True, True, False]
    """
    # Beside another text: alone, one of nothing but stop words would have those for terms.
    says_nothing = set(terms(question)).isdisjoint(terms(f"{question}\n{_SYSTEM}"))
    return says_nothing or _PRONOUN.search(question) is not None


def with_key_words(question: str, history: Sequence[Message]) -> str:
    """``question``, if it leans on the conversation with what the user's turn before it was about.

    That turn may have leant on the one before it, and so on, six turns back at most.
    """
    turns = [turn.content for turn in history if turn.role == "user" and turn.content.strip()][-_TURNS:]
    about = ""
    for asked in [*turns, question]:
        about = " ".join([asked, *_key_words(asked, about)]) if about and leans(asked) else asked
    return about


def _key_words(question: str, before: str) -> list[str]:
    """What ``before`` was about, in its own words and order, without what ``question`` says already."""
    wanted = set(terms(before)) - set(terms(question))
    words: list[str] = []
    for word in _WORD.findall(before):
        new = wanted & set(terms(word))
        if new:
            words.append(word.rstrip(".'-"))
            wanted -= new
    return words[:_KEY_WORDS]
