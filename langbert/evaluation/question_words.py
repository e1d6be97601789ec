"""What a question asks for, by the word it asks with."""

from __future__ import annotations

import re

# The first that is found counts; "what time" and "how many" come before "what" and "how".
_WORDS: dict[str, str] = {
    "how many": r"\bhow (?:many|much)\b",
    "how": r"\bhow\b",
    "who": r"\bwho(?:m|se)?\b",
    "when": r"\bwhen\b|\b(?:what|which) (?:year|century|date|day|decade|time)\b",
    "where": r"\bwhere\b",
    "why": r"\bwhy\b",
    "which": r"\bwhich\b",
    "what": r"\bwhat\b",
    "多少": r"多少|多大|多长|多高|多久|几[^乎何]",
    "何时": r"何时|什么时候|哪一?年|几时|何年|哪天",
    "哪里": r"哪里|哪儿|何处|何地|在哪|什么地方",
    "谁": r"谁|何人|哪位",
    "为什么": r"为什么|为何|为啥|原因",
    "如何": r"如何|怎么|怎样",
    "哪": r"哪",
    "什么": r"什么|何",
}
_PATTERNS = {word: re.compile(pattern, re.IGNORECASE) for word, pattern in _WORDS.items()}
OTHER = "other"


def question_word(question: str) -> str:
    """``"what"``, ``"how many"``, ``"谁"`` …: the earliest in the question; ``"other"`` without any."""
    found = {word: match.start() for word, pattern in _PATTERNS.items() if (match := pattern.search(question))}
    return min(found, key=lambda word: (found[word], list(_WORDS).index(word)), default=OTHER)
