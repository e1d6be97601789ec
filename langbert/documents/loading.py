"""A file's bytes, and what tells whether they are still the same: one read serves the digest and the parser."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from ..errors import DocumentError


class Stamp(NamedTuple):
    """What the file system says of a file: its bytes, and when they and anything about it changed last, in ns."""

    size: int
    modified: int
    changed: int


class Loaded(NamedTuple):
    """The bytes, their SHA-256 as hex, and the stamp from before they were read: it tells of a change meanwhile."""

    data: bytes
    digest: str
    stamp: Stamp


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no such file, or nobody may ask."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def load(file: Path, max_bytes: int) -> Loaded:
    """Read a file whole.

    Raises:
        DocumentError: it is missing, may not be read, is no regular file, or larger than ``max_bytes``.
    """
    try:
        stat = file.stat()
        if S_ISDIR(stat.st_mode):
            raise DocumentError("it is a folder; use read_documents to read the files in it")
        if not S_ISREG(stat.st_mode):  # a pipe or a device would be read for ever
            raise DocumentError("it is not a regular file")
        if stat.st_size > max_bytes:
            raise DocumentError(
                f"it has {stat.st_size:,} bytes, over the limit of {max_bytes:,}; split it, or raise max_bytes"
            )
        data = file.read_bytes()
    except FileNotFoundError:
        raise DocumentError("there is no such file; check the spelling") from None
    except PermissionError as error:
        raise DocumentError("no permission to read it; change its permissions (chmod u+r)") from error
    except OSError as error:
        raise DocumentError(f"it cannot be read ({error.strerror or error})") from error
    return Loaded(data, hashlib.sha256(data).hexdigest(), _stamp(stat))


def _stamp(stat: os.stat_result) -> Stamp:
    return Stamp(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
