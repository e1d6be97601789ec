"""langbert's embeddings and reranking against what people use today: side by side, in turns, in one process.

    pip install "langbert[bench]"
    python benchmarks/embedding.py --data SQUAD.json [--only mix,query,rerank,grid,memory,cold,profile] [--seconds 80]
    python benchmarks/embedding.py --write-docs docs/speed.md

Parts:
    mix      the paragraphs, in one call: throughput, and every vector against HuggingFaceEmbeddings in float32
    query    one question of 12 tokens: p50 and p95
    rerank   one question over 20 passages: time, order and scores
    grid     1, 10 and many texts x 8 to 512 tokens (256 are read) x English and Chinese
    memory   the resident set of a process that embeds short chunks, sampled
    cold     from starting Python to the first vector
    profile  where langbert's time goes

Every measurement is kept in the results file at once. With ``--seconds`` a run stops in time and says so; the same
command goes on from there, until all rounds are made. What other processes disturbed is made again. Compared are
medians, and ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side.children import measure_cold_start, measure_memory
from side_by_side.contenders import BASE, MAX_LENGTH, Loaded, cold_start_code, contenders
from side_by_side.machine import processor
from side_by_side.program import carry_out, chosen, say
from side_by_side.rounds import Budget, Measure, Results, take_turns
from side_by_side.texts import mix, of_length, question_about

from langbert import Embedder
from langbert.bench import MatrixProducts, Workload, profile_embedder
from langbert.bench.timing import timed
from langbert.models.hardware import planned_threads

PARTS = ("mix", "query", "rerank", "grid", "memory", "cold", "profile")
GRID_COUNTS, GRID_TOKENS, GRID_LANGUAGES = ("1", "10", "many"), (8, 32, 128, 256, 512), ("en", "zh")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
QUERY_TOKENS, QUERIES_A_ROUND = 12, 25


class Run:
    """One run of the program: what was asked, what is known, who has been loaded."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.threads = planned_threads(args.threads)
        torch.set_num_threads(self.threads)
        self.known = contenders(args.model)
        self.chosen = [name for name in self.known if not args.contenders or name in args.contenders.split(",")]
        data = args.data.name if args.data else "examples/documents"
        settings = {
            "texts": args.texts,
            "data": data,
            "threads": self.threads,
            "model": args.model,
            "clock": args.clock,
        }
        self.results = Results(args.results, settings)
        self.results.data["machine"] = machine()
        self.budget = Budget(args.seconds)
        self.texts = cache(lambda: mix(args.data, args.texts, args.model))
        self.say = say
        self.clock = CLOCKS[args.clock]

    @cache  # noqa: B019 - one object in the life of the program
    def load(self, name: str) -> Loaded:
        """A contender, warm: its first calls build what later ones reuse."""
        loaded = self.known[name].load(self.threads)
        loaded.embed(self.texts()[:80])
        loaded.query("what is measured here?")
        return loaded

    def turns(self, cell: str, calls: Mapping[str, Measure], rounds: int | None = None) -> bool:
        alone = self.args.clock == "wall"  # what others take of the processor is no part of a process's own time
        return take_turns(self.results, cell, calls, rounds or self.args.rounds, self.budget, self.say, alone=alone)


def machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


# --- the parts; each returns whether it is complete ---------------------------------------------------------------


def run_mix(run: Run) -> bool:
    texts = run.texts()
    workload = Workload.of(Embedder(run.args.model, max_length=MAX_LENGTH, on_overflow="truncate"), texts)
    run.results.note("mix", texts=workload.texts, tokens=workload.tokens, flops=workload.flops)
    reference = run.args.results.with_suffix(".npy")

    def embedding(name: str) -> Measure:
        def measure() -> list[float]:
            if name == "langbert" and run.args.clock == "wall":
                measure_roofs(run)
            loaded = run.load(name)
            start = run.clock()
            vectors = loaded.embed(texts)
            seconds = run.clock() - start
            if name == BASE and not reference.is_file():
                np.save(reference, vectors)
            if reference.is_file():
                run.results.note("mix", **{f"vectors {name}": compared(vectors, np.load(reference))})
            return [seconds]

        return measure

    ordered = sorted(run.chosen, key=lambda name: name != BASE)  # its vectors are what the others' are held against
    return run.turns("mix", {name: embedding(name) for name in ordered})


def measure_roofs(run: Run) -> None:
    """The fastest product so far counts, so that the share of the roof is never flattered."""
    for dtype in (torch.float32, torch.bfloat16):
        found = MatrixProducts(dtype, threads=run.threads).best(0.5).to_dict()
        precision = found["precision"]
        known = run.results.cell("mix")["facts"].get(f"roof {precision}")
        if known is None or found["gflops"] > known["gflops"]:
            run.results.note("mix", **{f"roof {precision}": found})


