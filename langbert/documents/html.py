"""HTML: headings, paragraphs, lists, tables by rows and ``pre`` as it is; scripts and page furniture left out.

Read is what a reader of the page can open: the answers of an accordion, every tab, a warning in an ``aside``. Left out
are navigation, banners, cookie notices and what is hidden for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from ..errors import DocumentError
from ..text.numerals import in_form
from ..text.scripts import one_line
from .cell_words import is_quantity
from .encoding import XML_DECLARATION, decode
from .extract import MAX_INDENT, Extract, TextBuilder, whole_number
from .grid import Cell, Grid, nested
from .html_depth import flattened, with_few_attributes
from .html_roles import with_tables
from .html_visible import BLOCKS, COOKIES, HEADINGS, can_be_opened, has_substance, in_heading, is_hidden, is_opener
from .marks import RAISED, STRUCK, as_seen
from .parts import name_in_page
from .properties import properties
from .remarks import remark

if TYPE_CHECKING:
    from lxml.etree import _Element

_META_CHARSET = re.compile(
    rb"""<meta[^<>]+charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^<>]+encoding\s*=\s*["']([\w.:-]+)""", re.I
)

_NEVER = {
    "script", "style", "head", "noscript", "template", "iframe", "object", "canvas", "audio", "video", "select",
    "textarea", "datalist", "annotation", "annotation-xml", "rp", "rt", "rtc",
}  # fmt: skip
_FURNITURE = {"nav", "header", "footer", "menu", "dialog"}
_FURNITURE_ROLES = {"navigation", "contentinfo", "search", "menu", "menubar", "dialog", "alertdialog", "banner"}
_FURNITURE_CLASSES = {"headerlink", "mw-editsection", "navbar", "breadcrumb", "breadcrumbs", "sphinxsidebar"}
_SIDE_CLASSES = {"sidebar", "aside"}  # a note beside the text, or navigation: its links tell
_END_OF_PAGE = re.compile(r"</(?:body|html)\s{0,9}>", re.I)  # libxml2 loses what follows, which browsers show
_MARKS = {"sup": RAISED, "s": STRUCK, "del": STRUCK, "strike": STRUCK}
_LIST_STYLE = re.compile(r"list-style(?:-type)?\s*:\s*([\w-]+)", re.I)
_NUMBER_FORMS = {
    "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman", "lower-alpha": "lowerLetter",
    "lower-latin": "lowerLetter", "upper-alpha": "upperLetter", "upper-latin": "upperLetter",
    "lower-roman": "lowerRoman", "upper-roman": "upperRoman", "cjk-ideographic": "chineseCounting",
    "simp-chinese-informal": "chineseCounting", "trad-chinese-informal": "chineseCounting",
}  # fmt: skip
_CURRENCY_CELL = re.compile(r"(?<![^ ])([$€£¥]) \| ")
_CLOSING_CELL = re.compile(r" \| ([)%]+)(?= \||$)")
_AUTHOR_NAMES = "citation_author author dc.creator dcterms.creator article:author parsely-author byl"
_CREATED_NAMES = (
    "article:published_time citation_publication_date datepublished dc.date dc.date.issued dcterms.created "
    "dcterms.issued pubdate publishdate date dc.date.created"
)
_MODIFIED_NAMES = "article:modified_time og:updated_time datemodified dcterms.modified last-modified revised"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_STRUCK_STYLE = re.compile(r"text-decoration(?:-line)?\s{0,9}:[^;:]{0,99}line-through", re.I)
_BREAK = "\x1e"  # stands for <br> until the white space around it has been collapsed
_ENOUGH = 200  # characters: a <main> with less is not where the text is
_LABEL = 20  # characters: a header or footer with no more is the name of the page
_SMALL_TABLE = 400  # characters: within a cell of another
_ICON = 24  # pixels: a picture that is not as wide or high
_HEAD = 1 << 15  # bytes: a page names its encoding within them
_MOST_LINKS = 20_000  # characters: with more, it is no navigation


def read(data: bytes, declared: str | None = None) -> Extract:
    root = parse(data, declared)
    title = root.findtext(".//title") or ""
    builder = TextBuilder()
    write(root, builder)
    return builder.build(title, _properties(root))


