"""Results → Markdown tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from side_by_side.tables import markdown

from langbert.bench import Timing

from .contenders import BASE, CONTENDERS, VARIANTS
from .million_child import KINDS, MORE

Data = Mapping[str, Any]
Rounds = Sequence[Mapping[str, Any]]
Row = tuple[str, str, Callable[[Data, str], str]]

_OF_PRECISIONS = ("size on disk, MB", "memory once open, MB more", "search p50, ms", "search p95, ms", "… recall@10")


def report(data: Data) -> str:
    """All that has been measured."""
    return "\n\n".join(f"## {name}\n\n{text}" for name, table in TABLES.items() if (text := table(data)))


def rounds(data: Data, part: str, name: str) -> Rounds:
    made: Rounds = data["cells"].get(part, {}).get("rounds", {}).get(name, [])
    return made


def stores_table(data: Data) -> str:
    """One column a contender, one row a question that somebody choosing a store would ask."""
    names = [
        name
        for name in CONTENDERS
        if name not in VARIANTS[1:] and any(rounds(data, part, name) for part in data["cells"])
    ]
    if not names:
        return ""
    below = (
        f"{data['settings']['chunks']:,} chunks × {data['settings']['dimension']}, k = 10; medians of up to "
        f"{max(len(rounds(data, 'read', name)) for name in names)} rounds (lowest–highest); "
        f"ratios are to {CONTENDERS[BASE][0]}, higher is better."
    )
    timed = [r for part in ("add", "read", "more") for name in names for r in rounds(data, part, name)]
    worst = max((r["disturbed"] for r in timed), default=0)
    if worst > 0.04:
        below += f" Other processes took up to {100 * worst:.0f} % of the processor: measure again."
    return f"{_columns(data, names, _rows())}\n\n{below}"


def precisions_table(data: Data) -> str:
    """What holding vectors in the index in fewer bits saves, and costs in recall."""
    names = [name for name in VARIANTS if rounds(data, "read", name)]
    return _columns(data, names, [row for row in _rows() if row[0] in _OF_PRECISIONS]) if len(names) > 1 else ""


def _columns(data: Data, names: Sequence[str], rows: Sequence[Row]) -> str:
    shown = []
    for label, part, cell in rows:
        cells = [cell(data, name) if rounds(data, part, name) else "" for name in names]
        if any(cells):
            shown.append([label, *cells])
    return markdown(["", *(CONTENDERS[name][0] for name in names)], shown)


def _rows() -> list[Row]:
    """In each: how it is called, the part it comes from, what is shown for a contender that was measured."""
    return [
        ("add durably, texts/s", "add", _adding),
        ("… and close, texts/s", "add", _closing),
        ("peak memory meanwhile, MB", "add", _fact("add", lambda r: r["peak_own_mb"], "{:.0f}")),
        ("size on disk, MB", "add", _fact("add", lambda r: r["bytes"] / 1e6, "{:.0f}")),
        ("1,000 more, durably, s", "more", _spread("more", lambda r: r["lasts"], "{:.3f}")),
        ("… and found, s", "more", _spread("more", lambda r: r["seen"], "{:.3f}")),
        ("open, s", "read", _spread("read", lambda r: r["open"], "{:.3f}")),
        ("open to the first answer, s", "read", _spread("read", lambda r: r["answer"], "{:.3f}")),
        ("memory once open, MB more", "read", _fact("read", lambda r: r["mb"] - r["mb_before"], "{:.0f}")),
        ("search p50, ms", "read", lambda data, name: _latency(data, name, "search", 50)),
        ("search p95, ms", "read", lambda data, name: _latency(data, name, "search", 95)),
        ("… recall@10", "read", _fact("read", lambda r: r["search"]["recall"], "{:.3f}")),
        ("1 % filter: hits of 10", "read", _fact("read", lambda r: r["filter"]["hits"], "{:.1f}")),
        ("… p50, ms", "read", lambda data, name: _latency(data, name, "filter", 50)),
        ("… p95, ms", "read", lambda data, name: _latency(data, name, "filter", 95)),
        ("… recall@10 of them", "read", _fact("read", lambda r: r["filter"]["recall"], "{:.3f}")),
        ("adding an id that is there", "ids", lambda data, name: str(rounds(data, "ids", name)[0]["existing"])),
        ("deleting an id that is not", "ids", lambda data, name: str(rounds(data, "ids", name)[0]["missing"])),
        ("a second process adds", "processes", _second),
        ("killed while writing: opens again", "kill", _opens),
        ("… acknowledged rows lost", "kill", _lost),
    ]


def seconds_of(data: Data, name: str, kind: str) -> Timing | None:
    """Every single search of every round."""
    made = [r[kind]["seconds"] for r in rounds(data, "read", name)]
    return Timing(tuple(itertools.chain.from_iterable(made))) if made else None


def _latency(data: Data, name: str, kind: str, percent: int) -> str:
    def of(r: Mapping[str, Any]) -> float:
        return 1000 * Timing(tuple(r[kind]["seconds"])).percentile(percent)

    shown = _spread("read", of, "{:.1f}" if of(rounds(data, "read", name)[0]) >= 10 else "{:.2f}")(data, name)
    ratio = _ratio(data, name, "read", of)
    return f"{shown}{ratio}" if percent == 50 else shown


def _adding(data: Data, name: str) -> str:
    def of(r: Mapping[str, Any]) -> float:
        return float((sum(r["adding"]) + r["saving"]) / data["settings"]["chunks"])

    return f"{1 / median(map(of, rounds(data, 'add', name))):,.0f}{_ratio(data, name, 'add', of)}"


def _closing(data: Data, name: str) -> str:
    taken = [sum(r["adding"]) + r["saving"] + r["closing"] for r in rounds(data, "add", name)]
    return f"{data['settings']['chunks'] / median(taken):,.0f}"


def _ratio(data: Data, name: str, part: str, of: Callable[[Mapping[str, Any]], float]) -> str:
    """How many times faster than the base, round by round."""
    own, base = rounds(data, part, name), rounds(data, part, BASE)
    if name == BASE or not base:
        return ""
    ratio = median(of(theirs) / of(mine) for mine, theirs in zip(own, base, strict=False))
    return f", {ratio:.2g}×" if ratio < 100 else f", {ratio:.0f}×"


def _fact(part: str, of: Callable[[Mapping[str, Any]], float], form: str) -> Callable[[Data, str], str]:
    return lambda data, name: form.format(median(map(of, rounds(data, part, name))))


def _spread(part: str, of: Callable[[Mapping[str, Any]], float], form: str) -> Callable[[Data, str], str]:
    def cell(data: Data, name: str) -> str:
        values = sorted(map(of, rounds(data, part, name)))
        middle, least, most = (form.format(value) for value in (median(values), values[0], values[-1]))
        return middle if least == most else f"{middle} ({least}–{most})"

    return cell


def _second(data: Data, name: str) -> str:
    """What came of it, in words."""
    r = rounds(data, "processes", name)[0]
    if r["second"]["refused"]:
        return "refused"
    found = r.get("found")
    if found is None or r["first"]["refused"]:
        return "then the first one fails"
    lost = found["of"] - found["theirs"] + found["of"] - found["mine"]
    if lost:
        return f"{lost} of {2 * found['of']} rows lost"
    return "kept and seen at once" if r["first"]["sees"] else "kept, but not seen"


def _opens(data: Data, name: str) -> str:
    made = rounds(data, "kill", name)
    return f"{sum(r['opens'] for r in made)} of {len(made)}"


def _lost(data: Data, name: str) -> str:
    """Of those in stores that opened, and altogether."""
    made = rounds(data, "kill", name)
    opened = [r for r in made if r["opens"]]
    lost = sum(r["rows"] - r["there"] for r in opened)
    unopened = len(made) - len(opened)
    return f"{lost}" + (f", and {unopened} whole store{'s' * (unopened > 1)}" if unopened else "")


def million_table(data: Data) -> str:
    cell = data["cells"].get("million")
    if not cell or not cell["facts"].get("parts"):
        return ""
    facts, parts = cell["facts"], cell["facts"]["parts"]
    n, added = parts[-1]["chunks"], sum(part["added"] for part in parts)
    adding = sum(sum(part["adding"]) for part in parts)
    indexing = sum(part["indexing"] + part["opening"] for part in parts)
    vectors = 4 * data["settings"]["dimension"] * n / 1e6
    peak, own = (max(part[key] for part in parts) for key in ("peak_mb", "peak_own_mb"))
    rows = [
        ["adding durably", f"{added / adding:,.0f} chunks/s"],
        ["building the indexes", f"{indexing:.0f} s"],
        ["peak memory, own / with mapped files", f"{own:,.0f} / {peak:,.0f} MB ({own / vectors:.2f}× the vectors)"],
        ["size on disk", f"{parts[-1]['bytes'] / 1e6:,.0f} MB"],
    ]
    made = cell["rounds"]
    for part, label, key in (
        ("open", "open", "open"),
        ("open", "open to the first dense answer", "dense"),
        ("open", "open to the first dense and lexical answer", "both"),
        ("more", f"{MORE:,} more, durably", "lasts"),
        ("more", "… and found", "seen"),
    ):
        if made.get(part):
            values = sorted(r[key] for r in made[part])
            rows.append([label, f"{median(values):.3f} s ({values[0]:.3f}–{values[-1]:.3f})"])
    for kind in KINDS if made.get("search") else ():
        asked = [Timing(tuple(r[kind]["seconds"])) for r in made["search"]]
        p50, p95 = (median(1000 * timing.percentile(percent) for timing in asked) for percent in (50, 95))
        told = f"p50 {p50:.2f} ms, p95 {p95:.2f} ms"
        if "recall" in made["search"][0][kind]:
            told += f", recall@10 {median(r[kind]['recall'] for r in made['search']):.3f}"
        if "filtered" in kind:
            told += f", {median(r[kind]['hits'] for r in made['search']):.1f} hits of 10"
        rows.append([f"{kind} search", told])
    unfinished = "" if facts.get("built") else " (not all of them yet)"
    return markdown([f"{n:,} chunks{unfinished}", ""], rows)


def machine_line(data: Data) -> str:
    told = dict(data["machine"])
    head = f"{told.pop('processor')}, {told.pop('cores')} cores, {told.pop('system')}, Python {told.pop('python')}"
    return f"{head}; {', '.join(f'{name} {number}' for name, number in told.items())}."


TABLES: dict[str, Callable[[Data], str]] = {
    "stores": stores_table,
    "precisions": precisions_table,
    "million": million_table,
}
