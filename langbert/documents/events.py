"""Calendars (iCalendar, RFC 5545): what their events and tasks say; time zones and alarms are left out."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ..errors import DocumentError
from .encoding import decode
from .extract import Extract, TextBuilder

_EVENT = {
    "SUMMARY": "Event", "DTSTART": "Begins", "DTEND": "Ends", "DURATION": "Lasts", "DUE": "Due",
    "RRULE": "Repeats", "STATUS": "Status", "LOCATION": "Place", "ORGANIZER": "Organiser", "ATTENDEE": "Attendee",
    "DESCRIPTION": "Description",
}  # fmt: skip
_EVENT_LINE = re.compile(r'([A-Z-]+)((?:;(?:"[^"\n]*"|[^":\n])*)?):(.*)')
_NAME = re.compile(r';CN=(?:"([^"]*)"|([^;:]*))')
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
            said.append(f"{_EVENT[found[1]]}: {_value(*found.groups())}")
    return "\n".join(said)


def _value(name: str, parameters: str, text: str) -> str:
    value = re.sub(r"\\([,;\\])", r"\1", re.sub(r"\\[nN]", "\n", text)).strip()
    if name in ("ORGANIZER", "ATTENDEE"):
        named = _NAME.search(parameters)
        return (named[1] or named[2] if named else "") or re.sub("^mailto:", "", value, flags=re.I)
    if name == "DTEND" and re.fullmatch(r"\d{8}", value):  # the first day that is none of it any more
        return _day_before(value)
    if name == "RRULE":
        return value.lower().replace(";", ", ").replace("=", " ").removeprefix("freq ")
    if name == "STATUS":
        return value.lower()
    return _TIME.sub(_readable, value) if name in ("DTSTART", "DTEND", "DUE") else value


def _day_before(day: str) -> str:
    try:
        return (datetime.strptime(day, "%Y%m%d") - timedelta(days=1)).date().isoformat()
    except (ValueError, OverflowError):
        return day


def _readable(time: re.Match[str]) -> str:
    year, month, day, hour, minute, utc = time.groups()
    return f"{year}-{month}-{day}" + (f" {hour}:{minute}" if hour else "") + (" UTC" if utc else "")
