"""A question as it was typed → one that can be asked."""

from __future__ import annotations

from ..errors import QuestionError
from .unicode import well_formed


def checked_question(question: object) -> str:
    """The question without surrounding blanks, nor halves of characters.

    Raises:
        QuestionError: it is not text, or there is nothing in it.
    """
    if not isinstance(question, str):
        raise QuestionError(f"a question must be a str, got {type(question).__name__}")
    stripped = well_formed(question).strip()
    if not stripped:
        raise QuestionError(f"the question is empty (got {question!r}): type a few words of what you want to know")
    return stripped
