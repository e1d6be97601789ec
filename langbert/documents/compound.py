"""Compound files, which old Office formats are ([MS-CFB]): refused where their tables lead a reader in circles.

calamine follows the chains of sectors as they are written, and reserves what a stream is said to need: of a file of
5 KB with one bit wrong it asks for all the memory there is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import DocumentError

MAGIC = b"\xd0\xcf\x11\xe0"

_COUNTS = (40, 44, 64, 72)  # of sectors: of the directory, the table, the small table, and where the table lies
_IN_HEADER = slice(76, 512)  # where the first 109 sectors of the table lie
_ENTRY = 128  # bytes of the directory

Table = NDArray[np.uint32]


def check_compound(data: bytes) -> None:
    """Whether every chain of sectors ends, and no stream is longer than the file.

    Raises:
        DocumentError: not so.
    """
    shift = number(data, 30) & 0xFFFF
    most = len(data) >> max(shift, 1)
    if len(data) < 512 or shift not in (9, 12) or any(number(data, at) > most for at in _COUNTS):
        raise _broken("its header is damaged")

    def words(sector: int) -> Table:
        begin = sector + 1 << shift
        whole = len(data[begin : begin + (1 << shift)]) // 4
        return np.frombuffer(data, "<u4", whole, begin) if whole else np.empty(0, np.uint32)

    lies = [np.frombuffer(data[_IN_HEADER], "<u4")]
    sector = number(data, 68)
    while sector < most:
        if len(lies) > most:
            raise _broken("its table of sectors leads in a circle")
        lies.append(words(sector)[:-1])
        sector = int(words(sector)[-1]) if len(words(sector)) else most
    table = _joined(words(int(sector)) for sector in np.concatenate(lies) if sector < most)
    _check_ends(table)
    _check_ends(_joined(words(sector) for sector in _chain(table, number(data, 60), most)))
    for sector in _chain(table, number(data, 48), most):
        begin = sector + 1 << shift
        for at in range(begin, min(begin + (1 << shift), len(data) - _ENTRY + 1), _ENTRY):
            if data[at + 66] in (2, 5) and number(data, at + 120) > len(data):
                raise _broken("a part of it is said to be longer than the file")


def _check_ends(table: Table) -> None:
    """Each sector's successor's successor, and so on, is none."""
    end = len(table)
    following = np.append(np.minimum(table, end), end).astype(np.int64)
    for _ in range(end.bit_length()):
        following = following[following]
    if (following != end).any():
        raise _broken("its table of sectors leads in a circle")


def _chain(table: Table, sector: int, most: int) -> Iterator[int]:
    while sector < min(most, len(table)):
        yield sector
        sector = int(table[sector])


def _joined(parts: Iterator[Table]) -> Table:
    return np.concatenate([np.empty(0, np.uint32), *parts])


def number(data: bytes, at: int) -> int:
    """The 32 bits at ``at``; 0 beyond the end."""
    return int.from_bytes(data[at : at + 4], "little")


def _broken(how: str) -> DocumentError:
    return DocumentError(f"the file is encrypted, broken or of another kind: {how}; save it again")
