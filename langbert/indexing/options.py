"""How files are to be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..documents.captions import ILLUSTRATED
from ..documents.formats import Format
from ..documents.ocr import require_ocr
from ..documents.reader import require_encoding
from ..documents.selecting import PathPattern, Selection
from ..documents.workers import Limits
from ..errors import DocumentError

_OWN = {"path", "format", "sha256"}  # what a sync itself goes by
_PICTURED = {"pdf", "image", "mail", "outlook", "packed"}  # modules whose files may hold pictures of text


@dataclass(frozen=True)
class SyncOptions:
    """The options of :func:`langbert.sync`.

    Attributes:
        pictures: keep the figures of the files, too: the store has an embedder for them.

    Raises:
        DocumentError: a pattern cannot be understood, or metadata have a name that is taken.
        MissingExtra: ``ocr=True``, and ``langbert[ocr]`` is not installed.
    """

    force: bool = False
    retry_failed: bool = False
    encoding: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    metadata_from_path: tuple[str, ...] = ()
    ocr: bool | None = None
    workers: int | None = None
    limits: Limits = field(default_factory=Limits)
    pictures: bool = False

    def __post_init__(self) -> None:
        require_encoding(self.encoding)
        require_ocr(self.ocr)
        named = {*self.metadata, *(name for pattern in self.patterns for name in pattern.names)}
        if taken := sorted(named & _OWN):
            raise DocumentError(f"the metadata {', '.join(taken)} are langbert's own; choose other names")
        if self.workers is not None and self.workers < 0:
            raise DocumentError(f"{self.workers} workers came; give 0 to read files in this process, or more")

    @cached_property
    def selection(self) -> Selection:
        return Selection(self.include, self.exclude)

    @cached_property
    def patterns(self) -> tuple[PathPattern, ...]:
        return tuple(map(PathPattern, self.metadata_from_path))

    def metadata_of(self, source: str) -> dict[str, Any]:
        """What a document is to have besides what its file says."""
        found: dict[str, Any] = {}
        for pattern in self.patterns:
            found |= pattern.metadata(source)
        return {**found, **self.metadata}

    def reading(self, format: Format, source: str) -> str:
        """Says how a file is read: where this is another, the same bytes may become another document."""
        return self._reading(format, source, pictures=self.pictures)

    def is_reading(self, said: str, format: Format, source: str) -> bool:
        """Whether a file that was read so need not be read again. Pictures that were kept are no reason to."""
        return said in (self.reading(format, source), self._reading(format, source, pictures=True))

    def _reading(self, format: Format, source: str, *, pictures: bool) -> str:
        more = self.metadata_of(source)
        seen = ["ocr"] if format.module in _PICTURED and require_ocr(self.ocr) else []
        seen += ["pictures"] if pictures and format.name in ILLUSTRATED else []
        return json.dumps([format.name, format.version, self.encoding, more, *seen], sort_keys=True, default=str)
