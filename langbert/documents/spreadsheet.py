"""Spreadsheets (xlsx, xlsm, xlsb, xls, ods) through calamine: a section for each sheet, a line for each row.

Rows between empty ones are a table of their own; a row with one cell is a title. Values are those that were last
computed, and where there are none a remark says so; how a cell shows them (a percentage, two decimals) is not known.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError, is_panic
from .archive import member, open_archive, parse_xml, spend_on_all
from .cell_words import SEPARATOR, is_quantity
from .compound import MAGIC, check_compound
from .extract import Extract, TextBuilder
from .forms import form_above, form_text, is_form_line
from .grid import Cell, Grid
from .properties import office_properties
from .remarks import remark
from .sheet_parts import Row, blocks, columns_of, parts

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

_MOST_CELLS = 20_000_000  # of the rectangle that a sheet's cells lie in: all of it is laid out in memory
_MOST_HEADERS = 5  # rows
_LOOKED_AT = 100  # rows, for how wide a table is
_PLACE = re.compile(rb'<(?:\w+:)?c\s[^<>]*?\br="([A-Z]{1,3})(\d{1,7})"')
_UNKNOWN = re.compile(  # a formula without a value
    rb"<(?:\w+:)?f(?:\s[^<>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*(?:<v\s*/>\s*|<v>\s*</v>\s*)?</(?:\w+:)?c>"
)
_TABLE, _OFFICE = (f"{{urn:oasis:names:tc:opendocument:xmlns:{name}:1.0}}" for name in ("table", "office"))
_TITLE = ".//{http://purl.org/dc/elements/1.1/}title"

Merged = dict[tuple[int, int], tuple[int, int]]  # row and column of the first cell → rows and columns


def read(data: bytes) -> Extract:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

    is_zip = data.startswith(b"PK")
    core = _check(data) if is_zip else None
    if data.startswith(MAGIC):
        check_compound(data)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError as error:
        raise DocumentError("it is encrypted; save it without a password") from error
    except CalamineError as error:
        locked = "encrypted, " * data.startswith(MAGIC)  # old files, and new ones with a password
        raise DocumentError(f"it is {locked}broken or no spreadsheet ({error}); save it again") from error
    except BaseException as error:
        raise _panicked(error) from error
    builder = TextBuilder()
    hidden = 0
    for about in workbook.sheets_metadata:
        if about.visible != SheetVisibleEnum.Visible:
            hidden += 1
        elif about.typ == SheetTypeEnum.WorkSheet:
            try:
                _write(about.name, workbook.get_sheet_by_name(about.name), builder)
            except CalamineError as error:
                remark(f"the sheet {about.name} not read ({error})")
            except BaseException as error:
                raise _panicked(error) from error
    if hidden:
        remark(f"{hidden} hidden sheet{'s' * (hidden > 1)} not read")
    if core is None:
        return builder.build()
    return builder.build(core.findtext(_TITLE) or "", office_properties(core))


def _panicked(error: BaseException) -> BaseException:
    """What is to be raised for a panic of calamine's; anything else is as it came."""
    if not is_panic(error):
        return error
    return DocumentError(f"it is broken or no spreadsheet ({error}); save it again")


def _check(data: bytes) -> Any:
    """The core properties of a workbook in a zip, if it has any.

    Raises:
        DocumentError: it is a zip bomb, encrypted, or one cell stands so far away that the sheet would fill the memory.
    """
    archive = open_archive(data)
    spend_on_all(archive)
    names = archive.namelist()
    unknown = 0
    for name in names:
        if name.startswith("xl/worksheets/") and name.endswith(".xml"):
            rows = columns = 1
            data = member(archive, name)
            unknown += sum(1 for _ in _UNKNOWN.finditer(data))
            for letters, number in _PLACE.findall(data):
                column = 0
                for letter in letters:
                    column = column * 26 + letter - 64
                rows, columns = max(rows, int(number)), max(columns, column)
            _check_size(rows, columns)
    if unknown:
        formulas = "a formula" if unknown == 1 else f"{unknown} formulas"
        remark(f"{formulas} without a value, since the program that wrote it computes none; save it in another")
    if "content.xml" in names:
        _check_repeats(parse_xml(member(archive, "content.xml")))
    known = next((name for name in ("docProps/core.xml", "meta.xml") if name in names), None)
    return None if known is None else parse_xml(member(archive, known))


def _check_repeats(root: Any) -> None:
    """An open document says how often a row and a cell is repeated."""
    for table in root.iter(f"{_TABLE}table"):
        rows = height = width = 0
        for row in table.iter(f"{_TABLE}table-row"):
            columns = filled = 0
            for cell in row:
                columns += _repeated(cell, "columns")
                if len(cell) or cell.get(f"{_OFFICE}value-type"):
                    filled = columns
            rows += _repeated(row, "rows")
            if filled:
                height, width = rows, max(width, filled)
        _check_size(height, width)


