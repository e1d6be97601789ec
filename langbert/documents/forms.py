"""Forms: tables and lines of sheets in which labels stand beside their values, two or more in a row.

Name: | Ann Lee | Company: | Tern Ltd
姓名 | 张伟 | 性别 | 男
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .cell_words import EMPTY, SEPARATOR, is_name, is_quantity

MOST_ROWS = 200
"""No form has more, and tables may be long."""

_COLONS = ":： "
_ASKED = re.compile(  # of people, firms and papers, whatever the form is for
    r"(?:.*[\s-])?(?:names?|date|birth|sex|gender|age|nationality|phone|tel\.?|telephone|mobile|fax|e-?mail|address|city"
    r"|country|company|organi[sz]ation|department|dept\.?|position|job title|contact|no\.?|number|id|reference"
    r"|signature|approved by|prepared by|supervisor|manager|remarks?|amount|total|currency)"
    r"|.{0,8}(?:姓名|名称|性别|民族|籍贯|年龄|日期|时间|生日|学历|学位|专业|院校|学校|职务|职称|岗位|职位|部门|单位|公司"
    r"|电话|手机|传真|邮箱|邮编|地址|住址|地点|编号|号码|证号|账号|税号|开户行|负责人|申请人|联系人|经办人|审批人|客户|供应商|金额"
    r"|总额|政治面貌|婚姻状况|健康状况|备注|签字|签名|方式|有效期)",
    re.I,
)
_MOST_ABOVE = 12  # rows


def form_pairs(row: Sequence[str]) -> list[tuple[str, str]]:
    """Every other cell with the one behind it; colons behind labels left out."""
    cells = [*row, ""]
    return [(cells[i].rstrip(_COLONS), cells[i + 1]) for i in range(0, len(row), 2)]


def form_text(row: Sequence[str]) -> str:
    """
    >>> form_text(["Name:", "Ann Lee", "Company:", ""])
    'Name: Ann Lee | Company: –'
    """
    return SEPARATOR.join(f"{label}: {value or EMPTY}" for label, value in form_pairs(row) if label or value)


def is_form(rows: Sequence[Sequence[str]], marked: bool = False) -> bool:
    """Whether in a table every other cell is the label of the one behind it: in each row two and more, none twice, and
    most of them with a colon, or what forms ask for, in the first row and below.

    Args:
        rows: without empty ones and titles.
        marked: the file says that every other cell is a label.
    """
    width = max(map(len, rows), default=0)
    if len(rows) < 2 or width < 4 or any(len(row) % 2 for row in rows):
        return False
    labels = [[label for label, value in form_pairs(row) if label or value] for row in rows]
    flat = [label for row in labels for label in row]
    if not all(map(is_name, flat)) or len({*flat}) < len(flat):
        return False
    colons = [cell for row in rows for cell in row[::2] if cell.rstrip()[-1:] in (":", "：")]
    if marked or 2 * len(colons) > len(flat):
        return True
    asked = [[_ASKED.fullmatch(label) is not None for label in row] for row in labels]
    below = [any(row[i] for row in asked[1:] if i < len(row)) for i in range(width // 2)]
    return all(asked[0]) and all(below) and 2 * sum(map(sum, asked)) >= len(flat)


def form_above(rows: Iterable[Sequence[str]], count: int, width: int, wider: bool = False) -> int:
    """How many of the first rows of a sheet are titles and lines of a form ("Date | 3 May | Valid | 30 days") above the
    names of columns, or of a form that is all there is.

    Args:
        rows: what stands in each, without its empty cells; no more of them are asked for than it takes.
        count: how many there are.
        width: the columns of all of them.
        wider: a table of more columns follows.
    """
    is_line, is_sure = False, wider
    for number, row in enumerate(rows):
        if width > 2 and len(row) >= width - 1 and all(map(is_name, row)) and number + 1 < count:
            return number if is_line and number < _MOST_ABOVE else 0
        if len(row) == 1:
            continue
        if number == MOST_ROWS or not is_form_line(row):
            return 0
        is_line = True
        is_sure = is_sure or any(label.endswith((":", "：")) for label in row[::2])
    return count if is_line and is_sure else 0


def is_form_line(row: Sequence[str]) -> bool:
    """Whether a row is made of labels and values, as far as its words tell: several, a colon, or a value that could
    not name a column."""
    labels, values = row[::2], row[1::2]
    if len(labels) != len(values) or not all(map(is_name, labels)):
        return False
    return len(labels) > 1 or labels[0].endswith((":", "：")) or any(map(is_quantity, values))
