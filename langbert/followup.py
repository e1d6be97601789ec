"""A follow-up question → a question that stands on its own, for a search that knows nothing of the conversation.

A chat model rewrites it. Small ones often answer instead, drift off or invent, so what comes back is only believed if
it keeps the follow-up's own words and is made of the conversation's; otherwise the follow-up is searched for
together with the key words of the user's turn before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .records import Message
from .store.analysis import terms

__all__ = ["rewriting_messages", "standalone_question"]

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
    r"\b(?:it|its|he|him|his|she|hers?|they|them|theirs?|this|that|these|those|there|one)\b|[它他她这這那其该該]",
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
    """``rewritten`` where it can be believed, else ``question`` with the key words of the user's turn before it.

    Believed is one line of at most 400 characters that holds at least half of the follow-up's terms and seven tenths
    of whose own terms come from the conversation. A follow-up with nothing of its own ("Why?") or with a pronoun in it
    ("How old is he?") must have gained a term, too.
    """
    line = next((line for line in rewritten.splitlines() if line.strip()), "")
    line = _LABEL.sub("", line).strip().strip("\"'“”「」").strip()
    # All texts together: alone, one of nothing but stop words would have those for terms.
    content = set(terms("\n".join([question, line, *(turn.content for turn in history)])))
    asked, got = set(terms(question)) & content, set(terms(line)) & content
    said = {term for turn in history for term in terms(turn.content)}
    leans = not asked or _PRONOUN.search(question) is not None
    believed = (
        len(line) <= _LONGEST
        and len(asked & got) >= _KEPT * len(asked)
        and len(got & (asked | said)) >= _KNOWN * len(got) > 0
        and (not leans or bool(got - asked))
    )
    return line if believed else " ".join([question, *_key_words(question, history)])


def _key_words(question: str, history: Sequence[Message]) -> list[str]:
    """What the user's last turn was about, in its own words and order, without what ``question`` says already."""
    before = next((turn.content for turn in reversed(history) if turn.role == "user"), "")
    wanted = set(terms(before)) - set(terms(question))
    words: list[str] = []
    for word in _WORD.findall(before):
        new = wanted & set(terms(word))
        if new:
            words.append(word.rstrip(".'-"))
            wanted -= new
    return words[:_KEY_WORDS]
