"""What is asked of whoever reads one file for a store, here or in another process, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..boxes import Illustration
from ..errors import DocumentError
from ..records import Document, Heading
from .formats import MAX_BYTES
from .jobs import Job, R
from .loading import Stamp, load
from .ocr import require_ocr
from .reader import TOO_LARGE, document_of


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of a file.

    Attributes:
        document: None where the bytes are those that are known, or the file cannot be read.
        reason: why it cannot be read, without its name; else empty.
        digest: SHA-256 of the bytes, as hex; empty where they were not had.
        stamp: the file's, from before it was read; None likewise.
    """

    document: Document | None = None
    reason: str = ""
    digest: str = ""
    stamp: Stamp | None = None

    def to_json(self) -> dict[str, Any]:
        document = self.document
        return {
            "reason": self.reason,
            "digest": self.digest,
            "stamp": self.stamp,
            "document": document
            and {
                "id": document.id,
                "text": document.text,
                "source": document.source,
                "metadata": document.metadata,
                "page_starts": document.page_starts,
                "headings": [(heading.start, heading.level, heading.text) for heading in document.headings],
                "line_boxes": document.line_boxes,
                "illustrations": [astuple(one) for one in document.illustrations],
            },
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Reading:
        given = record["document"]
        document = given and Document(
            given["id"],
            given["text"],
            given["source"],
            given["metadata"],
            tuple(given["page_starts"]),
            tuple(Heading(*heading) for heading in given["headings"]),
            given["line_boxes"],
            tuple(Illustration(*one) for one in given["illustrations"]),
        )
        return cls(document, record["reason"], record["digest"], record["stamp"] and Stamp(*record["stamp"]))

    @classmethod
    def failed(cls, reason: str, stamp: Stamp | None = None) -> Reading:
        return cls(None, reason, "", stamp)


@dataclass(frozen=True, slots=True)
class Task:
    """A job: a file is to be read.

    Attributes:
        path: absolute.
        known: the digest of bytes that need not be parsed again.
        max_bytes, max_unfolded: as for :func:`read_document`.
        ocr: recognise pictures; by default where that is installed.
    """

    path: str
    source: str
    encoding: str | None = None
    known: str = ""
    max_bytes: int = MAX_BYTES
    max_unfolded: int | None = None
    ocr: bool | None = None

    reply: ClassVar[type[Reading]] = Reading

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def done(self) -> Reading:
        """What the file says, read once, and what tells whether it will have changed."""
        digest, stamp = "", None
        try:
            loaded = load(Path(self.path), self.max_bytes)
            digest, stamp = loaded.digest, loaded.stamp
            if digest == self.known:
                return Reading(None, "", digest, stamp)
            document = document_of(
                Path(self.path),
                loaded,
                source=self.source,
                encoding=self.encoding,
                max_unfolded=self.max_unfolded,
                ocr=require_ocr(self.ocr),
            )
            return Reading(document, "", digest, stamp)
        except DocumentError as error:
            return Reading(None, str(error), digest, stamp)
        except MemoryError:
            return Reading(None, TOO_LARGE, digest, stamp)


def read_one(job: Job[R]) -> R:
    """What comes of a job about one file."""
    return job.done()