def _properties(root: _Element) -> dict[str, Any]:
    """What the ``meta`` elements say (HTML, Dublin Core, Open Graph, Highwire Press)."""
    said: dict[str, list[str]] = {}
    for element in root.iter("meta"):
        name = element.get("name") or element.get("property") or element.get("itemprop") or element.get("http-equiv")
        if name and (content := (element.get("content") or "").strip()):
            said.setdefault(name.lower(), []).append(content)

    def named(names: str) -> list[str]:
        return next((said[name] for name in names.split() if name in said), [""])

    authors = named(_AUTHOR_NAMES)
    return properties(
        authors=[author for author in authors if "://" not in author],
        created=named(_CREATED_NAMES)[0],
        modified=named(_MODIFIED_NAMES)[0],
        language=root.get("lang") or root.get(_XML_LANG) or named("content-language og:locale dc.language")[0],
    )


def parse(data: bytes, declared: str | None = None) -> _Element:
    """The root element, whatever the mark-up is like."""
    found = _META_CHARSET.search(data, 0, _HEAD)
    named = declared or (next(name for name in found.groups() if name).decode("ascii") if found else None)
    text = XML_DECLARATION.sub("", decode(data, named), count=1).replace("\0", "")
    text = with_few_attributes(_END_OF_PAGE.sub("", text))
    root, whole = _tree(text)
    if not whole:
        remark("its mark-up nests deeper than any page does; what is deeper is read without it")
        root, _ = _tree(flattened(text))
    with_tables(root)
    return root


def _tree(text: str) -> tuple[_Element, bool]:
    """The root element, and whether all of the text is in it: the parser stops where elements nest 2,048 deep."""
    from lxml import etree, html

    # lxml refuses str with an encoding declaration, so it gets UTF-8 and is told so.
    parser: Any = html.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except etree.ParserError as error:
        raise DocumentError("it is empty: there is no text in it") from error
    return root, all(entry.type != etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log)


def write(root: _Element, builder: TextBuilder, name_of: Callable[[str], str] = name_in_page) -> None:
    """Append what a reader of the page reads; if that is nothing, then also what looked like furniture.

    Args:
        name_of: what a picture is called, by where the page says that it is; empty for one that cannot be had.
    """
    walk = _Walk(builder, name_of, furniture=False, main=_main(root))
    walk.run(root)
    if not walk.has_words:
        _Walk(builder, name_of, furniture=True).run(root)


def source_of(image: _Element) -> str:
    """Where the page says that a picture is; one that is loaded late has something else in its place until then."""
    return next(filter(None, (image.get(name) for name in ("data-src", "data-original", "src"))), "").strip()


def _main(root: _Element) -> _Element | None:
    """The one ``main`` (or ``article``), if most likely the text is in there."""
    for xpath in ("//main | //*[@role='main']", "//article"):
        found = root.xpath(xpath)
        if isinstance(found, list) and len(found) == 1 and _length(found[0]) >= _ENOUGH:
            return found[0]
    return None


def _length(element: _Element) -> int:
    """Of its text, in characters."""
    return int(cast(float, element.xpath("string-length(normalize-space())")))


