"""Sentence offsets: Western and CJK punctuation, abbreviations, lists, headings, tables, code."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.text.sentences import sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        [
            "Dr. Smith met J. K. Rowling in the U.S. Navy base.",
            "They talked, e.g. about Fig. 3 and PEP 8.",
            "Ask Tomasz (ext. 3307).",
            "The end?!",
        ],
        ["Limit all lines to 79 characters.", "It cost 3.14 dollars at 5 p.m. on Tuesday.", "See python.org for more."],
        ["Devlin et al. (2018) show it.", "So do Liu et al.", "The model is large.", "See Sec. 3.1 and pp. 4–5."],
        ["It is in the U.S.", "The rest is not.", "Take vitamin C.", "It helps."],
        ['"Is it?" he asked.', "“Yes.”", "She left (at last).", "Then, etc. and so on…", "End"],
        ["Run ``make``.", "*Then stop.*", "See [1]."],
        ["今天天气很好。", "“你好！”", "他说：版本是3.12。", "我们去吗？", "好；", "走吧……", "然后回家"],
        ["彼は「こんにちは。」と言った。", "それから帰った。", "『はい！』", "終わり"],
        ["TiDB 支持 MySQL 8.0 协议。", "It is compatible with v. 5 (i.e. MySQL)。"],
    ],
)
def test_prose(expected: list[str]) -> None:
    chinese = any("\u3000" <= char <= "\u9fff" for char in expected[0])
    assert split(("" if chinese else " ").join(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wrapped prose\ngoes on. And\nends.", ["Wrapped prose\ngoes on.", "And\nends."]),
        ("No full stop\n\nNew paragraph", ["No full stop", "New paragraph"]),
        ("Title?\n------\nText.", ["Title?\n------", "Text."]),
        ("# Heading\nText follows.", ["# Heading", "Text follows."]),
        ("Items:\n- one\n- two is\n  wrapped\n1. First. Yes.\n2) Second", [
            "Items:", "- one", "- two is\n  wrapped", "1. First.", "Yes.", "2) Second",
        ]),
        ("| a | c |\n|---|---|\n| d | e |\nText", ["| a | c |", "|---|---|", "| d | e |", "Text"]),
        ("Use::\n\n    def f(x):\n        return g(x)\n\nDone.", ["Use::", "def f(x):", "return g(x)", "Done."]),
        ("```py\na = 1\nb = 2\n```\nAfter", ["```py", "a = 1", "b = 2", "```", "After"]),
        ("    indented prose that\n    goes on here.", ["indented prose that\n    goes on here."]),
        ("一、第一条\n二、第二条\n（三）第三条", ["一、第一条", "二、第二条", "（三）第三条"]),
        ("1. Numbered. Then more", ["1. Numbered.", "Then more"]),
        ("", []),
        (" \n\u3000\t", []),
    ],
)  # fmt: skip
def test_lines(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text() | st.text(st.sampled_from("aB1 .!?…\n\t\"')。！？；”」#-=`|*U.S"), max_size=80))
def test_every_visible_character_is_in_exactly_one(text: str) -> None:
    spans = sentences(text)
    assert all(start < end and text[start:end].strip() == text[start:end] for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = "".join(text[start:end] for start, end in spans)
    assert [char for char in covered if not char.isspace()] == [char for char in text if not char.isspace()]


@pytest.mark.parametrize(
    "unit", [".", "…", "。", ". ", "\n", " ", "\n    ", "(", '."', "…”", "|", "#", "a", "=\n", "1. "]
)
def test_no_text_takes_quadratic_time(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit)) + "x"
        begin = time.process_time()
        sentences(text)
        return time.process_time() - begin

    assert any(seconds(100_000) < 9 * seconds(25_000) + 0.002 for _ in range(4))  # 16 times would be the square
