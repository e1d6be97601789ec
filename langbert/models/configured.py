"""Objects that travel to other processes by how they were made: no weights in a pickle, no locks and no threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class Configured:
    """Pickled and copied as the arguments it was called with; where it arrives, it is made again from them."""

    _arguments: tuple[tuple[Any, ...], Mapping[str, Any]]

    def __new__(cls, *positional: Any, **named: Any) -> Self:
        made = super().__new__(cls)
        made._arguments = positional, named
        return made

    def __reduce__(self) -> tuple[Callable[..., Configured], tuple[Any, ...]]:
        return _made, (type(self), *self._arguments)


def _made(kind: type[Configured], positional: tuple[Any, ...], named: Mapping[str, Any]) -> Configured:
    return kind(*positional, **named)
