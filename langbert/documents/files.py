"""Paths → files: folders are walked in a fixed order, each file is found once."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from ..errors import DocumentError
from .selecting import IGNORE_FILE, IgnoreFiles, Selection

OnSkip = Callable[[Path, DocumentError], None]
"""Called with the file that could not be read and the reason."""

_SKIPPED_FOLDERS = {"__pycache__", "node_modules"}
_LOCK_PREFIX = "~$"  # Office leaves such files beside an open document


def log_skip(path: Path, error: DocumentError) -> None:
    """The default: one warning per file on the logger ``langbert``; the message of ``error`` names the file."""
    logging.getLogger("langbert").warning("skipped: %s", error)


def find_files(
    paths: str | Path | Iterable[str | Path],
    *,
    on_skip: OnSkip | None = None,
    selection: Selection | None = None,
    follow_links: bool = False,
    leave_out: Callable[[Path], bool] = lambda folder: False,
) -> list[tuple[Path, str]]:
    """Every file under ``paths`` with its source name, sorted within each folder.

    Hidden files and folders, ``__pycache__``, Office lock files, and what a file ``.langbertignore`` (written like a
    ``.gitignore``) leaves out are passed over, unless named outright. Symbolic links are followed as far as they stay
    in the folder that was named; a file reached twice is listed once, so a loop of links ends.

    Args:
        paths: files and folders; a single one may stand alone.
        on_skip: called with each folder inside the named ones that cannot be listed, and each link that leads out of
            them; by default a warning is logged.
        selection: which files of folders are meant; by default all.
        follow_links: also those that lead out of the folder: whoever can write there can then have any file read.
        leave_out: asked of each folder whether it is passed over with all that is in it.

    Returns:
        Pairs of the absolute file and its source: the path relative to the folder that was named, with ``/``, or the
        name of a file that was named itself.

    Raises:
        DocumentError: a named path does not exist or cannot be listed, or a ``.langbertignore`` not be understood.
    """
    found: list[tuple[Path, str]] = []
    seen: set[str] = set()
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        root = Path(os.path.abspath(path))
        try:
            is_folder = root.is_dir()
            if not is_folder and not root.exists():
                raise DocumentError(
                    f"{path}: there is no such file or folder (looked in {Path.cwd()}); check the spelling"
                )
            files = _walk(root, on_skip or log_skip, leave_out, follow_links=follow_links) if is_folder else [root]
        except PermissionError as error:
            raise DocumentError(f"{path}: no permission to read it; change its permissions (chmod u+rX)") from error
        for file in files:
            real = os.path.realpath(file)
            source = file.relative_to(root).as_posix() if is_folder else file.name
            if real not in seen and (selection is None or not is_folder or selection.takes(source)):
                seen.add(real)
                found.append((file, printable(source)))
    return found


def told_apart(files: Sequence[tuple[Path, str]], others: Collection[str] = ()) -> list[str]:
    """The sources of ``files``; of those that are alike, or like one of ``others``, each has as many of the folders
    above it as tell it from the rest: ``2023/report.pdf`` and ``2024/report.pdf``."""
    sources = [source for _, source in files]
    while True:
        count = Counter([*sources, *others])
        longer = [
            _longer(file, source) if count[source] > 1 else source
            for (file, _), source in zip(files, sources, strict=True)
        ]
        if longer == sources:
            return sources
        sources = longer


def _longer(file: Path, source: str) -> str:
    """With one more of the folders above; the same where there is none."""
    parts = file.parts[1:]
    return printable("/".join(parts[-len(PurePosixPath(source).parts) - 1 :]))


def printable(path: str | Path) -> str:
    """A path as text that UTF-8 can hold; bytes that are no text become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def _walk(root: Path, on_skip: OnSkip, leave_out: Callable[[Path], bool], *, follow_links: bool) -> list[Path]:
    files: list[Path] = []
    inside = os.path.join(os.path.realpath(root), "")
    entered: set[str] = set()
    ignored = IgnoreFiles()

    def refuse(error: OSError) -> None:
        folder = Path(error.filename or root)
        message = (
            f"{printable(folder)}: the folder cannot be listed ({error.strerror}); change its permissions (chmod u+rX)"
        )
        if folder == root:
            raise DocumentError(message) from error
        on_skip(folder, DocumentError(message))

    def stays(path: Path) -> bool:
        if follow_links or not path.is_symlink() or os.path.join(os.path.realpath(path), "").startswith(inside):
            return True
        what = f"{printable(path)}: it is a link that leads out of the folder; name its target too, or follow links"
        on_skip(path, DocumentError(what))
        return False

    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        here = Path(folder)
        if leave_out(here):
            folders.clear()
            continue
        if IGNORE_FILE in names:
            ignored.read(here)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not ignored.leave_out(here / name, is_folder=True)
            and stays(here / name)
        )
        files += [
            here / name
            for name in sorted(names)
            if not name.startswith((".", _LOCK_PREFIX))
            and os.path.isfile(os.path.join(folder, name))
            and not ignored.leave_out(here / name)
            and stays(here / name)
        ]
    return files
