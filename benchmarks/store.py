"""langbert's store against the local vector stores people use today: the same chunks, vectors and questions for all.

    pip install "langbert[bench-stores]"
    python benchmarks/store.py [--only add,read,more,ids,processes,kill,million] [--seconds 140]
    python benchmarks/store.py --write-docs docs/store-benchmarks.md

Parts:
    add        all chunks, block by block, until they last; memory meanwhile, size on disk
    read       in a fresh process: opening, the first answer, memory; then nearest chunks, and those of a hundredth
    more       1,000 more, into an open store, until they last and until they are found
    ids        an id that is there added again, an id that is not there deleted
    processes  a second process adds while the first one has the store open
    kill       a writing process killed at random moments: what opens again, which acknowledged rows are there
    million    ours alone with --million chunks: building, searches of every kind with recall, opening, 10,000 more

Every measurement is kept in the results file at once, and the stores in --folder. With ``--seconds`` a run stops in
time and says so; the same command goes on from there. Each measurement is a process of its own; contenders take turns,
and what other processes disturbed is made again (adding is not: how much it was disturbed is noted). Compared are
medians.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from side_by_side.machine import versions
from side_by_side.program import carry_out, chosen, say
from side_by_side.rounds import Budget, Results, rotated, undisturbed
from stores.children import call, kill_writer, scratch_copy, two_processes
from stores.contenders import CONTENDERS, VARIANTS
from stores.corpus import DIMENSION, Corpus

PARTS = ("add", "read", "more", "ids", "processes", "kill", "million")
MORE = 1_000
LIBRARIES = ("faiss-cpu", "langchain-community", "chromadb", "qdrant-client", "lancedb", "tantivy")


class Run:
    """One run of the program: what was asked and what is known."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder: Path = args.folder.absolute()
        self.names = [name for name in CONTENDERS if not args.contenders or name in args.contenders.split(",")]
        self.results = Results(args.results, {"chunks": args.chunks, "dimension": DIMENSION})
        self.results.data["machine"] = versions(*LIBRARIES)
        self.budget = Budget(args.seconds)
        self.say = say

    @cached_property
    def questions(self) -> str:
        file = self.folder / f"questions-{self.args.chunks}.npz"
        Corpus(self.args.chunks).questions(file)
        return str(file)

    def store(self, name: str) -> Path:
        return self.folder / name

    def arguments(self, name: str) -> dict[str, Any]:
        return {"name": name, "folder": str(self.store(name)), "n": self.args.chunks, "questions": self.questions}

    def turns(self, part: str, rounds: int, measure: Callable[[str, int], Any], *, alone: bool) -> bool:
        """Contenders in turns until each has so many rounds, or the budget is spent; whether they all have."""
        names = self.names if part in ("add", "read", "more") else [n for n in self.names if n not in VARIANTS[1:]]
        for turn in range(rounds):
            for name in rotated(names, turn):
                done: list[Any] = self.results.cell(part)["rounds"].setdefault(name, [])
                if len(done) > turn:
                    continue
                if part in ("read", "more") and not self.built(name):
                    self.say(f"{part}: {name} is not built yet: --only add")
                    return False
                before = done[-1]["took"] if done else 0.0
                if not self.budget.allows(before):
                    return False
                found, share = self._measured(lambda name=name, turn=turn: measure(name, turn), alone)
                if found is None:
                    return False
                done.append({**found, "disturbed": share})
                self.results.save()
                self.say(f"{part}: {name}, round {turn + 1} of {rounds}: {_told(found)}")
        return True

    def _measured(self, measure: Callable[[], dict[str, Any]], alone: bool) -> tuple[dict[str, Any] | None, float]:
        def timed() -> dict[str, Any]:
            start = time.monotonic()
            found = measure()
            return {**found, "took": time.monotonic() - start}

        return undisturbed(timed, self.budget, tries=3 if alone else 1)

    def built(self, name: str) -> bool:
        return bool(self.results.cell("add")["rounds"].get(name)) and self.store(name).is_dir()


# --- the parts; each returns whether it is complete ---------------------------------------------------------------


def run_add(run: Run) -> bool:
    def adding(name: str, turn: int) -> dict[str, Any]:
        shutil.rmtree(run.store(name), ignore_errors=True)
        return call("build", name=name, folder=str(run.store(name)), n=run.args.chunks)

    return run.turns("add", run.args.builds, adding, alone=False)


