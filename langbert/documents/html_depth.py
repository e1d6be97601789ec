"""Mark-up without end, made less: libxml2 stops at 2,048 elements within each other, and would lose the words there; of
the attributes of one element it compares each with each.
"""

from __future__ import annotations

import re

_DEEPEST = 200
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][^\s/<>]*)(?:[\s/][^<>]*)?>")
_LONG_TAG = re.compile(r"<([A-Za-z][^\s/<>]*)([^<>]{4000,})>")
_MOST_ATTRIBUTES = 1_000
_VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
}  # fmt: skip
_INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "kbd", "mark", "q", "s", "samp", "small",
    "span", "strong", "sub", "sup", "tt", "u", "var",
}  # fmt: skip
_CLOSED_BY_ITSELF = {"p", "li", "dt", "dd", "td", "th", "tr", "option"}  # where the next of its kind begins


def flattened(text: str) -> str:
    """HTML with the tags left out that would nest deeper than 200; a block's become line breaks.

    >>> flattened("<b>" * 1000 + "deep" + "</b>" * 1000) == "<b>" * 200 + "deep" + "</b>" * 200
    True
    """
    open_tags: list[str] = []
    left_out: dict[str, int] = {}

    def kept(tag: re.Match[str]) -> str:
        name = tag["name"].lower()
        instead = "" if name in _INLINE else "<br>"
        if name in _VOID:
            return tag[0]
        if not tag["close"]:
            if open_tags and open_tags[-1] == name and name in _CLOSED_BY_ITSELF:
                open_tags.pop()
            if len(open_tags) == _DEEPEST:
                left_out[name] = left_out.get(name, 0) + 1
                return instead
            open_tags.append(name)
        elif left_out.get(name):
            left_out[name] -= 1
            return instead
        elif name in open_tags:
            while open_tags.pop() != name:
                pass
        return tag[0]

    return _TAG.sub(kept, text)


def with_few_attributes(text: str) -> str:
    """HTML whose tags of more than a thousand attributes have none.

    >>> with_few_attributes("<p" + " a=1" * 5000 + ">words")
    '<p>words'
    """
    return _LONG_TAG.sub(lambda tag: f"<{tag[1]}>" if len(tag[2].split()) > _MOST_ATTRIBUTES else tag[0], text)
