"""What stands as one thing in a text: paragraphs, lists, tables, fields and code, and what introduces them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.records import Heading
from langbert.text.blocks import announces_more, blocks, is_only_links


def told(text: str, *headings: Heading) -> list[tuple[str, list[str], str]]:
    """Kind, units and lead of each block."""
    return [
        (block.kind, [text[slice(*unit)] for unit in block.units], text[slice(*block.lead)] if block.lead else "")
        for block in blocks(text, headings)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bees live in hives. They make\nhoney.", [("text", ["Bees live in hives.", "They make\nhoney."], "")]),
        (
            "Bring these:\n\n- a hat,\n  wide\n- gloves\n\nThen go.",
            [
                ("text", ["Bring these:"], ""),
                ("list", ["- a hat,\n  wide", "- gloves"], "Bring these:"),
                ("text", ["Then go."], ""),
            ],
        ),
        (
            "需要以下材料：\n1. 身份证\n2. 照片\n",
            [("text", ["需要以下材料："], ""), ("list", ["1. 身份证", "2. 照片"], "需要以下材料：")],
        ),
        (
            "That said, @ is still a fairly arbitrary\nchoice. Some have suggested using | instead.",
            [
                (
                    "text",
                    ["That said, @ is still a fairly arbitrary\nchoice.", "Some have suggested using | instead."],
                    "",
                )
            ],
        ),
        (
            "可以退票吗？\n\n单程票不能退。\n\nHow do I pay?\n\n1. Open the menu.\n2. Tap Pay.",
            [
                ("text", ["可以退票吗？"], ""),
                ("text", ["单程票不能退。"], "可以退票吗？"),
                ("text", ["How do I pay?"], ""),
                ("list", ["1. Open the menu.", "2. Tap Pay."], "How do I pay?"),
            ],
        ),
        (
            '.. csv-table:: Ports\n   :header: "Name", "Open to"\n   :widths: 1, 1\n\n'
            '   http,all\n   ssh,"us, them"\n\nEnd.',
            [("table", ["http,all", 'ssh,"us, them"'], '"Name", "Open to"'), ("text", ["End."], "")],
        ),
        ("Sales:\nNorth | 5", [("text", ["Sales:"], ""), ("table", ["North | 5"], "Sales:")]),
        ("（一）身份证\n（二）照片", [("list", ["（一）身份证", "（二）照片"], "")]),
        (
            "Branch | Phone\nNorth | Phone: 1\nSouth | Phone: 2\n",
            [("table", ["North | Phone: 1", "South | Phone: 2"], "")],
        ),
        (
            "| a | b |\n|---|---|\n| 1 | 2 |\n",
            [("table", ["| 1 | 2 |"], "| a | b |")],
        ),
        (
            "====  ====\nName  Size\n====  ====\none   1\ntwo   2\n====  ====\n",
            [("table", ["one   1", "two   2"], "Name  Size")],
        ),
        (
            "Title: A plan\nAuthor: Ann,\n  Bob\nStatus: Final\n\nText.",
            [("fields", ["Title: A plan", "Author: Ann,\n  Bob", "Status: Final"], ""), ("text", ["Text."], "")],
        ),
        (
            "---\ntitle: 缓存表\nsummary: 说明。\n---\n正文。",
            [("fields", ["title: 缓存表", "summary: 说明。"], ""), ("text", ["正文。"], "")],
        ),
        (
            "Run it::\n\n    make all\n\n    make test\n\nDone.",
            [("text", ["Run it::"], ""), ("code", ["make all\n\n    make test"], "Run it::"), ("text", ["Done."], "")],
        ),
        (
            "这样设置：\n\n```sql\nSET x = 1;\n```\n",
            [("text", ["这样设置："], ""), ("code", ["SET x = 1;"], "这样设置：")],
        ),
        (
            "`close()`\n    Closes it.\n\n`open()`\n    Opens it.\n    Twice.\n\nEnd.",
            [
                ("list", ["`close()`\n    Closes it.", "`open()`\n    Opens it.\n    Twice."], ""),
                ("text", ["End."], ""),
            ],
        ),
        (".. note:: Keep it\n   dry.\n\n.. image:: x.png\n", [("text", ["Keep it\n   dry."], "")]),
        (
            "> **注意：**\n>\n> 写入可能延迟。\n",
            [("text", ["**注意：**"], ""), ("text", ["写入可能延迟。"], "**注意：**")],
        ),
        ('<Tab>\n\n{{< copyable "sql" >}}\n\nWords.\n\n=====\n', [("text", ["Words."], "")]),
        ("", []),
        ("\n \n***\n", []),
    ],
)
def test_what_stands_as_one_thing(text: str, expected: list[tuple[str, list[str], str]]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize("over", ["", "~~~\n"])
def test_what_underlines_a_heading_is_no_fence(over: str) -> None:
    text = f"{over}One\n~~~\n\nBees make honey.\n\n{over}Two\n~~~\n\nThey live in hives.\n"
    expected = [("text", ["Bees make honey."], ""), ("text", ["They live in hives."], "")]
    headings = [Heading(text.index(title), 1, title) for title in ("One", "Two")]
    assert told(text) == told(text, *headings) == expected


def test_no_block_reaches_over_a_heading_nor_is_one() -> None:
    text = "One\n===\nBefore.\n\nTwo\n---\nAfter: \n\n- item\n"
    headings = (Heading(0, 1, "One"), Heading(text.index("Two"), 2, "Two"))
    assert told(text, *headings) == [
        ("text", ["Before."], ""),
        ("text", ["After:"], ""),
        ("list", ["- item"], "After:"),
    ]
    assert [block.section for block in blocks(text, headings)] == [1, 2, 2]
    underlined = "Bees\n====\nBees make honey.\n\n----\n\nA long line that is prose\n---\n"
    assert told(underlined) == [("text", ["Bees make honey."], ""), ("text", ["A long line that is prose"], "")]
    unmarked = "# One\nBefore:\n## Two\n- item"
    assert told(unmarked) == [("text", ["Before:"], ""), ("list", ["- item"], "")]


def test_a_part_of_a_text_is_told_in_its_own_offsets() -> None:
    text = "Before.\n\nNow this.\n\nAfter."
    (block,) = blocks(text, (), 9, 18)
    assert text[block.start : block.end] == "Now this."


_LINES = st.sampled_from(
    [  # of every kind
        "",
        "Prose goes on.",
        "这是一句话。",
        "- item",
        "  deeper",
        "1. step",
        "| a | b |",
        "a | b",
        "|---|---|",
        "```",
        "    x = f(1)",
        "Key: value",
        "# Heading",
        "====",
        "===  ===",
        ">>> run()",
        "> quoted",
        ".. note::",
        "::",
        "<b>",
        "---",
        "Use this:",
        "例如：",
    ]
)


@given(st.lists(_LINES, max_size=25).map("\n".join))
def test_blocks_are_disjoint_ordered_and_hold_words(text: str) -> None:
    at = 0
    for block in blocks(text):
        for start, end in block.units:
            assert at <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            at = end
        if block.lead:
            assert 0 <= block.lead[0] < block.lead[1] <= block.start


@given(st.text(max_size=200))
def test_any_text_has_blocks(text: str) -> None:
    assert all(block.units for block in blocks(text))


def test_announcements_and_links() -> None:
    assert announces_more("Bring these:")
    assert announces_more("**注意：**")
    assert not announces_more("At 10:30 we left.")
    assert is_only_links("- [`SET ROLE`](/sql/set-role.md)")
    assert is_only_links("详见[缓存表](/cached-tables.md)。")
    assert not is_only_links("The rate is 5 %, see [the table](/rates.md) for what it was in other years.")
    assert not is_only_links("No link.")


def test_a_heading_with_a_colon_is_a_heading_and_one_among_fields_counts() -> None:
    text = "Steels: grades and alloys\n\nAbout us.\n\nPart 2: strength\n\nStrong enough."
    headings = [Heading(0, 1, "Steels: grades and alloys"), Heading(text.index("Part"), 2, "Part 2: strength")]
    assert [(text[block.start : block.end], block.section) for block in blocks(text, headings)] == [
        ("About us.", 1),
        ("Strong enough.", 2),
    ]
    text = "Number: 8\nTitle: Style\nAuthor: Guido\n\nAbstract\n========\n\nRead this."
    headings = [Heading(text.index("Title"), 1, "Style"), Heading(text.index("Abstract"), 2, "Abstract")]
    assert [(block.kind, block.section) for block in blocks(text, headings)] == [("fields", 1), ("text", 2)]
