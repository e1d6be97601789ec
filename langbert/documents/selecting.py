"""Which files of a folder are meant, and what their paths say of them.

Patterns are those of ``.gitignore``, matched by pathspec.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".langbertignore"


@dataclass(frozen=True)
class Selection:
    """Of the files in a folder those that match a pattern of ``include``, if there is any, and none of ``exclude``.

    Raises:
        DocumentError: a pattern cannot be understood.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self._included, self._excluded

    @cached_property
    def _included(self) -> GitIgnoreSpec | None:
        return _spec(self.include, "include") if self.include else None

    @cached_property
    def _excluded(self) -> GitIgnoreSpec | None:
        return _spec(self.exclude, "exclude") if self.exclude else None

    def takes(self, path: str) -> bool:
        """Whether a file is meant; ``path`` is relative to the folder that was named, with ``/``."""
        if self._excluded is not None and self._excluded.match_file(path):
            return False
        return self._included is None or self._included.match_file(path)


@dataclass
class IgnoreFiles:
    """What the files named ``.langbertignore`` in a folder and those above it leave out, as git would."""

    _specs: dict[Path, GitIgnoreSpec] = field(default_factory=dict)

    def read(self, folder: Path) -> None:
        """Take over the one in ``folder``.

        Raises:
            DocumentError: it cannot be read or understood.
        """
        file = folder / IGNORE_FILE
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DocumentError(f"{file}: it cannot be read ({error}); make it a UTF-8 text or remove it") from error
        self._specs[folder] = _spec(lines, str(file))

    def leave_out(self, path: Path, *, is_folder: bool = False) -> bool:
        """Whether ``path`` is ignored: the deepest file that says anything of it decides, in it the last line."""
        if not self._specs:
            return False
        for folder in path.parents:
            if folder in self._specs:
                said = self._specs[folder].check_file(path.relative_to(folder).as_posix() + "/" * is_folder).include
                if said is not None:
                    return said
        return False


def _spec(patterns: Iterable[str], where: str) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise DocumentError(f"{where}: {error}; patterns are those of .gitignore, such as drafts/ or *.log") from error


class PathPattern:
    """Metadata told by where a file lies: ``{department}/{year}/*`` finds both in ``law/2024/contract.pdf``.

    ``{name}`` is a folder or a file name, or the part of one between other characters; ``*`` is any part of a name,
    ``**`` any number of folders.

    Raises:
        DocumentError: it names nothing, or one thing twice.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        pieces = re.split(r"(\{\w+\}|\*\*/|\*\*|\*)", pattern)
        try:
            self._regex = re.compile("".join(map(_piece, pieces)))
        except re.error as error:
            raise DocumentError(f"the pattern {pattern!r} cannot be understood ({error})") from error
        if not self._regex.groupindex:
            raise DocumentError(f"the pattern {pattern!r} names nothing; write for instance {{department}}/{{year}}/*")

    @property
    def names(self) -> set[str]:
        """Of the metadata it finds."""
        return set(self._regex.groupindex)

    def metadata(self, path: str) -> dict[str, Any]:
        """What it finds in ``path``, relative to the folder that was named; nothing where it does not match."""
        found = self._regex.fullmatch(path)
        return {name: value_of(text) for name, text in found.groupdict().items()} if found else {}


def _piece(text: str) -> str:
    if text.startswith("{") and text.endswith("}"):
        return f"(?P<{text[1:-1]}>[^/]+?)"
    return {"*": "[^/]*", "**": ".*", "**/": "(?:.*/)?"}.get(text) or re.escape(text)


def value_of(text: str) -> Any:
    """A value as people type it: a finite number, ``true``, ``false``, ``null``, a JSON list or object; else text."""
    try:
        value = json.loads(text)
        written = json.dumps(value, allow_nan=False)
    except ValueError:
        return text
    if isinstance(value, bool | int | float):  # only where no digit is lost: 1.10 is a version
        return value if written == text else text
    return text if isinstance(value, str) or text != text.strip() else value
