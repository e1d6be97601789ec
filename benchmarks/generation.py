"""langbert's decoder against llama.cpp and transformers: the same weights, prompt and threads, in turns.

    python benchmarks/generation.py --data SQUAD.json --llama-python VENV/bin/python [--rounds 5]
    python benchmarks/generation.py --write-docs docs/generation-speed.md

Each contender has a process of its own, loaded once; they take turns, and while one computes the others wait. Told are
the seconds of reading the prompt with the first token, the mean seconds of a token after it, and the most memory the
process ever had. ``--llama-python`` is a Python with llama-cpp-python, built for this processor; it may be the one that
runs this program. Ratios are to llama.cpp, round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from side_by_side.decoders import DECODERS
from side_by_side.machine import versions
from side_by_side.page import fill_page

from langbert import Generator
from langbert.bench import MatrixProducts, gpt_flops, measure_reading, rag_messages, sample_texts
from langbert.bench.generate import Network
from langbert.bench.timing import rotated
from langbert.evaluation.datasets import read_questions
from langbert.models import resolve

MODEL, BASE = "smollm2-135m-instruct", "llama.cpp"


class Contender:
    """A running process of :mod:`side_by_side.decoders`."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process, self._name = process, name
        self.load_seconds: float = self._answer()["load_seconds"]

    def write(self, ids: Sequence[int], n: int) -> dict[str, Any]:
        if self._process.stdin is None:
            raise SystemExit(f"{self._name}: its process takes no prompts")
        self._process.stdin.write(json.dumps({"ids": list(ids), "n": n}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"{self._name}: its process ended; see above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def contender(name: str, python: str, model: Path, threads: int) -> Iterator[Contender]:
    program = Path(__file__).parent / "side_by_side" / "decoders.py"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    command = [python, str(program), name, str(model), str(threads)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield Contender(process, name)
        finally:
            process.kill()


def texts(data: Path | None) -> list[str]:
    if data is None:
        return sample_texts(100)
    return [text for _, text in read_questions(data).paragraphs.values()]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    model = resolve(MODEL)
    generator = Generator(model, threads=args.threads, offline=True)
    network = Network.of(generator)
    if network is None:
        raise SystemExit(f"{MODEL} is not computed by langbert's own network")
    ids = generator.encode(rag_messages(texts(args.data), generator, args.prompt_tokens))
    found: dict[str, Any] = {
        "machine": versions("torch", "transformers", "llama-cpp-python"),
        "threads": args.threads,
        "prompt_tokens": len(ids),
        "written": args.tokens,
        "gflop_of_the_prompt": gpt_flops(network.config, len(ids)) / 1e9,
        "megabytes_per_token": network.bytes_per_token / 1e6,
        "roof_gflops": MatrixProducts(torch.bfloat16, threads=args.threads).best(2.0).gflops,
        "roof_gb": measure_reading(args.threads),
        "contenders": {},
    }
    del generator
    chosen = [name for name in DECODERS if args.contenders is None or name in args.contenders.split(",")]
    with ExitStack() as stack:
        running = {}
        for name in chosen:
            python = args.llama_python if name == BASE else sys.executable
            running[name] = stack.enter_context(contender(name, python, model, args.threads))
            found["contenders"][name] = {"load_seconds": running[name].load_seconds, "rounds": []}
        for turn in range(-1, args.rounds):
            for name in rotated(chosen, turn):
                told = running[name].write(ids, args.tokens)
                print(
                    f"{turn} {name}: {told['seconds'][0]:.3f} s, then {mean(told['seconds'][1:]):.4f}",
                    file=sys.stderr,
                )
                if turn >= 0:
                    found["contenders"][name]["rounds"].append(told)
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    base = found["contenders"].get(BASE, {}).get("rounds", [])
    lines = [
        "| | first token after | tokens/s read | to llama.cpp | tokens/s written | to llama.cpp | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in found["contenders"].items():
        first = [told["seconds"][0] for told in each["rounds"]]
        step = [mean(told["seconds"][1:]) for told in each["rounds"]]
        read = _ratio([told["seconds"][0] for told in base], first)
        wrote = _ratio([mean(told["seconds"][1:]) for told in base], step)
        peak = max(told["peak_mb"] for told in each["rounds"])
        lines.append(
            f"| {name} | {1000 * median(first):,.0f} ms | {found['prompt_tokens'] / median(first):,.0f} | {read} "
            f"| {1 / median(step):,.1f} | {wrote} | {peak:,.0f} MB |"
        )
    ours = found["contenders"].get("langbert", {}).get("rounds", [])
    if ours:
        first = median(told["seconds"][0] for told in ours)
        step = median(mean(told["seconds"][1:]) for told in ours)
        gflops = found["gflop_of_the_prompt"] / first
        gigabytes = found["megabytes_per_token"] / step / 1000
        lines += [
            "",
            f"The prompt has {found['prompt_tokens']} tokens, {found['written']} are written. Reading it comes to "
            f"{gflops:,.0f} GFLOP/s, {gflops / found['roof_gflops']:.0%} of the fastest matrix product in the same run "
            f"({found['roof_gflops']:,.0f}); the weights of a token, {found['megabytes_per_token']:.0f} MB, are read "
            f"at {gigabytes:.1f} GB/s, {gigabytes / found['roof_gb']:.0%} of the fastest reading "
            f"({found['roof_gb']:.0f} GB/s).",
        ]
    return "\n".join(lines)


def _ratio(base: Sequence[float], own: Sequence[float]) -> str:
    ratios = [theirs / mine for theirs, mine in zip(base, own, strict=False)]
    return f"{median(ratios):.2f}" if ratios else ""


def machine(found: dict[str, Any]) -> str:
    named = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    return f"{named}; {found['threads']} threads, {len(found['contenders']['langbert']['rounds'])} rounds, medians."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a SQuAD JSON file for the prompt; else built-in texts")
    parser.add_argument("--contenders", help="names, with commas between them; by default all")
    parser.add_argument("--llama-python", default=sys.executable, help="a Python that has llama-cpp-python")
    parser.add_argument("--prompt-tokens", type=int, default=750, help="about so many are read")
    parser.add_argument("--tokens", type=int, default=64, help="so many are written")
    parser.add_argument("--rounds", type=int, default=5, help="that count; one before them does not")
    parser.add_argument("--threads", type=int, default=2, help="of every contender")
    parser.add_argument("--results", type=Path, default=Path("generation-results.json"))
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="only fill the page from the results")
    args = parser.parse_args()
    if args.write_docs is None:
        torch.set_num_threads(args.threads)
        args.results.write_text(json.dumps(measure(args), indent=1) + "\n", encoding="utf-8")
    found = json.loads(args.results.read_text(encoding="utf-8"))
    if args.write_docs is not None:
        fill_page(args.write_docs, found, {"machine": machine, "generation": table})
    else:
        print(json.dumps(found, indent=1) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
