"""How much one file may become: what its archives unpack to and the text made of it, in all, however it nests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..errors import DocumentError

MAX_UNFOLDED = 1 << 30
"""Bytes that a file may unfold to, unless the caller says otherwise."""

_RATIO = 200  # times its size; office files unfold to 5 to 50 times theirs
_SMALL = 32 << 20  # bytes; that much any file may unfold to


@dataclass(slots=True)
class _Budget:
    size: int
    limit: int
    spent: int = 0


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)
_tell: ContextVar[Callable[[], None] | None] = ContextVar("tell", default=None)


@contextmanager
def unfolding(size: int, limit: int | None = None) -> Iterator[None]:
    """While a file of ``size`` bytes is read; what lies in it (a mail's attachment) counts for the file.

    Args:
        limit: bytes that it may unfold to; by default 1 GiB, but no more than 200 times its size (and 32 MiB).
    """
    if _budget.get() is not None:
        yield
        return
    most = min(MAX_UNFOLDED, max(_SMALL, _RATIO * size)) if limit is None else limit
    token = _budget.set(_Budget(size, most))
    try:
        yield
    finally:
        _budget.reset(token)


def spend(amount: int) -> None:
    """Count bytes that are about to be unpacked, or characters of text.

    Raises:
        DocumentError: with these, the file unfolds to more than it may.
    """
    budget = _budget.get()
    if budget is None:
        return
    if budget.spent + amount > budget.limit:  # not counted: what else is in the file may still fit
        raise DocumentError(
            f"its {budget.size:,} bytes unfold to more than {budget.limit:,}, like a zip bomb; "
            "if you trust it, raise max_unfolded"
        )
    budget.spent += amount


@contextmanager
def timed_by(tell: Callable[[], None]) -> Iterator[None]:
    """While a file is read whose reader is ended when it is silent for too long."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def at_work() -> None:
    """Say that a long piece of work, such as a page, is done: what a file may take is counted anew from here."""
    if tell := _tell.get():
        tell()