def compared(vectors: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Largest difference of a number; cosines on average and at worst."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    cosines = (vectors.astype(np.float64) * reference).sum(axis=1) / lengths
    difference = float(np.abs(vectors - reference).max())
    return {"difference": difference, "mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min())}


def run_query(run: Run) -> bool:
    questions = of_length(QUERY_TOKENS, QUERIES_A_ROUND, chinese=False, data=run.args.data, model=run.args.model)
    run.results.note("query", tokens=QUERY_TOKENS)

    def asking(name: str) -> Measure:
        def measure() -> list[float]:
            loaded = run.load(name)
            loaded.query(questions[-1])
            return [timed(lambda question=question: loaded.query(question), run.clock) for question in questions]

        return measure

    return run.turns("query", {name: asking(name) for name in run.chosen}, 2 * run.args.rounds)


def run_rerank(run: Run) -> bool:
    from side_by_side import rerankers

    passages = run.texts()[:: max(1, len(run.texts()) // 20)][:20]
    question = run.args.question or question_about(passages, run.args.data)
    loaded = cache(lambda name: rerankers.RERANKERS[name][1](run.threads))
    reference = cache(lambda: loaded(rerankers.BASE).score(question, passages))

    def reranking(name: str) -> Measure:
        def measure() -> list[float]:
            reranker = loaded(name)
            reranker.rerank(question, passages)
            facts = rerankers.compared(reranker.score(question, passages), reference())
            run.results.note("rerank", question=question, passages=len(passages), **{f"against {name}": facts})
            return [timed(lambda: reranker.rerank(question, passages), run.clock) for _ in range(3)]

        return measure

    return run.turns("rerank", {name: reranking(name) for name in rerankers.RERANKERS})


def run_grid(run: Run) -> bool:
    chosen = [name for name in run.chosen if run.args.contenders or name in ("langbert", BASE)]
    for language, n_tokens, count in grid():
        cell = f"grid {language} {n_tokens} {count}"
        n = int(count) if count != "many" else min(512, max(32, 16384 // n_tokens))
        if all(len(run.results.rounds(cell, name)) >= run.args.rounds for name in chosen):
            continue
        chinese = language == "zh"
        texts = of_length(
            n_tokens, n, chinese=chinese, data=run.args.chinese if chinese else run.args.data, model=run.args.model
        )
        run.results.note(cell, texts=n, tokens=n_tokens)

        def embedding(name: str, texts: list[str] = texts) -> Measure:
            def measure() -> list[float]:
                loaded = run.load(name)
                once = timed(lambda: loaded.embed(texts), run.clock)
                return [
                    timed(lambda: loaded.embed(texts), run.clock) for _ in range(max(1, min(20, round(0.3 / once))))
                ]

            return measure

        if not run.turns(cell, {name: embedding(name) for name in chosen}):
            return False
    return True


def grid() -> Iterator[tuple[str, int, str]]:
    for language in GRID_LANGUAGES:
        for n_tokens in GRID_TOKENS:
            for count in GRID_COUNTS:
                yield language, n_tokens, count


def run_memory(run: Run) -> bool:
    cell = f"memory {run.args.memory_texts}"

    def embedding(name: str) -> Measure:
        def measure() -> list[float]:
            seconds, facts = measure_memory(name, run.args.model, run.args.memory_texts, run.threads)
            run.results.note(cell, **{name: facts})
            return [seconds]

        return measure

    chosen = [name for name in run.chosen if run.args.contenders or name.startswith("langbert")]
    calls = {name: embedding(name) for name in chosen}
    return take_turns(run.results, cell, calls, 1, run.budget, run.say, alone=False)


def run_cold(run: Run) -> bool:
    def starting(name: str) -> Measure:
        return lambda: [measure_cold_start(cold_start_code(run.known[name], run.args.model, run.threads))]

    return run.turns("cold", {name: starting(name) for name in run.chosen})


def run_profile(run: Run) -> bool:
    texts = run.texts()[:: max(1, len(run.texts()) // 320)]
    for name in run.chosen:
        if name.startswith("langbert") and name not in run.results.cell("profile")["facts"]:
            precision: Any = name.partition("-")[2] or "auto"
            options: dict[str, Any] = {"threads": run.threads, "max_length": MAX_LENGTH, "on_overflow": "truncate"}
            found = profile_embedder(Embedder(run.args.model, precision=precision, **options), texts)
            run.results.note("profile", **{name: found.to_dict()})
            run.say(f"profile: {name}: {json.dumps(found.shares)}")
    return True


RUN: dict[str, Callable[[Run], bool]] = {
    "mix": run_mix,
    "query": run_query,
    "rerank": run_rerank,
    "grid": run_grid,
    "memory": run_memory,
    "cold": run_cold,
    "profile": run_profile,
}


def forget(run: Run, parts: Sequence[str]) -> None:
    for part in parts:
        run.results.forget(part)
    if "mix" in parts:
        run.args.results.with_suffix(".npy").unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a SQuAD JSON file; without it the project's example documents")
    parser.add_argument("--model", default="e5-small", help="whose weights: e5-small or minilm")
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: processor time, for one thread on a busy machine"
    )
    parser.add_argument("--chinese", type=Path, help="a Chinese SQuAD-like JSON file for the grid; else built-in texts")
    parser.add_argument("--texts", type=int, default=640, help="paragraphs in the mix")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--contenders", help="names, with commas between them; by default all that the part is for")
    parser.add_argument("--question", help="for reranking; by default one about the first passages")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each part")
    parser.add_argument("--seconds", type=float, help="begin nothing that would not end within so many seconds")
    parser.add_argument("--threads", type=int, help="for every contender; by default every core")
    parser.add_argument("--memory-texts", type=int, default=100_000, help="short chunks in the memory part")
    parser.add_argument("--results", type=Path, default=Path("embedding-results.json"))
    parser.add_argument("--again", action="store_true", help="forget the parts' earlier measurements first")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="only fill the page and draw its plots")
    args = parser.parse_args()
    parts = chosen(parser, "parts", args.only, PARTS)
    from side_by_side.page import write_page
    from side_by_side.tables import report

    os.environ.update(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")
    return carry_out(args, parts, RUN, lambda: Run(args), forget=forget, report=report, write_page=write_page)


if __name__ == "__main__":
    sys.exit(main())
