"""The models on the way to an answer: the user's own, or the shipped ones where those know the question's language."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from ..errors import ModelNotFound
from ..text.scripts import is_latin

__all__ = ["Part"]

log = logging.getLogger("langbert")

T = TypeVar("T")


class Part(Generic[T]):
    """A model, loaded when it is first needed.

    There is none for a question in another script where the shipped one knows English only; nor where a shipped model's
    base is not here and may not be fetched, which the log says once.

    Args:
        name: what it is called in the log.
        given: the user's own; None is the shipped one, False is none.
        load: makes the shipped one.
        multilingual: whether the shipped one knows other languages than English.
    """

    def __init__(
        self, name: str, given: T | Literal[False] | None, load: Callable[[], T], *, multilingual: bool = False
    ) -> None:
        self._name = name
        self._part = given
        self._load = load
        self._multilingual = multilingual

    def knowing(self, question: str) -> T | None:
        """The one that knows this question's language."""
        if self._part is None:
            if not self._multilingual and not is_latin(question):
                return None
            try:
                self._part = self._load()
            except ModelNotFound as error:
                log.warning("answering without a %s: %s", self._name, error)
                self._part = False
        return None if self._part is False else self._part
