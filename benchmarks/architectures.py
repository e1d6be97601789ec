"""RNN, GRU, LSTM, Transformer and BERT on the same data with the same budget, and what their lengths cost.

    pip install "langbert[bench,train]"
    python benchmarks/architectures.py --train squad/train-v1.1.json --dev squad/dev-v1.1.json --documents peps/
    python benchmarks/architectures.py --only speed,lengths                                        # on an idle machine
    python benchmarks/architectures.py --write-docs docs/architectures.md

Parts:
    pretraining  the small BERT reads the paragraphs before it learns anything from them
    retrieval    questions and paragraphs, contrastively; measured on unseen articles
    tagging      capitals and punctuation are put back into paragraphs
    memory       a Transformer-XL on long documents, with its memory and without
    speed        training and encoding, in turns
    lengths      one pass over texts of 64 to 4,096 tokens; packed and padded batches

Every cell's result is kept in the results file at once, and is not made again: the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from networks import cost, learning, memory, page
from networks.data import Files, prepare, search_set, tagging_set

PARTS = ("pretraining", "retrieval", "tagging", "memory", "speed", "lengths")
Cell = tuple[str, Callable[[], dict[str, Any]]]


class Results:
    """Cell → what came out, in a JSON file that is whole at any time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.cells: dict[str, dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.is_file() else {}

    def keep(self, cell: str, found: dict[str, Any]) -> None:
        self.cells[cell] = found
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(self.cells, indent=1), encoding="utf-8")
        os.replace(partial, self._file)


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """Every cell of every part, the cheap ones first."""
    files = prepare(args.train, args.work, n_pairs=7200, n_paragraphs=1600) if args.train else None
    trained = (*learning.NEW, learning.PRETRAINED, learning.REFERENCE)
    for seed in range(args.seeds):
        if files is not None and args.dev is not None:
            yield from _learning(args, files, trained, seed)
    if args.documents is not None:
        documents = memory.sample(args.documents, args.work / "documents", 250)
        for length, seed in ((memory.MEMORY, 0), (memory.MEMORY, 1), (0, 0)):
            yield f"memory {length} {seed}", lambda n=length, s=seed: memory.measure(documents, args.work, s, n)
    yield "speed", cost.speed
    yield "lengths", cost.lengths


def _learning(args: argparse.Namespace, files: Files, trained: tuple[str, ...], seed: int) -> Iterator[Cell]:
    search, tagged = search_set(args.dev, 1000), tagging_set(args.dev, 300)
    for name in trained:
        if name == learning.PRETRAINED:
            yield f"pretraining {seed}", lambda: learning.pretrain(files, args.work, seed)
        if name != learning.REFERENCE or seed == 0:
            yield f"retrieval {name} {seed}", lambda n=name: learning.retrieval(n, files, search, args.work, seed)
            yield f"tagging {name} {seed}", lambda n=name: learning.tagging(n, files, tagged, args.work, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="a SQuAD file to learn from")
    parser.add_argument("--dev", type=Path, help="a SQuAD file to measure with")
    parser.add_argument("--documents", type=Path, help="a folder of long documents")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas; cells too, e.g. 'tagging lstm 0'")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("architectures-work"), help="trained networks, made data")
    parser.add_argument("--results", type=Path, default=Path("architectures.json"))
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="write the page from the results, nothing else")
    args = parser.parse_args()
    results = Results(args.results)
    if args.write_docs is not None:
        page.write(results.cells, args.write_docs)
        return
    torch.set_num_threads(1)
    logging.getLogger("langbert").setLevel(logging.ERROR)  # that texts are read in windows is as it should be
    args.work.mkdir(parents=True, exist_ok=True)
    wanted = args.only.split(",")
    for cell, measure in cells(args):
        if cell not in results.cells and any(cell == only or cell.split()[0] == only for only in wanted):
            found = measure()
            results.keep(cell, found)
            short = {k: round(v, 4) for k, v in found.items() if isinstance(v, (int, float))}
            print(f"{cell}: {short}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
