"""Zip-based formats (docx, odt, pptx, epub): opened with limits, and their XML parsed without entities."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from .limits import spend

if TYPE_CHECKING:
    from lxml.etree import _Element

_MAX_MEMBERS = 50_000


def open_archive(data: bytes) -> zipfile.ZipFile:
    """The archive; what is unpacked of it counts (:mod:`.limits`) by the size it declares: ``zipfile`` unpacks no more.

    Raises:
        DocumentError: broken, encrypted, or of too many parts.
    """
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise DocumentError(
            "it is encrypted or in an old binary Office format; save it without password in the new one"
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DocumentError(
            "the file is broken: its zip container cannot be opened; save or download it again"
        ) from error
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise DocumentError(f"it has {len(members):,} parts, over the limit of {_MAX_MEMBERS:,}, like a zip bomb")
    if any(info.flag_bits & 1 for info in members):
        raise DocumentError("it is encrypted; save it without a password")
    return archive


def has(archive: zipfile.ZipFile, name: str) -> bool:
    """Whether there is such a part."""
    try:
        archive.getinfo(name)
    except KeyError:
        return False
    return True


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One part of the archive.

    Raises:
        DocumentError: the part is missing, its checksum is wrong, or it is too large.
    """
    try:
        spend(archive.getinfo(name).file_size)
        return archive.read(name)
    except KeyError:
        raise DocumentError(f"the file is broken: its part {name!r} is missing; save it again") from None
    except DocumentError:
        raise
    except Exception as error:  # of zipfile, zlib, lzma, bz2, struct: whatever the damaged bytes lead to
        raise DocumentError(f"the file is broken: its part {name!r} cannot be unpacked ({error})") from error


def spend_on_all(archive: zipfile.ZipFile) -> None:
    """Count every part, for a library that unpacks them itself.

    Raises:
        DocumentError: together they are too large.
    """
    spend(sum(info.file_size for info in archive.infolist()))


def outside(box: str, element: _Element, *tags: str) -> Iterator[_Element]:
    """What of these tags is in ``element``, but not in a ``box`` within it."""
    around = next(element.iterancestors(box), None)
    return (found for found in element.iter(*tags) if next(found.iterancestors(box), None) is around)


def parse_xml(data: bytes) -> _Element:
    """The root element; external entities are not resolved, nothing is fetched.

    Raises:
        DocumentError: not well-formed, or nested more than 256 deep.
    """
    from lxml import etree

    parser: Any = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if "depth" in str(error):
            raise DocumentError("its XML nests more than 256 elements deep; nothing that people write does") from error
        if "Resource limit" in str(error):
            raise DocumentError("a paragraph in it has more than 10,000,000 characters; split it") from error
        raise DocumentError(f"the file is broken: its XML cannot be parsed ({error})") from error
