"""Results → Markdown tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from langbert.bench import Timing

from .contenders import BASE, contenders
from .rerankers import BASE as BASE_RERANKER
from .rerankers import RERANKERS

Cell = Mapping[str, Any]
Data = Mapping[str, Any]


def report(data: Data) -> str:
    """All that has been measured."""
    sections = {name: table(data) for name, table in TABLES.items()}
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)


def timing(cell: Cell, name: str) -> Timing | None:
    """The median of each round; None where nothing was measured."""
    rounds = cell["rounds"].get(name)
    return Timing(tuple(median(seconds) for seconds in rounds)) if rounds else None


def speedup(cell: Cell, name: str, base: str = BASE) -> Timing | None:
    """How many times faster than ``base``, round by round."""
    own, theirs = timing(cell, name), timing(cell, base)
    return own.ratios(theirs) if own and theirs else None


def mix_table(data: Data) -> str:
    cell = data["cells"].get("mix")
    if not cell:
        return ""
    facts, known = cell["facts"], contenders(data["settings"]["model"])
    rows = []
    for name, measured in _measured(cell, known):
        middle, least, most = measured.rates(facts["texts"])
        gflops = facts["flops"] / measured.median / 1e9 if facts["flops"] else None
        roof = facts.get(f"roof {known[name].precision}")
        vectors = facts.get(f"vectors {name}")
        rows.append(
            [
                known[name].label,
                f"{middle:.1f} ({least:.1f}–{most:.1f})",
                _times(speedup(cell, name)),
                "" if gflops is None else f"{gflops:.0f}",
                "" if gflops is None or roof is None else f"{100 * gflops / roof['gflops']:.0f} %",
                "" if vectors is None else f"{vectors['mean_cosine']:.6f} / {vectors['min_cosine']:.6f}",
                "" if vectors is None else f"{vectors['difference']:.1e}",
            ]
        )
    head = ["", "passages/s", "ratio", "GFLOP/s", "of the roof", "cosine, mean / min", "largest difference"]
    roofs = [facts[key] for key in ("roof float32", "roof bfloat16") if key in facts]
    said = "; ".join(f"{r['precision']} {r['gflops']:.0f} GFLOP/s ({r['way']}, {_shape(r['shape'])})" for r in roofs)
    below = (
        f"{facts['texts']} paragraphs of {facts['tokens'] / facts['texts']:.0f} tokens on average; medians of "
        f"{max(map(len, cell['rounds'].values()))} rounds (lowest–highest)." + (f" The roof: {said}." if said else "")
    )
    if facts.get("disturbed", 0) > 0.04:
        below += f" Other processes took up to {100 * facts['disturbed']:.0f} % of the processor: measure again."
    return f"{markdown(head, rows)}\n\n{below}"


def query_table(data: Data) -> str:
    cell = data["cells"].get("query")
    if not cell:
        return ""
    rows, known = [], contenders(data["settings"]["model"])
    base = _calls(cell, BASE)
    for name, _ in _measured(cell, known):
        calls = _calls(cell, name)
        if calls is None:
            continue
        ratio = f"{calls.median / base.median:.2f}×" if base else ""
        rows.append([known[name].label, f"{1000 * calls.median:.2f}", f"{1000 * calls.percentile(95):.2f}", ratio])
    return markdown(["", "p50, ms", "p95, ms", "p50 to theirs"], rows)


def rerank_table(data: Data) -> str:
    cell = data["cells"].get("rerank")
    if not cell:
        return ""
    rows = []
    for name, (label, _) in RERANKERS.items():
        measured, against = timing(cell, name), cell["facts"].get(f"against {name}")
        if measured is None or against is None:
            continue
        order = "same"
        if against["swapped"]:
            order = f"{against['swapped']} of {against['pairs']} pairs, {against['swapped_apart']:.0e} apart"
        times = _times(speedup(cell, name, BASE_RERANKER))
        rows.append([label, f"{1000 * measured.median:.0f}", times, order, f"{against['difference']:.1e}"])
    return markdown(["", "20 passages, ms", "ratio", "order", "largest difference of a score"], rows)


def grid_table(data: Data) -> str:
    cells = grid_ratios(data)
    if not cells:
        return ""
    rows = []
    for (language, tokens), some in itertools.groupby(cells.items(), key=lambda item: item[0][:2]):
        counts = {count: ratio for (_, _, count), ratio in some}
        shown = [f"{counts[count]:.1f}×" if count in counts else "" for count in ("1", "10", "many")]
        rows.append([{"en": "English", "zh": "Chinese"}[language], str(tokens), *shown])
    return markdown(["", "tokens", "1 text", "10 texts", "many texts"], rows)


def grid_ratios(data: Data, name: str = "langbert") -> dict[tuple[str, int, str], float]:
    """``(language, tokens, count)`` → how many times faster than HuggingFaceEmbeddings."""
    found = {}
    for key, cell in data["cells"].items():
        part, _, place = key.partition(" ")
        ratios = speedup(cell, name) if part == "grid" else None
        if ratios is not None:
            language, tokens, count = place.split()
            found[language, int(tokens), count] = ratios.median
    return found


def memory_table(data: Data) -> str:
    rows, known = [], contenders(data["settings"]["model"])
    for key, cell in data["cells"].items():
        if not key.startswith("memory "):
            continue
        for name, measured in _measured(cell, known):
            facts = cell["facts"][name]
            curve = " ".join(map(str, facts["curve_mb"]))
            rate = f"{facts['texts'] / measured.median:.0f}"
            rows.append([known[name].label, f"{facts['texts']:,}", rate, str(facts["peak_mb"]), curve])
    return markdown(["", "chunks", "chunks/s", "peak, MB", "on the way, MB"], rows) if rows else ""


def cold_table(data: Data) -> str:
    cell = data["cells"].get("cold")
    if not cell:
        return ""
    known = contenders(data["settings"]["model"])
    rows = [
        [
            known[name].label,
            f"{found.median:.2f} ({found.fastest:.2f}–{found.slowest:.2f})",
            _times(speedup(cell, name)),
        ]
        for name, found in _measured(cell, known)
    ]
    return markdown(["", "to the first vector, s", "ratio"], rows)


def profile_table(data: Data) -> str:
    cell = data["cells"].get("profile")
    if not cell or not cell["facts"]:
        return ""
    known, facts = contenders(data["settings"]["model"]), cell["facts"]
    names = [name for name in known if name in facts]
    kinds = sorted(facts[names[0]]["shares"], key=lambda kind: -facts[names[0]]["shares"][kind])
    rows = [[kind, *(f"{100 * facts[name]['shares'][kind]:.1f} %" for name in names)] for kind in kinds]
    return markdown(["", *(known[name].label for name in names)], rows)


TABLES = {
    "mix": mix_table,
    "query": query_table,
    "rerank": rerank_table,
    "grid": grid_table,
    "memory": memory_table,
    "cold": cold_table,
    "profile": profile_table,
}


def _measured(cell: Cell, names: Iterable[str]) -> list[tuple[str, Timing]]:
    return [(name, found) for name in names if (found := timing(cell, name)) is not None]


def _calls(cell: Cell, name: str) -> Timing | None:
    """Every single call of every round."""
    seconds = tuple(itertools.chain.from_iterable(cell["rounds"].get(name, ())))
    return Timing(seconds) if seconds else None


def _times(ratios: Timing | None) -> str:
    return "" if ratios is None else f"{ratios.median:.2f}× ({ratios.fastest:.2f}–{ratios.slowest:.2f})"


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first to the right."""
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
