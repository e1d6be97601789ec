"""EPUB (2 and 3): the chapters in reading order, each read as HTML."""

from __future__ import annotations

import posixpath
from functools import partial
from urllib.parse import unquote

from ..errors import DocumentError
from . import html
from .archive import member, open_archive, parse_xml
from .extract import Extract, TextBuilder
from .properties import office_properties

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"


def read(data: bytes) -> Extract:
    archive = open_archive(data)
    names = set(archive.namelist())
    if "META-INF/container.xml" not in names:
        raise DocumentError("it is a zip archive, but no EPUB; give it the suffix of its real format")
    if "META-INF/rights.xml" in names or "META-INF/sinf.xml" in names:
        raise DocumentError("it is protected by DRM and cannot be read")
    rootfile = parse_xml(member(archive, "META-INF/container.xml")).find(f".//{_CONTAINER}rootfile")
    path = "" if rootfile is None else rootfile.get("full-path") or ""
    package = parse_xml(member(archive, path))
    folder = posixpath.dirname(path)
    items = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
        for item in package.iter(f"{_OPF}item")
        if "html" in (item.get("media-type") or "") and "nav" not in (item.get("properties") or "").split()
    }
    builder = TextBuilder()
    spine = dict.fromkeys(items.get(reference.get("idref")) for reference in package.iter(f"{_OPF}itemref"))
    for name in spine:  # each chapter once (EPUB 3.3, 5.7.2)
        if name in names and (chapter := member(archive, name or "")).strip():
            html.write(html.parse(chapter), builder, partial(_part, names, posixpath.dirname(name or "")))
    return builder.build(package.findtext(f".//{_DC}title") or "", office_properties(package))


def _part(names: set[str], folder: str, src: str) -> str:
    """The part of the book that is meant by a link in a chapter of that folder; empty if there is none."""
    name = posixpath.normpath(posixpath.join(folder, unquote(src.partition("#")[0])))
    return name if name in names else ""
