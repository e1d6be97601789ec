"""Fits the choice among pieces of ``langbert.answering.selection`` and says how often the best one answers.

    python benchmarks/selection.py READING.json … --cache FOLDER [--questions 150] [--threads 1] [--write]

Each file, in SQuAD's form, is one corpus; nothing of it should have trained the cross-encoder. Where a question's
answer is its whole paragraph, as :mod:`langbert.training.headings` makes them of documentation, every piece of that
paragraph is right, else those in which the answer stands. Among the pieces that a cross-encoder reads the right ones
shall get most of the belief (a softmax over the sum of weighted signals). Half of each file's questions fit the
weights, the other half is what is reported, and the other way round. ``--write`` puts what is fitted on everything
into ``langbert/answering/fitted.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from asked.coefficients import write_fitted
from asked.collect import Asked, Asking, halves
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from langbert.answering.pieces import PIECE, Piece, cut_pieces
from langbert.answering.selection import CROSS_ENCODED, WEIGHTS, signals
from langbert.answering.wants import wants

NAMES = ("search", "terms", "relevance", "code")
"""The weights that are fitted; without a passage's reranker and without fields of documents the others say nothing."""


@dataclass(frozen=True)
class Row:
    """A question's pieces: what speaks for each ``(n, len(NAMES))``, which are right ``(n,)``."""

    name: str
    title: str
    told: NDArray[np.float64]
    right: NDArray[np.bool_]


def is_right(piece: Piece, asked: Asked) -> bool:
    question = asked.question
    start, end = question.answer_starts[0], question.answer_starts[0] + len(question.answers[0])
    whole = piece.source.text == question.answers[0]
    inside = whole or (piece.start <= start and end <= piece.end)
    return piece.source.chunk.id == question.paragraph and inside


def row(name: str, asked: Asked) -> Row | None:
    """None where no piece that was read is right, so that there is nothing to choose."""
    question = asked.question.question
    pieces = cut_pieces(asked.candidates, {}, 0.0 if wants(question).fact else PIECE)
    columns = signals(question, pieces, [piece.read for piece in pieces])
    first = sum(getattr(WEIGHTS, name) * column for name, column in columns.items())
    best = np.argsort(-np.asarray(first), kind="stable")[:CROSS_ENCODED]
    columns["relevance"] = np.zeros(len(pieces))
    columns["relevance"][best] = asked.relevances
    right = np.array([is_right(pieces[i], asked) for i in best])
    told = np.stack([columns[name][best] for name in NAMES], axis=1)
    return Row(name, asked.question.title, told, right) if right.any() else None


def fit(rows: Sequence[Row]) -> NDArray[np.float64]:
    """The weights under which right pieces get most of the belief; every file counts the same."""
    counts = {row.name: sum(other.name == row.name for other in rows) for row in rows}

    def loss(weights: NDArray[np.float64]) -> float:
        lost = [(logsumexp(z := row.told @ weights) - logsumexp(z[row.right])) / counts[row.name] for row in rows]
        return float(sum(lost)) / len(counts) + 1e-3 * float(weights @ weights)

    bounds = [(-3.0, 0.0) if name == "code" else (0.0, None) for name in NAMES]
    start = np.array([getattr(WEIGHTS, name) for name in NAMES])
    return np.asarray(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x, dtype=np.float64)


def hits(rows: Sequence[Row], weights: NDArray[np.float64], depth: int) -> list[bool]:
    return [bool(row.right[np.argsort(-(row.told @ weights), kind="stable")[:depth]].any()) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="reading sets in SQuAD's form")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for what the models say")
    parser.add_argument("--questions", type=int, default=150, help="of each file")
    parser.add_argument("--threads", type=int, help="for the models")
    parser.add_argument("--write", action="store_true", help="put the weights into langbert/answering/fitted.json")
    arguments = parser.parse_args()

    rows: list[Row] = []
    for data in arguments.data:
        options: dict[str, Any] = {"reader": None, "encoder": "e5-small", "threads": arguments.threads}
        asking = Asking(data, arguments.cache, **options)
        asked = [one for one in asking.ask(asking.sample(arguments.questions)) if one.held]
        found = [row(data.stem, one) for one in asked]
        rows += [one for one in found if one is not None]
        print(f"{data.stem}: {len(asked)} questions, a right piece is read for {sum(one is not None for one in found)}")
    half = halves([row.title for row in rows])
    sides = [[row for row in rows if (row.title in half) is side] for side in (True, False)]
    now = np.array([getattr(WEIGHTS, name) for name in NAMES])
    for name in dict.fromkeys(row.name for row in rows):
        told = {depth: [np.mean(hits([r for r in rows if r.name == name], now, depth))] for depth in (1, 3)}
        for depth, shares in told.items():
            fresh = [
                hit
                for mine, other in (sides, sides[::-1])
                for hit in hits([r for r in other if r.name == name], fit(mine), depth)
            ]
            shares.append(np.mean(fresh))
        print(
            f"{name}: right among the first 1, 3: now {told[1][0]:.3f}, {told[3][0]:.3f}; fitted on the other half "
            f"{told[1][1]:.3f}, {told[3][1]:.3f}"
        )
    weights = {name: round(float(value), 2) for name, value in zip(NAMES, fit(rows), strict=True)}
    print(weights)
    if arguments.write:
        write_fitted("selection", weights)


if __name__ == "__main__":
    main()
