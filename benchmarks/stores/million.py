"""Ours alone, at a size where the peers take hours or more memory than there is.

The store is built block by block, and goes on from where it was broken off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from side_by_side.rounds import Budget, Results, undisturbed

from .children import call, scratch_copy

Findings = dict[str, Any]

_SEARCH_SECONDS = 40  # what reading takes at most, for the budget


def run_million(
    results: Results, folder: Path, n: int, budget: Budget, say: Callable[[str], None], *, rounds: int
) -> bool:
    """Builds what is missing, then measures; whether all is done."""
    store, questions = folder / f"million-{n}", folder / f"questions-{n}.npz"
    arguments: Findings = {"folder": str(store), "n": n, "questions": str(questions)}
    done = results.cell("million")
    facts = done["facts"]
    if facts.get("chunks", n) != n:
        raise SystemExit(f"the results hold {facts['chunks']:,} chunks; --again forgets them")
    results.note("million", chunks=n)
    while not facts.get("built"):
        if not budget.allows(30):
            return False
        built = call("build", "stores.million_child", **arguments, seconds=budget.left(at_most=600) - 15)
        parts = [*facts.get("parts", []), built]
        results.note("million", parts=parts, built=built["complete"])
        say(f"million: {built['chunks']:,} chunks, {built['peak_mb']:.0f} MB at most")
    for part in ("open", "search", "more"):
        for turn in range(rounds):
            made: list[Any] = done["rounds"].setdefault(part, [])
            if len(made) > turn:
                continue
            if not budget.allows(_SEARCH_SECONDS):
                return False
            found, share = undisturbed(lambda part=part: _measured(part, arguments), budget)  # type: ignore[misc]
            if found is None:
                return False
            made.append({**found, "disturbed": share})
            results.save()
            say(f"million: {part}, round {turn + 1} of {rounds}")
    return True


def _measured(part: str, arguments: Findings) -> Findings:
    if part != "more":
        return call(part, "stores.million_child", **arguments)
    with scratch_copy(Path(arguments["folder"])) as copy:
        return call("more", "stores.million_child", **{**arguments, "folder": str(copy)})
