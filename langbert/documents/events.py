"""Calendars (iCalendar, RFC 5545): what their events and tasks say; time zones and alarms are left out."""

from __future__ import annotations

import re

from ..errors import DocumentError
from .encoding import decode
from .extract import Extract, TextBuilder

_EVENT = {
    "SUMMARY": "Event", "DTSTART": "Begins", "DTEND": "Ends", "LOCATION": "Place", "ORGANIZER": "Organiser",
    "DESCRIPTION": "Description",
}  # fmt: skip
_EVENT_LINE = re.compile(r"([A-Z-]+)((?:;[^:\n]*)?):(.*)")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")


def read(data: bytes) -> Extract:
    builder = TextBuilder()
    for event in events(decode(data)).split("\n\n"):
        builder.block(event)
    if not len(builder):
        raise DocumentError("there are no events in it")
    return builder.build()


def events(calendar: str) -> str:
    """What a calendar says, an empty line between its events."""
    said: list[str] = []
    inside = ""
    for line in re.sub(r"\n[ \t]", "", calendar).split("\n"):
        if line.startswith("BEGIN:"):
            inside = line[6:].strip()
            said += [""] * (bool(said) and inside in ("VEVENT", "VTODO"))
        found = _EVENT_LINE.match(line)
        if found and inside in ("VEVENT", "VTODO") and found[1] in _EVENT:
            value = re.sub(r"\\([,;\\])", r"\1", re.sub(r"\\[nN]", "\n", found[3])).removeprefix("mailto:").strip()
            said.append(f"{_EVENT[found[1]]}: {_TIME.sub(_readable, value) if found[1].startswith('DT') else value}")
    return "\n".join(said)


def _readable(time: re.Match[str]) -> str:
    year, month, day, hour, minute, utc = time.groups()
    return f"{year}-{month}-{day}" + (f" {hour}:{minute}" if hour else "") + (" UTC" if utc else "")
