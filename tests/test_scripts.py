"""Lines of Chinese and Japanese: a break that only fills the line is no blank."""

from __future__ import annotations

import pytest

from langbert.text.scripts import one_line, unwrapped
from langbert.text.terms import spaced, terms


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("应当在四十八小\n时之内报告", "应当在四十八小时之内报告"),
        ("第一行，\n　　第二行", "第一行，第二行"),
        ("照明を消し\nてください", "照明を消してください"),
        ("一段。\n\n二段。", "一段。 二段。"),
        ("使用 Docker\n部署", "使用 Docker 部署"),
        ("one\ntwo", "one two"),
        ("한국어\n문장", "한국어 문장"),
    ],
)
def test_one_line(text: str, joined: str) -> None:
    assert one_line(text) == joined


def test_paragraphs_stay_apart() -> None:
    assert unwrapped("一段。\n\n二段。\n") == "一段。\n\n二段。\n"


def test_the_search_reads_over_the_end_of_a_line() -> None:
    assert "小时" in spaced("四十八小\n时之内").split()
    assert terms("四十八小\n时") == terms("四十八小时")
