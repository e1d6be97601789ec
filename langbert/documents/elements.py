"""XML of any vocabulary: its text by element, without knowing what the elements mean.

A text with mark-up in its sentences (DocBook, JATS, TEI, DITA) is read as paragraphs under their titles. Data are read
as records: an element that holds plain ones is a line that says what each of them is, ``book | id: 12 | title: …``.
Entities of the file's own are left as they stand, and nothing is fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..text.scripts import one_line
from .archive import parse_xml
from .encoding import XML_DECLARATION, decode
from .extract import Extract, TextBuilder

if TYPE_CHECKING:
    from lxml.etree import _Element

_ENCODING = re.compile(rb"""^\s*<\?xml[^<>]{0,200}?encoding\s*=\s*["']([\w.:-]+)""")
_TITLES = {"title", "head", "heading", "titel", "caption", "标题"}
_DRAWN = {"script", "style", "path", "binary"}
_ABOUT_MARKUP = {"class", "style", "schemalocation", "nonamespaceschemalocation", "space"}
_LINE = 800  # characters: a longer record has a line for each field
_DEEPEST_HEADING = 6


def read(data: bytes) -> Extract:
    named = _ENCODING.search(data[:400])
    text = XML_DECLARATION.sub("", decode(data, named[1].decode("ascii") if named else None), count=1).lstrip()
    root = parse_xml(text.encode("utf-8", "replace"))
    if _name(root) == "html":
        from .html import read as read_html

        return read_html(text.encode(), "utf-8")
    builder = TextBuilder()
    if any(_is_mixed(element) for element in root.iter()):
        _write_prose(root, builder, 1)
    else:
        _write_data(root, builder)
    return builder.build()


def _name(element: _Element) -> str:
    """Of its tag, without the namespace; empty for comments and instructions."""
    tag: Any = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _is_mixed(element: _Element) -> bool:
    """Whether words stand beside elements in it, as in a sentence with mark-up."""
    children = [child for child in element if _name(child)]
    if not children or not _name(element):
        return False
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in children)


def _words(element: _Element) -> str:
    """All that an element says, in one line."""
    return one_line("".join(_pieces(element)))


def _pieces(element: _Element) -> list[str]:
    pieces = [element.text or ""] if _name(element) or not isinstance(element.tag, str) else []
    if not _name(element):  # a comment, an instruction; of an entity, what stands for it
        return [element.text or ""] if (element.text or "").startswith("&") else []
    if _name(element).lower() in _DRAWN:
        return []
    for child in element:
        pieces += _pieces(child)
        pieces.append(child.tail or "")
    return pieces


def _write_prose(element: _Element, builder: TextBuilder, level: int) -> None:
    """Blocks of text; a title is a heading, as deep as the section it names."""
    children = [child for child in element if _name(child)]
    if _name(element).lower() in _DRAWN:
        return
    if not children or _is_mixed(element):
        if _name(element).lower() in _TITLES:
            builder.heading(_words(element), min(level, _DEEPEST_HEADING))
        else:
            builder.block(_words(element))
        return
    deeper = level + any(_name(child).lower() in _TITLES for child in children)
    for child in children:
        _write_prose(child, builder, level if _name(child).lower() in _TITLES else deeper)


def _write_data(element: _Element, builder: TextBuilder) -> None:
    """A line for each record; what holds records says only what it says itself."""
    children = [child for child in element if _name(child) and _name(child).lower() not in _DRAWN]
    plain = [child for child in children if _is_plain(child)]
    own = one_line(element.text or "")
    said = [
        f"{name}: {value}" for name, value in [*_attributes(element), *((_name(c), _said(c)) for c in plain)] if value
    ]
    if said or own:
        head = f"{_name(element)}: {own}" if own else _name(element)
        line = " | ".join([head, *said])
        builder.block(line if len(line) <= _LINE else "\n".join([head, *said]))
    for child in children:
        if not _is_plain(child):
            _write_data(child, builder)


def _is_plain(element: _Element) -> bool:
    """Whether it is a field of a record: words, or a list of them."""
    inner = [child for child in element if _name(child)]
    kinds = {_name(child) for child in inner}
    return not inner or (
        len(inner) > len(kinds) == 1 and not element.attrib and not any(len(c) or c.attrib for c in inner)
    )


def _said(element: _Element) -> str:
    """Of a field: its words, and what its attributes say."""
    text = ", ".join(_words(child) for child in element if _name(child)) or _words(element)
    if "</" in text:  # HTML as text, as feeds have it
        from .html import read as read_html

        text = one_line(read_html(text.encode(), "utf-8").text)
    about = ", ".join(f"{name} {value}" for name, value in _attributes(element))
    return f"{text} ({about})" if text and about else text or about


def _attributes(element: _Element) -> list[tuple[str, str]]:
    named = [(name.rpartition("}")[2], value) for name, value in element.attrib.items()]
    return [(name, value) for name, value in named if name.lower() not in _ABOUT_MARKUP]