class _Walk:
    """One pass over the tree, inline text collected until a block begins or ends."""

    def __init__(
        self,
        builder: TextBuilder,
        name_of: Callable[[str], str],
        *,
        furniture: bool,
        main: _Element | None = None,
    ) -> None:
        self.builder = builder
        self.name_of = name_of
        self.has_words = False
        self.images: list[_Element] = []
        self.caption: _Element | None = None  # that is open
        self.furniture = furniture
        self.main = main
        self.around = set() if main is None else set(main.iterancestors())
        self.inline: list[str] = []
        self.lists: list[int] = []  # per open list: number of the next item, 0 for bullets
        self.bullet = ""
        self.items = 0  # written since the outermost list began
        self.pre = 0

    def run(self, root: _Element) -> None:
        from lxml.etree import iterwalk

        walk = iterwalk(root, events=("start", "end"))
        skipped: _Element | None = None
        for event, element in walk:
            tag = element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
            if event == "start":
                if element is not root and self.is_dropped(element, tag):
                    skipped = element
                elif tag == "table" and (rows := _rows(element)) is not None:
                    self.flush()
                    for number, row in enumerate(rows):
                        self.block(row, tight=number > 0)
                    self.images += element.iter("img")
                    self.show("in cells")
                    skipped = element
                else:
                    self.start(tag, element)
                    self.add(element.text)
                    continue
                walk.skip_subtree()
            else:
                if element is skipped:
                    skipped = None
                    if tag in BLOCKS:
                        self.flush()
                else:
                    self.end(tag, element)
                if element is not root:
                    self.add(element.tail)
        self.flush()

    def is_dropped(self, element: _Element, tag: str) -> bool:
        if tag in _NEVER or (is_hidden(element) and not can_be_opened(element, tag)):
            return tag in _NEVER or element.find(".//math") is None  # which a picture stands for
        if tag == "button":
            return not is_opener(element)
        if tag == "svg":  # an icon, unless it is a chart
            return element.find(".//text") is None
        if tag in ("title", "desc", "metadata", "defs", "symbol"):  # of a drawing
            return True
        if self.furniture:
            return False
        names = f"{element.get('class') or ''} {element.get('id') or ''}"
        if tag in _FURNITURE or (element.get("role") or "") in _FURNITURE_ROLES:
            # The one that carries the page's <h1> is none, nor are those of an article or that say more than links do.
            telling = _in_article(element) or (_length(element) > _LABEL and not _is_navigation(element))
            if element.find(".//h1") is not None or (tag == "dialog" and element.get("open") is not None):
                return False
            return not (tag in ("header", "footer") and telling)
        if tag == "aside" or not _SIDE_CLASSES.isdisjoint(names.split()):
            return _is_navigation(element)
        if COOKIES.search(names) or not _FURNITURE_CLASSES.isdisjoint(names.split()):
            return True
        # Beside the main text, a word or two are a banner or a button.
        beside = element.getparent() in self.around and element is not self.main and element not in self.around
        return beside and tag == "div" and not has_substance(element)

    def start(self, tag: str, element: _Element) -> None:
        if tag in BLOCKS or tag in HEADINGS:
            self.flush()
        if self.caption is None and _is_caption(tag, element):
            self.caption = element
        if tag == "br":
            self.inline.append("\n" if self.pre else _BREAK)
        elif tag == "img":
            self.images.append(element)
        elif tag == "pre":
            self.pre += 1
        elif tag in ("ul", "ol"):
            self.items = self.items if self.lists else 0
            self.lists.append(whole_number(element.get("start"), 1) if tag == "ol" else 0)
        elif tag == "li":
            depth = min(max(0, len(self.lists) - 1), MAX_INDENT)
            number = self.lists[-1] if self.lists else 0
            if number:
                number = whole_number(element.get("value"), number)
                self.lists[-1] = number + 1
            self.bullet = "  " * depth + (f"{in_form(number, _number_form(element))}. " if number else "- ")
        elif tag in ("td", "th"):
            self.inline.append(" ")
        elif tag == "input" and next(element.iterancestors("li"), None) is not None:
            self.inline.append(f"{_ticked(element)} ")
        elif mark := _mark(element, tag):
            self.inline.append(mark[0])
        elif tag == "button" and not in_heading(element):
            self.flush()

    def end(self, tag: str, element: _Element) -> None:
        if tag in HEADINGS:
            words = self.take()
            self.builder.heading(words, HEADINGS[tag])
            self.has_words = self.has_words or bool(words)
            self.show(words)
        elif tag in BLOCKS:
            self.flush()
        if element is self.caption:
            self.caption = None
        if tag == "pre":
            self.pre -= 1
        elif mark := _mark(element, tag):
            self.inline.append(mark[1])
        elif tag == "button" and not in_heading(element):
            self.flush()
        elif tag in ("ul", "ol") and self.lists:
            self.lists.pop()
        elif tag == "li":
            self.bullet = ""

    def add(self, text: str | None) -> None:
        if text:
            self.inline.append(text)

    def take(self) -> str:
        text = as_seen("".join(self.inline))
        self.inline.clear()
        lines = (one_line(line) for line in text.split(_BREAK))
        return "\n".join(line for line in lines if line)

    def flush(self) -> None:
        if self.pre:
            text = as_seen("".join(self.inline)).replace(_BREAK, "\n").strip("\n").rstrip()
            self.inline.clear()
            self.block(text)
        elif text := self.take():
            # Items stand on successive lines, with a blank line before the first.
            self.block(self.bullet + text, tight=bool(self.bullet) and self.items > 0)
            self.items += bool(self.bullet)
            self.bullet = ""
        self.show(text)

    def block(self, text: str, *, tight: bool = False) -> None:
        self.builder.block(text, tight=tight, caption=self.caption is not None)
        self.has_words = self.has_words or bool(text)

    def show(self, beside: str) -> None:
        """The pictures that were come upon. What is said of one among words is left out: it is an icon or a formula."""
        images, self.images = self.images, []
        for image in images:
            alt = next((said for name in ("alt", "title", "aria-label") if (said := image.get(name)) is not None), "")
            if min(whole_number(image.get(side), _ICON) for side in ("width", "height")) >= _ICON:
                self.builder.picture(self.name_of(source_of(image)), "" if beside else alt)


def _is_caption(tag: str, element: _Element) -> bool:
    names = (element.get("class") or "").lower()
    return tag == "figcaption" or ("caption" in names and tag in BLOCKS and element.find(".//img") is None)


