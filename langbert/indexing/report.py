"""What a sync did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class SyncReport:
    """What a sync did, in documents.

    Attributes:
        skipped: the files and folders that cannot be read, as citations would name them, each with the reason.
        remarks: the files that were read, but with something guessed or damaged, each with what that was.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
            "remarks": [{"file": file, "remark": remark} for file, remark in self.remarks],
        }
