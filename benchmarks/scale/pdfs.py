"""``python -m benchmarks.scale.pdfs --papers FOLDER``: PDFs → vectors, on one core and on two.

The benchmark that Daft published, on one machine: whole papers and pieces of them, all-MiniLM-L6-v2; who takes part and
how stands in ``pdf_contenders.py``. Each runs from its start to its end in processes of its own, kept to so many cores,
one worker a core; they take turns, and what was measured is kept, so that a run that was stopped goes on.

Rates are between one page and all, since ten thousand PDFs would start but once. Others may use the machine: so rates
and ratios are by the seconds of quiet cores, the clock's without what others took of these cores at a normal priority;
a core that stood idle, or did work of a low priority, counts as time. The clock's own and the processor's stand beside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pypdfium2
from tokenizers import Tokenizer

from benchmarks.side_by_side.contenders import peer_folder
from benchmarks.side_by_side.machine import versions
from benchmarks.side_by_side.rounds import Results
from langbert import open_store
from langbert.bench.timing import rotated

from .pdf_contenders import CONTENDERS, MAX_LENGTH

_LOOK = 0.25  # seconds between looks at the processes: what one does after the last look is not counted
_PARTS = ("all", "start")  # "start" is one small PDF: ten thousand would start but once
_PEERS = ("Ray's script", "Daft's script")


def cut(papers: list[Path], folder: Path, n: int, most: int, seed: int, whole: bool = True) -> int:
    """``n`` PDFs, the papers (unless not ``whole``) and pieces of up to ``most`` of their pages; how many pages."""
    chance, total = random.Random(seed), 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i in range(n):
        with pypdfium2.PdfDocument(papers[i % len(papers)]) as paper, pypdfium2.PdfDocument.new() as piece:
            start, count = 0, len(paper)
            if i >= len(papers) or not whole:
                count = min(count, chance.randint(1, most))
                start = chance.randint(0, len(paper) - count)
            piece.import_pages(paper, list(range(start, start + count)))
            piece.save(folder / f"{i:04}-{papers[i % len(papers)].name}")
            total += count
    return total


def measured(command: list[str], cores: list[int]) -> dict[str, float]:
    """Seconds: on the clock, of the processor by all its processes, and of quiet cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    began, before = time.monotonic(), busy(cores)
    spent: dict[tuple[int, float], float] = {}
    with tempfile.TemporaryFile("w+") as log:
        kept = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        child = subprocess.Popen(kept, env=environment, stdout=log, stderr=log)
        while child.poll() is None:
            for process in with_children(child.pid):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    spent[process.pid, process.create_time()] = times.user + times.system
            time.sleep(_LOOK)
        if child.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{log.read()[-4000:]}")
    clock, worked = time.monotonic() - began, sum(spent.values())
    others = max(0.0, busy(cores) - before - worked)
    return {"clock": clock, "processor": worked, "quiet": clock - others / len(cores)}