def _number_form(item: _Element) -> str:
    """How the numbers of a list are written, as its ``type`` or its style says."""
    around = item.getparent()
    style = _LIST_STYLE.search(around.get("style") or "")
    return _NUMBER_FORMS.get(style[1] if style else around.get("type") or "", "decimal")


def _in_article(element: _Element) -> bool:
    return next(element.iterancestors("article", "main", "section"), None) is not None


def _is_navigation(element: _Element) -> bool:
    """Whether more than half of the text is links."""
    total = _length(element)
    return total < _MOST_LINKS and 2 * sum(map(_length, element.iter("a"))) > total


def _mark(element: _Element, tag: str) -> tuple[str, str] | None:
    """What is to be put around an element's words; a raised link is a note's, no exponent."""
    if _STRUCK_STYLE.search(element.get("style") or ""):
        return STRUCK
    around = element.getparent()
    if tag == "msqrt" or (around is not None and around.tag in ("msup", "msubsup", "mfrac")):
        return _mark_in_formula(element, around)
    return None if tag == "sup" and len(element) else _MARKS.get(tag)


def _mark_in_formula(element: _Element, around: _Element) -> tuple[str, str] | None:
    """For a part of a formula, so that it is written in a line: ``(a+b)/2``, ``x^2``, ``√2`` (MathML)."""
    last = element.getnext() is None
    if around.tag in ("msup", "msubsup"):
        return RAISED if last else None
    before = "√" if element.tag == "msqrt" else "/" if last else ""
    return (before, "") if "".join(element.itertext()).strip().isalnum() else (f"{before}(", ")")


def _rows(table: _Element) -> Iterator[str] | None:
    """The rows of a table of data as lines; None for one that is only there for the layout."""
    lists = () if table.find(".//th") is not None else ("pre", "ul", "ol")
    if any(table.find(f".//{tag}") is not None for tag in (*lists, *HEADINGS)):
        return None
    inner = [*table.iterdescendants("table")]
    if inner and (not table.xpath("./tr/th | ./*/tr/th") or max(map(_length, inner)) > _SMALL_TABLE):
        return None
    grid = Grid()
    headers, several = 0, False
    rows = [row for row in table.iter("tr") if not inner or next(row.iterancestors("table")) is table]
    for number, row in enumerate(rows):
        cells = [cell for cell in row.iterchildren("td", "th") if not is_hidden(cell)]
        several = several or len(cells) > 1
        names = row.getparent().tag == "thead" or (len(cells) > 1 and all(cell.tag == "th" for cell in cells))
        if names and headers == number:
            headers += 1
        given = [
            Cell(
                _cell(cell),
                whole_number(cell.get("colspan"), 1),
                min(whole_number(cell.get("rowspan"), 1) or len(rows), len(rows) - number),  # 0: to the end
                cell.tag == "th",
            )
            for cell in cells
        ]
        anew = names and headers < number < len(rows) - 1 and not any(is_quantity(cell.text) for cell in given)
        grid.add(given, names=anew)
    if not several:
        return None
    captions = (text for text in map(_cell, table.iterchildren("caption")) if text)
    # Financial tables give "$" and ")" cells of their own.
    lines = grid.lines(headers or None)
    return chain(captions, (_CLOSING_CELL.sub(r"\1", _CURRENCY_CELL.sub(r"\1 ", line)) for line in lines))


def _cell(cell: _Element) -> str:
    texts: list[str] = []

    def gather(element: _Element) -> None:
        if element.tag in _NEVER or element.tag == "button" or is_hidden(element):
            return
        if element.tag == "table" and (rows := _rows(element)) is not None:
            texts.append(f" {nested(rows)} ")
            return
        before = behind = " " if element.tag in BLOCKS or element.tag == "br" else ""
        if mark := _mark(element, element.tag):
            before, behind = mark
        texts.extend((before, element.text or ""))
        for child in element:
            gather(child)
            texts.append(child.tail or "")
        texts.append(behind)

    gather(cell)
    return one_line(as_seen("".join(texts))) or _icons(cell)


def _icons(cell: _Element) -> str:
    """What the ticks, boxes and pictures of a cell without words stand for."""
    said = (
        _ticked(element) if element.tag == "input" else element.get("alt") or element.get("aria-label") or ""
        for element in cell.iterdescendants()
        if isinstance(element.tag, str) and not is_hidden(element)
    )
    return one_line(" ".join(said))


def _ticked(element: _Element) -> str:
    """A box to tick, as it stands there."""
    return "☐☑"[element.get("checked") is not None] if (element.get("type") or "").lower() == "checkbox" else ""
