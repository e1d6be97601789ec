"""What lines begin with in any format: the mark of a list item, front matter, the names of fields."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .scripts import HAN

_BULLETS = "-*+•‣◦·▪●○■□➢✓"
ITEM = (
    rf"(?:[{_BULLETS}](?=[ \t\u00a0\u3000])|\(?(?:\d{{1,3}}|[a-zA-Z]|[ivx]{{1,4}})[.)](?=[ \t\u00a0])"
    rf"|\(?\d{{1,3}}[.)](?=[{HAN}])|[（(][一二三四五六七八九十\d]{{1,3}}[）)]|[一二三四五六七八九十\d]{{1,3}}[、）]|[①-⑳]"
    r"|(?:(?i:step|stage|phase|schritt|étape|paso)\s|步骤\s?)[一二三四五六七八九十\d]{1,3}\s?[.:：)]"
    r"|第[一二三四五六七八九十\d]{1,3}步[:：，,、])"
)
"""The bullet or number that a list item begins with, as a pattern."""

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<fields>(?:.*?\n)??)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
"""YAML between rules at the top of a text."""

FIELD_NAMES: Mapping[str, tuple[str, ...]] = {
    name: tuple(names.split())
    for name, names in {
        "title": "title subject 标题 題目 题目 主题 標題 主旨",
        "authors": "author authors editor editors from sender by 作者 撰稿人 编者 发件人 著者 编制 编制人 撰写 撰写人",
        "created": "created date dates sent published pub-date publishdate 日期 发布日期 发布时间 "
        "创建日期 创建时间 發布日期",
        "modified": "last-modified modified updated lastmod revised 修改日期 修改时间 更新日期 更新时间",
        "language": "language lang 语言 語言",
        "decided": "accepted resolution post-history",
        "status": "status resolution superseded-by replaces 状态",
        "recipients": "to cc 收件人 抄送",
    }.items()
}
"""What documents call the fields at their top, in small letters."""