def with_children(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def busy(cores: list[int]) -> float:
    """Seconds these cores have worked at a normal priority so far."""
    each = psutil.cpu_times(percpu=True)
    return sum(each[core].user + each[core].system + each[core].irq + each[core].softirq for core in cores)


def read_back(out: Path, model: Path) -> dict[str, int]:
    """How many pieces have a vector, and how many tokens the vectors were made from."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    pieces = list(pieces_in(out))
    return {"pieces": len(pieces), "tokens": sum(len(each.ids) for each in tokenizer.encode_batch(pieces))}


def pieces_in(out: Path) -> Iterable[str]:
    if tables := list(out.glob("*.parquet")):
        import pyarrow.parquet

        for table in tables:
            yield from pyarrow.parquet.read_table(table, columns=["chunk"])["chunk"].to_pylist()
        return
    with open_store(out, create=False, read_only=True) as store, store.snapshot() as snapshot:
        ids = [row.id for row, _ in snapshot.stored_chunks()]
        yield from (chunk.contextual_text for chunk in snapshot.chunks_by_id(ids).values())


def seconds_of(data: dict[str, Any], name: str, workers: int) -> list[float]:
    """In each round, on quiet cores, without what it takes to start."""
    full, start = (data["cells"].get(f"{workers} {part}", {"rounds": {}})["rounds"].get(name, []) for part in _PARTS)
    return [a["quiet"] - b["quiet"] for a, b in zip(full, start, strict=False)]


def row(data: dict[str, Any], name: str) -> list[str] | None:
    """Of the table: medians of the rounds."""
    seconds = {workers: seconds_of(data, name, workers) for workers in (1, 2)}
    if not all(seconds.values()):
        return None
    pages = data["settings"]["pages"]
    cells = [f"{pages / median(seconds[1]):.2f}", f"{pages / median(seconds[2]):.2f}"]
    cells += [f"{median(a / 2 / b for a, b in zip(seconds[1], seconds[2], strict=False)):.2f}"]
    for peer in _PEERS:
        ratios = (median(b / a for a, b in zip(seconds[w], seconds_of(data, peer, w), strict=False)) for w in (1, 2))
        cells.append(" / ".join(f"{ratio:.2f}×" for ratio in ratios))
    full, start = (data["cells"][f"1 {part}"]["rounds"][name] for part in _PARTS)
    cells.append(f"{median(found['tokens'] for found in full) / pages:,.0f}")
    spent = (a["processor"] - b["processor"] for a, b in zip(full, start, strict=False))
    cells.append(f"{1000 * median(spent) / pages:.0f}")
    cells.append(f"{median(found['processor'] for found in start):.0f}")
    return [name, *cells]


def table(data: dict[str, Any]) -> str:
    head = ["", "pages/s, 1 core", "2 cores", "efficiency", "to Ray's, 1 / 2 cores", "to Daft's", "tokens a page"]
    head += ["processor, ms a page", "s to start"]
    rows = [head, ["---"] * len(head), *filter(None, (row(data, name) for name in CONTENDERS))]
    found = [each for cell in data["cells"].values() for rounds in cell["rounds"].values() for each in rounds]
    others = [1 - each["quiet"] / each["clock"] for each in found]
    rounds = sorted({len(rounds) for cell in data["cells"].values() for rounds in cell["rounds"].values()})
    said = (
        f"{data['settings']['pdfs']} PDFs, {data['settings']['pages'] + 1} pages; rounds: {rounds}; "
        f"others had {min(others):.0%} to {max(others):.0%} of the cores, {median(others):.0%} in the median."
    )
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in rows] + ["", said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", type=Path, required=True, help="a folder of PDFs")
    parser.add_argument("--pdfs", type=int, default=300)
    parser.add_argument("--pages", type=int, default=6, help="of a piece, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], help="the first is the one of one worker")
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS))
    parser.add_argument("--daft", default=sys.executable, help="the Python that has Daft, where it is another one")
    parser.add_argument("--results", type=Path, default=Path("build/pdfs.json"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    work = given.results.with_suffix("")
    model, papers = peer_folder("minilm"), sorted(given.papers.glob("*.pdf"))
    pages = cut(papers, work / "all", given.pdfs, given.pages, seed=0)
    pages -= cut(papers, work / "start", 1, 1, seed=0, whole=False)
    results = Results(given.results, {"pdfs": given.pdfs, "pages": pages})
    results.data["machine"] = versions("torch", "ray", "sentence-transformers", "pypdfium2")
    for turn in range(given.rounds):
        for name, workers, part in product(rotated(given.only, turn), (1, 2), _PARTS):
            found: list[Any] = results.rounds(f"{workers} {part}", name)
            if len(found) > turn:
                continue
            shutil.rmtree(work / "out", ignore_errors=True)
            python = given.daft if name == "Daft's script" else sys.executable
            command = [python, "-m", "benchmarks.scale.pdf_contenders", name, str(workers)]
            seconds = measured([*command, str(work / part), str(work / "out"), str(model)], given.cores[:workers])
            found.append(seconds | read_back(work / "out", model))
            results.save()
            print(f"round {turn + 1}, {workers} {part}: {name}: {found[-1]}", file=sys.stderr, flush=True)
    print(json.dumps(results.data, indent=1) if given.json else table(results.data))


if __name__ == "__main__":
    main()
