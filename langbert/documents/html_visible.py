"""What of a web page a reader can see or open: an answer that is folded, a tab, a panel; the rest is hidden."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

BLOCKS = {
    "address", "article", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "li", "main", "nav", "ol", "p", "pre",
    "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "aside", "menu",
}  # fmt: skip
HEADINGS = {f"h{level}": level for level in range(1, 7)}
COOKIES = re.compile(
    r"(?:cookie|consent|gdpr)[-_]?(?:banner|bar|notice|popup|dialog|modal|consent|message|overlay)", re.I
)
_OPENED = re.compile(r"accordion|collaps|answer|faq|panel|(?:^|[ _-])tab|expand|toggle|detail|spoiler", re.I)
_NEVER_OPENED = re.compile(r"modal|popup|popover|menu|nav|lightbox|template|mobile|tooltip|loading|spinner|toast", re.I)
_OPENERS = ("aria-controls", "aria-expanded", "data-toggle", "data-target", "data-bs-toggle", "data-bs-target")
_SUBSTANCE = ("p", "li", "table", "pre", "dl", "blockquote")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)


def is_hidden(element: _Element) -> bool:
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    return _HIDDEN.search(element.get("style") or "") is not None


def can_be_opened(element: _Element, tag: str) -> bool:
    """Whether a hidden part is the closed half of something: an answer, a tab, a panel."""
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    if tag not in BLOCKS or element.get("role") == "dialog" or _NEVER_OPENED.search(names) or COOKIES.search(names):
        return False
    if element.get("role") == "tabpanel" or element.get("hidden") == "until-found" or _OPENED.search(names):
        return True
    before = element.getprevious()
    if before is not None and (before.tag in (*HEADINGS, "dt", "summary", "button") or is_opener(before)):
        return True
    if element.get("hidden") is None and not _HIDDEN.search(element.get("style") or ""):
        return True  # hidden from screen readers only
    return has_substance(element)


def has_substance(element: _Element) -> bool:
    return any(element.find(f".//{name}") is not None for name in _SUBSTANCE)


def is_opener(element: _Element) -> bool:
    """Whether a button (or its like) says what it opens, rather than what it does."""
    if element.get("role") == "tab" or any(element.get(name) is not None for name in _OPENERS):
        return True
    return element.tag == "button" and (in_heading(element) or "".join(element.itertext()).strip()[-1:] in ("?", "？"))


def in_heading(element: _Element) -> bool:
    return next(element.iterancestors(*HEADINGS, "dt", "summary", "legend"), None) is not None
