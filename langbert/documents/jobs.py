"""What a process of :class:`.workers.Workers` is asked about a file, which may spoil it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import DocumentError
from .formats import MAX_BYTES
from .loading import Stamp, load

if TYPE_CHECKING:
    from typing_extensions import Self


class Reply(Protocol):
    """What came of a job: it travels as JSON, and can say why nothing did."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, record: Mapping[str, Any], /) -> Self: ...

    @classmethod
    def failed(cls, reason: str, stamp: Stamp | None = None, /) -> Self:
        """Nothing came of it; ``stamp`` is the file's, from before."""
        ...


R = TypeVar("R", bound=Reply)
R_co = TypeVar("R_co", bound=Reply, covariant=True)


class Job(Protocol[R_co]):
    """Something to do with the file at ``path``: made of what :meth:`to_json` says, in another process too."""

    @property
    def path(self) -> str: ...

    @property
    def reply(self) -> type[R_co]: ...

    def to_json(self) -> dict[str, Any]: ...

    def done(self) -> R_co:
        """What comes of it, right here."""
        ...


def on_bytes(job: Job[R], digest: str, work: Callable[[bytes], R], *, changed: str, doing: str) -> R:
    """What ``work`` makes of the very bytes that are meant, or why there is nothing.

    Args:
        digest: their SHA-256, as hex.
        changed: the reason where the file has others.
        doing: what takes too much memory, if it does.
    """
    try:
        loaded = load(Path(job.path), MAX_BYTES)
        if loaded.digest != digest:
            raise DocumentError(changed)
        return work(loaded.data)
    except (DocumentError, ImportError) as error:
        return job.reply.failed(str(error))
    except MemoryError:
        return job.reply.failed(f"{doing} takes more memory than there is for it")