def _repeated(element: Any, what: str) -> int:
    said = element.get(f"{_TABLE}number-{what}-repeated", "1")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 10**9


def _check_size(rows: int, columns: int) -> None:
    if rows * columns > _MOST_CELLS:
        raise DocumentError(
            f"a sheet has cells in {rows:,} rows and {columns:,} columns, over the limit of "
            f"{_MOST_CELLS:,} cells; move those that stand apart, or split it"
        )


def _write(name: str, sheet: CalamineSheet, builder: TextBuilder) -> None:
    rows = sheet.to_python(skip_empty_area=False)
    merged: Merged = {
        begin: (end[0] - begin[0] + 1, end[1] - begin[1] + 1) for begin, end in sheet.merged_cell_ranges or ()
    }
    tables = [(part, *table) for part in parts(rows) for table in _tables(part)]
    if tables:
        builder.heading(name, 2)
    for part, first, last, headers in tables:
        if headers == 0:
            for row in part[first:last]:
                builder.block(_form_line(row), tight=row is not part[first])
        else:
            builder.table(_grid(part[first:last], first, merged), headers)


def _tables(rows: Sequence[Row]) -> Iterator[tuple[int, int, int | None]]:
    """The first row of each table, the one after its last, and how many are headers where that is sure: none in the
    lines of a form above the names."""
    found = [*blocks(rows)]
    index = 0
    while index < len(found):
        first, last = found[index]
        after = found[index + 1] if index + 1 < len(found) else None
        width = len(columns_of(rows[first : min(last, first + _LOOKED_AT)]))
        wider = after is not None and len(columns_of(rows[after[0] : min(after[1], after[0] + _LOOKED_AT)])) > width
        if form := form_above(map(_said, rows[first:last]), last - first, width, wider):
            yield first, first + form, 0
            first += form
        if first == last:
            index += 1
            continue
        headers = _headers(rows[first:last])
        if after is not None and after[0] == last + 1 and _names_columns(rows[first:last], rows[after[0] : after[1]]):
            headers, last, index = last - first, after[1], index + 1  # an empty row below the names
        yield first, last, headers
        index += 1


def _headers(rows: Sequence[Row]) -> int | None:
    """How many rows name the columns, where that takes several: up to one that names all, or to the first figures."""
    width = len(columns_of(rows))
    count, said = 0, 0
    for row in rows[:_MOST_HEADERS]:
        if any(map(_is_figure, row)):
            break
        count, said = count + 1, sum(value != "" for value in row)
        if said >= width - 1:
            break
    return count if 1 < count < len(rows) and said > 1 else None


def _names_columns(above: Sequence[Row], below: Sequence[Row]) -> bool:
    """Whether a block without figures says what the columns of the next one are."""
    if len(above) > _MOST_HEADERS or any(_is_figure(value) for row in above for value in row):
        return False
    if any(map(is_quantity, _said(above[-1]))):
        return False
    named, filled = set(columns_of(above[-1:])), set(columns_of(below))
    return len(named) > 1 and named <= filled and any(_is_figure(value) for row in below for value in row)


def _is_figure(value: object) -> bool:
    """A number that is no year."""
    return isinstance(value, int | float) and not (1900 <= value <= 2100 and value == int(value))


def _grid(rows: Sequence[Row], first: int, merged: Merged) -> Grid:
    """Rows of the sheet, from ``first`` on, without columns in which nothing stands."""
    columns = columns_of(rows)
    grid = Grid()
    covered: set[tuple[int, int]] = set()
    for number, row in enumerate(rows, first):
        said = [column for column in columns if column < len(row) and row[column] != ""]
        is_free = not any((number, column) in covered for column in columns)
        if len(said) == 1 and len(columns) > 1 and is_free and (said[0] == columns[0] or (number, said[0]) in merged):
            grid.add([Cell(_text(row[said[0]]), len(columns))])
            continue
        cells = []
        for column in columns:
            if (number, column) in covered:
                continue
            below, across = merged.get((number, column), (1, 1))
            below = min(below, first + len(rows) - number)
            over = [other for other in columns if column <= other < column + across]
            covered.update((number + i, other) for i in range(below) for other in over if below * len(over) > 1)
            cells.append(Cell(_text(row[column]) if column < len(row) else "", len(over), below))
        grid.add(cells)
    return grid


def _said(row: Row) -> list[str]:
    """What stands in a row, without its empty cells."""
    return [_text(value) for value in row if value != ""]


def _form_line(row: Row) -> str:
    said = _said(row)
    return form_text(said) if is_form_line(said) else SEPARATOR.join(said)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return " ".join(str(value).split())
