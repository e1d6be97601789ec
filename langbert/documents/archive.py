"""Zip-based formats (docx, odt, pptx, epub): opened with limits, and their XML parsed without entities."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["member", "open_archive", "parse_xml"]

_MAX_UNPACKED = 1 << 30
_MAX_RATIO = 200
_SMALL = 32 << 20
_MAX_MEMBERS = 50_000


def open_archive(data: bytes) -> zipfile.ZipFile:
    """The archive, after a look at the sizes it declares (``zipfile`` never unpacks more than those).

    Raises:
        DocumentError: broken, encrypted, or a zip bomb.
    """
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise DocumentError(
            "it is encrypted or in an old binary Office format; save it without password in the new one"
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError) as error:
        raise DocumentError(
            "the file is broken: its zip container cannot be opened; save or download it again"
        ) from error
    members = archive.infolist()
    unpacked = sum(info.file_size for info in members)
    if (
        unpacked > _MAX_UNPACKED
        or len(members) > _MAX_MEMBERS
        or (unpacked > _SMALL and unpacked > _MAX_RATIO * len(data))
    ):
        raise DocumentError(
            f"it unpacks from {len(data):,} to {unpacked:,} bytes in {len(members):,} parts, like a zip bomb"
        )
    if any(info.flag_bits & 1 for info in members):
        raise DocumentError("it is encrypted; save it without a password")
    return archive


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One part of the archive.

    Raises:
        DocumentError: the part is missing or its checksum is wrong.
    """
    try:
        return archive.read(name)
    except KeyError:
        raise DocumentError(f"the file is broken: its part {name!r} is missing; save it again") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DocumentError(f"the file is broken: its part {name!r} cannot be unpacked ({error})") from error
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "_lzma"):
            raise DocumentError(f"the file is broken: its part {name!r} cannot be unpacked ({error})") from error
        raise


def parse_xml(data: bytes) -> _Element:
    """The root element; external entities are not resolved, nothing is fetched.

    Raises:
        DocumentError: not well-formed.
    """
    from lxml import etree

    parser: Any = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"the file is broken: its XML cannot be parsed ({error})") from error
