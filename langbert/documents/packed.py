"""Archives (zip, tar, and files packed with gzip, bzip2 or xz): each file in them that can be read is a section.

Opened with limits; what cannot be read is told in a remark.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from ..errors import DocumentError
from .archive import member, open_archive
from .extract import Extract, TextBuilder, one_line
from .limits import spend
from .remarks import file_name, remark

_MOST_FILES = 2_000
_MOST_BYTES = 1 << 28  # unpacked, of a tar or a packed file
_MOST_CHARACTERS = 50_000_000
_SKIPPED = ("__MACOSX/", ".git/")


def read(data: bytes) -> Extract:
    builder = TextBuilder()
    unread: list[str] = []
    for number, (name, content) in enumerate(_files(data)):
        if number >= _MOST_FILES or len(builder) > _MOST_CHARACTERS:
            remark(f"only the first {number:,} files in it read")
            break
        _write(name, content, builder, unread)
    if unread:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        remark(f"{len(unread)} files in it not read: {'; '.join(unread[:3])}{more}")
    return builder.build()


def _write(name: str, content: bytes, builder: TextBuilder, unread: list[str]) -> None:
    from .reader import parse_as

    try:
        extract = parse_as(content, name)
    except DocumentError as error:
        unread.append(f"{name} ({str(error)[:100]})")
        return
    builder.heading(name, 2)
    start = builder.block(extract.text)
    for heading in extract.headings:
        builder.headings.append(replace(heading, start=start + heading.start, level=min(heading.level + 2, 6)))


def _files(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of the files in it, hidden ones left out."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        archive = open_archive(data)
        names = [(info.filename, info) for info in archive.infolist() if not info.is_dir()]
        yield from ((_shown(name), member(archive, info.filename)) for name, info in names if _is_meant(name))
        return
    unpacked, inner = _unpacked(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
            for info in tar:
                if info.isreg() and _is_meant(info.name) and (file := tar.extractfile(info)) is not None:
                    spend(info.size)  # of a sparse one, more than there is in the archive
                    yield _shown(info.name), file.read()
            return
    except tarfile.ReadError as error:
        if not inner:
            raise DocumentError(f"it is broken or no archive ({error}); pack it again") from error
    yield inner, unpacked


def _unpacked(data: bytes) -> tuple[bytes, str]:
    """Without gzip, bzip2 or xz, and what a single file in it is called."""
    openers: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opener = next((opener for magic, opener in openers.items() if data.startswith(magic)), None)
    if opener is None:
        return data, ""
    try:
        with opener(io.BytesIO(data)) as file:
            unpacked = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DocumentError(f"the file is broken: it cannot be unpacked ({error}); pack it again") from error
    if len(unpacked) > _MOST_BYTES:
        raise DocumentError(f"it unpacks from {len(data):,} to over {_MOST_BYTES:,} bytes, like a bomb")
    spend(len(unpacked))
    return unpacked, PurePosixPath(file_name()).stem or "content.txt"


def _is_meant(name: str) -> bool:
    path = PurePosixPath(name)
    return not name.startswith(_SKIPPED) and not any(part.startswith(".") for part in path.parts)


def _shown(name: str) -> str:
    return one_line(name.replace("\\", "/"))
