"""What looking a store over found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Severity = Literal["note", "unfinished", "derived", "primary"]
"""``"note"``: worth knowing, nothing is wrong. ``"unfinished"``: the making of the store was cut short, before anything
was stored in it. ``"derived"``: an index is damaged; it is made again from the primary data. ``"primary"``: something
that was stored is damaged or missing."""

NAMED = 20
"""Of the rows with one problem, so many are named."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem.

    Attributes:
        where: the table or file.
        items: ids, or rows without a readable id, that have it; the first ones, if there are many.
        count: how many have it.
    """

    severity: Severity
    where: str
    problem: str
    items: tuple[str, ...] = ()
    count: int = 1


@dataclass(slots=True)
class Checkup:
    """What was looked at, and what was found."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def state(self) -> Literal["sound", "unfinished", "derived", "primary"]:
        """The worst that was found."""
        found = {finding.severity for finding in self.findings}
        worst: tuple[Literal["primary", "derived", "unfinished"], ...] = ("primary", "derived", "unfinished")
        return next((severity for severity in worst if severity in found), "sound")

    def found(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == severity]

    def note(self, severity: Severity, where: str, problem: str, items: Sequence[object] = ()) -> None:
        named = tuple(str(item) for item in items[:NAMED])
        self.findings.append(Finding(severity, where, problem, named, len(items) or 1))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that ``langbert doctor --json`` prints."""
        findings = [asdict(finding) for finding in self.findings]
        return {
            "path": str(self.path),
            "state": self.state,
            "checked": self.counts,
            "findings": findings,
            "seconds": round(self.seconds, 3),
        }
