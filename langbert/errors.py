"""Everything langbert raises on purpose.

::

    LangbertError
    ├── ModelError            a model cannot be found, fetched, checked or loaded
    │   ├── ModelNotFound       no such name, folder or file
    │   ├── DownloadError       the network, the mirror or the hub said no
    │   ├── ChecksumError       the bytes are not the pinned ones
    │   └── CheckpointError     a tensor is missing, unexpected or of the wrong shape; a config is unreadable
    ├── DocumentError         a file cannot become a Document
    ├── TextTooLong           a text is over the encoder's limit and on_overflow="error"
    ├── StoreError            a store cannot be opened, read or written
    │   ├── StoreMismatch       the store was made in another embedding space
    │   ├── StoreLocked         another process is writing
    │   ├── StoreCorrupt        the bytes on disk contradict themselves
    │   └── UnsafePickle        another tool's pickle names something it must not
    ├── FilterError           a ``where`` cannot be understood
    ├── QuestionError         a question is empty or not text
    ├── GenerationError       the decoder could not go on
    ├── DataError             a data set is not in the format it should be
    └── MissingExtra          an optional dependency is not installed (also an ImportError)

A message says what came, what was expected and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import Answer

__all__ = [
    "CheckpointError",
    "ChecksumError",
    "DataError",
    "DocumentError",
    "DownloadError",
    "FilterError",
    "GenerationError",
    "LangbertError",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
    "QuestionError",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "StoreMismatch",
    "TextTooLong",
    "UnsafePickle",
    "require_choice",
]


class LangbertError(Exception):
    """The root: catch this to catch everything langbert raises on purpose."""


class ModelError(LangbertError):
    """A model cannot be found, fetched, checked or loaded."""


class ModelNotFound(ModelError):
    """No catalogue name, folder, file or cached model goes by that name."""


class DownloadError(ModelError):
    """The network, the package mirror or the hub refused or broke off."""


class ChecksumError(ModelError):
    """A fetched file does not have the pinned SHA-256."""


class CheckpointError(ModelError):
    """A checkpoint's tensors or configuration do not fit the network."""


class DocumentError(LangbertError):
    """A file cannot be read as a document."""


class TextTooLong(LangbertError, ValueError):
    """A text has more tokens than the encoder takes and ``on_overflow="error"``."""


class StoreError(LangbertError):
    """A store cannot be opened, read or written."""


class StoreMismatch(StoreError):
    """The store's vectors were made in another embedding space."""


class StoreLocked(StoreError):
    """Another process holds the store's write lock."""


class StoreCorrupt(StoreError):
    """The store's files contradict themselves."""


class UnsafePickle(StoreError):
    """A pickle of another tool names a class or function, or uses an instruction, that it must not."""


class FilterError(LangbertError, ValueError):
    """A ``where`` filter cannot be understood."""


class QuestionError(LangbertError, ValueError):
    """A question is empty or is not text."""


class GenerationError(LangbertError):
    """The decoder could not produce the text it was asked for.

    Attributes:
        answer: where a pipeline's decoder broke off: the checked sentences so far, with their citations; else None.
    """

    def __init__(self, message: str, answer: Answer | None = None) -> None:
        super().__init__(message)
        self.answer = answer


class DataError(LangbertError, ValueError):
    """A data set is not in the format it should be."""


class MissingExtra(LangbertError, ImportError):
    """An optional dependency is not installed; the message carries the pip command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs {package}: pip install "langbert[{extra}]"')


def require_choice(name: str, given: object, choices: Iterable[str]) -> None:
    """Raises ValueError unless the argument ``name`` is one of ``choices``, which the message lists."""
    choices = tuple(choices)
    if given not in choices:
        raise ValueError(f"{name} {given!r} is unknown; expected one of {', '.join(choices)}")


def is_fault(error: BaseException) -> bool:
    """Whether a library failed, be it by a panic."""
    return isinstance(error, Exception) or is_panic(error)


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust panicked: pyo3's ``PanicException`` is no Exception."""
    return type(error).__name__ == "PanicException"