def run_read(run: Run) -> bool:
    def reading(name: str, turn: int) -> dict[str, Any]:
        return call("read", **run.arguments(name), seconds=run.args.asking)

    return run.turns("read", run.args.rounds, reading, alone=True)


def run_more(run: Run) -> bool:
    def adding(name: str, turn: int) -> dict[str, Any]:
        with scratch_copy(run.store(name)) as copy:
            return call("more", **{**run.arguments(name), "folder": str(copy)}, more=MORE)

    return run.turns("more", run.args.rounds, adding, alone=True)


def run_ids(run: Run) -> bool:
    return run.turns("ids", 1, lambda name, turn: call("ids", name=name, folder=str(fresh(run, name))), alone=False)


def run_processes(run: Run) -> bool:
    def at_once(name: str, turn: int) -> dict[str, Any]:
        folder = fresh(run, name)
        call("fill", name=name, folder=str(folder), batches=25)
        return two_processes(name, folder)

    return run.turns("processes", 1, at_once, alone=False)


def run_kill(run: Run) -> bool:
    def killing(name: str, turn: int) -> dict[str, Any]:
        """A store goes on from kill to kill while it opens; another is begun when it does not."""
        folder = run.folder / f"killed-{name}"
        earlier = run.results.cell("kill")["rounds"][name]
        first, acknowledged = (earlier[-1]["next"], earlier[-1]["acknowledged"]) if earlier else (100, [])
        if not earlier or not earlier[-1]["opens"] or not folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            call("fill", name=name, folder=str(folder), batches=100)
            first, acknowledged = 100, []
        batches, found = kill_writer(name, folder, random.Random(turn), first, acknowledged)
        return {**found, "next": batches[-1] + 3, "acknowledged": [*acknowledged, *batches]}

    complete = run.turns("kill", run.args.kills, killing, alone=False)
    if complete:
        for name in run.names:
            shutil.rmtree(run.folder / f"killed-{name}", ignore_errors=True)
    return complete


def fresh(run: Run, name: str) -> Path:
    folder = run.folder / f"small-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def run_million(run: Run) -> bool:
    from stores.million import run_million

    return run_million(run.results, run.folder, run.args.million, run.budget, run.say, rounds=run.args.rounds)


RUN: dict[str, Callable[[Run], bool]] = {
    "add": run_add,
    "read": run_read,
    "more": run_more,
    "ids": run_ids,
    "processes": run_processes,
    "kill": run_kill,
    "million": run_million,
}


def _told(found: dict[str, Any]) -> str:
    short = {name: value for name, value in found.items() if isinstance(value, (int, float, str))}
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in short.items()
    )


def forget(run: Run, parts: Sequence[str]) -> None:
    for part in parts:
        for name in run.names:
            run.results.cell(part)["rounds"].pop(name, None)
        if part == "million":
            run.results.forget("million")
            shutil.rmtree(run.folder / f"million-{run.args.million}", ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default=",".join(PARTS[:-1]), help="parts, with commas between them; million if named"
    )
    parser.add_argument("--contenders", help=f"by default {','.join(CONTENDERS)}")
    parser.add_argument("--chunks", type=int, default=100_000, help="in every store")
    parser.add_argument("--million", type=int, default=1_000_000, help="chunks in the part of that name")
    parser.add_argument("--rounds", type=int, default=3, help="of reading and of adding more")
    parser.add_argument("--builds", type=int, default=1, help="rounds of adding everything")
    parser.add_argument("--kills", type=int, default=10, help="of each contender")
    parser.add_argument("--asking", type=float, default=10.0, help="seconds of asking at most, of each kind")
    parser.add_argument("--seconds", type=float, help="begin nothing that would not end within so many seconds")
    parser.add_argument("--folder", type=Path, default=Path("store-benchmark"), help="where the stores are kept")
    parser.add_argument("--results", type=Path, default=Path("store-results.json"))
    parser.add_argument("--again", action="store_true", help="forget these contenders' earlier measurements first")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="only fill the page and draw its plot")
    args = parser.parse_args()
    parts = chosen(parser, "parts", args.only, PARTS)
    chosen(parser, "contenders", args.contenders or "langbert", CONTENDERS)
    from stores.page import write_page
    from stores.tables import report

    return carry_out(args, parts, RUN, lambda: Run(args), forget=forget, report=report, write_page=write_page)


if __name__ == "__main__":
    sys.exit(main())
