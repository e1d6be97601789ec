"""Fits the model of ``langbert.answering.refusal``, and says how well it tells what documents hold from what not.

    python benchmarks/refusal.py SQUAD2.json --topics SQUAD.json --chinese CMRC.json --cache FOLDER [--write]
    python benchmarks/refusal.py … --encoder e5-small [--write]

Three kinds of questions: of SQuAD 2.0, about half of which were written to look as if their paragraph answered them;
of SQuAD 1.1, asked of all paragraphs and, again, of all but those of their own article; and the same in Chinese: with
``minilm`` without reranker and reader, and only reported, with ``e5-small`` fitted like the others. The articles of
one half fit the model, those of the other half are what is reported, and the other way round. What the models say is
kept in the cache; after a new reader only the reading is done again. ``--write`` puts the coefficients, fitted on
everything, into ``langbert/answering/fitted.json``; run ``benchmarks/extraction.py`` first. The risk–coverage curve
goes to ``--plot`` as PNG, and as JSON beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from asked.coefficients import logistic, write_fitted
from asked.collect import Asked, Asking, halves
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from langbert.answering.fitted import fitted as all_fitted
from langbert.answering.refusal import HELD, Features, features

READ = 5  # passages
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "minilm": {
        f"search{how}{', reranker' if judged else ''}{', reader' if read else ''}": (
            "coverage",
            *(("cosine",) if not how else ()),
            *(("reranker",) if judged else ()),
            *(("margin", "quoted") if read else ()),
        )
        for how in ("", " by words")
        for judged, read in ((True, True), (False, True), (True, False), (False, False))
    },
    "e5": {
        "search, pieces": ("cosine", "piece", "named"),
        "search by words, pieces": ("coverage", "piece", "named"),
        "search, reader": ("coverage", "cosine", "margin", "quoted"),
        "search by words, reader": ("coverage", "margin", "quoted"),
        "search": ("coverage", "cosine"),
        "search by words": ("coverage",),
    },
}
"""For each encoder what there may be, and what it tells, in the order of :class:`Features`."""


FIXED = {"named": 2.0}
"""Weights that are not fitted. Those who wrote SQuAD's unanswerable questions kept the names that the paragraph has;
people who ask past their documents do not. Fitted it is 0.5, on 124 questions of people's 3 and more is best, and 2
costs SQuAD nothing (AUROC 0.777 and 0.993, with any weight from 0 to 2 within 0.002)."""


@dataclass(frozen=True)
class Row:
    """A question: of which kind, of which article, whether it is held, what speaks for it."""

    kind: str
    title: str
    held: bool
    known: Features


def rows(kind: str, asked: Sequence[Asked]) -> list[Row]:
    found = [
        (
            one,
            features(
                one.question.question,
                one.candidates,
                one.evidence(READ) if one.read else (),
                relevances=one.relevances,
                nearest=one.nearest,
            ),
        )
        for one in asked
    ]
    return [Row(kind, one.question.title, one.held, known) for one, known in found if known is not None]


def matrix(told: Sequence[Row], names: Sequence[str]) -> list[list[float]]:
    return [[getattr(row.known, name) for name in names] for row in told]


def fit(told: Sequence[Row], names: Sequence[str]) -> list[float]:
    """Every kind and both labels of it count the same, but for :data:`HELD`."""
    groups = [(row.kind, row.held) for row in told]
    shares = {group: (HELD if group[1] else 1 - HELD) / groups.count(group) for group in set(groups)}
    weights = [len(told) * shares[group] for group in groups]
    free = [name for name in names if name not in FIXED]
    fixed = np.array(matrix(told, [name for name in names if name in FIXED])) @ [FIXED[n] for n in names if n in FIXED]
    *slopes, bias = logistic(matrix(told, free), [row.held for row in told], weights, fixed)
    found = {**dict(zip(free, slopes, strict=True)), **FIXED}
    return [*(found[name] for name in names), bias]


def out_of_fold(told: Sequence[Row], names: Sequence[str]) -> NDArray[np.float64]:
    """``(n,)`` confidence in each question, by a model that has not seen its article."""
    half = halves([row.title for row in told])
    inside = np.array([row.title in half for row in told])
    values = np.array(matrix(told, names))
    logits = np.zeros(len(told))
    for side in (inside, ~inside):
        *slopes, bias = fit([row for row, taken in zip(told, side, strict=True) if taken], names)
        logits[~side] = values[~side] @ np.array(slopes) + bias
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)


def risk_coverage(confidence: NDArray[np.float64], held: NDArray[np.bool_]) -> list[dict[str, float]]:
    """At every twentieth: which share of the questions is answered, and which share of those has no answer."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~held[order]) / np.arange(1, len(held) + 1)
    at = [round(len(held) * i / 20) - 1 for i in range(1, 21)]
    return [
        {"coverage": (i + 1) / len(held), "risk": float(wrong[i]), "threshold": float(confidence[order[i]])}
        for i in at
        if i >= 0
    ]


def calibration_error(confidence: NDArray[np.float64], held: NDArray[np.bool_], bins: int = 10) -> float:
    """ECE (Guo et al. 2017) in ``bins`` of equal numbers, those held weighed as often as :data:`HELD` says."""
    weights = np.where(held, HELD / max(held.mean(), 1e-9), (1 - HELD) / max((~held).mean(), 1e-9))
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    gaps = [abs(weights[part] @ (confidence[part] - held[part])) for part in parts]
    return float(sum(gaps) / weights.sum())


def report(name: str, told: Sequence[Row], confidence: NDArray[np.float64]) -> dict[str, object]:
    held = np.array([row.held for row in told])
    auroc = float(roc_auc_score(held, confidence))
    print(
        f"{name}: {len(told)} questions, AUROC {auroc:.3f}; at 0.5 answered {np.mean(confidence[held] >= 0.5):.3f} "
        f"of those held, refused {np.mean(confidence[~held] < 0.5):.3f} of the rest"
    )
    print(f"    calibration error {calibration_error(confidence, held):.3f}")
    return {"questions": len(told), "auroc": auroc, "curve": risk_coverage(confidence, held)}


def draw(results: dict[str, dict[str, object]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name, result in results.items():
        curve = result["curve"]
        assert isinstance(curve, list)
        axes.plot(
            [100 * point["coverage"] for point in curve],
            [100 * point["risk"] for point in curve],
            label=f"{name} (AUROC {result['auroc']:.3f})",
        )
    axes.set(xlabel="questions answered, surest first (%)", ylabel="of them without an answer in the documents (%)")
    axes.set(xlim=(0, 100), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)
    file.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a SQuAD 2.0 JSON file")
    parser.add_argument("--topics", required=True, help="a SQuAD 1.1 JSON file of several articles")
    parser.add_argument("--chinese", help="the same in Chinese")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for what the models say")
    parser.add_argument("--questions", type=int, default=1000, help="of each kind")
    parser.add_argument("--cached", action="store_true", help="only what a stopped run has got to")
    parser.add_argument("--encoder", choices=("minilm", "e5-small"), default="minilm")
    parser.add_argument("--reader", help="a name or a folder; by default the encoder's own")
    parser.add_argument("--threads", type=int, help="for the models")
    parser.add_argument("--plot", type=Path, default=Path("docs/images/refusal.png"))
    parser.add_argument("--write", action="store_true", help="put the coefficients into langbert/answering/fitted.json")
    arguments = parser.parse_args()

    base = "e5" if arguments.encoder == "e5-small" else "minilm"

    def ask(data: str, *absents: bool, models: bool = True) -> list[Asked]:
        asking = Asking(
            data,
            arguments.cache,
            reader=(arguments.reader or f"{base}-reader") if models else None,
            rerank=models,
            encoder=arguments.encoder,
            threads=arguments.threads,
        )
        return [
            one
            for absent in absents
            for one in asking.ask(
                asking.sample(arguments.questions, absent=absent, cached=arguments.cached), absent=absent
            )
        ]

    told = rows("written to deceive", ask(arguments.data, False))
    told += rows("article not there", ask(arguments.topics, False, True))
    chinese: list[Row] = []
    if arguments.chinese:
        multilingual = base == "e5"
        chinese = rows("Chinese, article not there", ask(arguments.chinese, False, True, models=multilingual))
        told += chinese if multilingual else []
    fitted: dict[tuple[str, ...], dict[str, float]] = {}
    results: dict[str, dict[str, object]] = {}
    for parts, names in PARTS[base].items():
        confidence = out_of_fold(told, names)
        for kind in dict.fromkeys(row.kind for row in told):
            chosen = np.array([row.kind == kind for row in told])
            result = report(f"{parts}, {kind}", [row for row in told if row.kind == kind], confidence[chosen])
            if parts == next(iter(PARTS[base])):
                results[kind] = result
        fitted[tuple(names)] = dict(zip((*names, "bias"), (round(value, 3) for value in fit(told, names)), strict=True))
    if chinese and base == "minilm":
        names = PARTS[base]["search"]
        results["Chinese, article not there"] = report("search, Chinese", chinese, out_of_fold(chinese, names))
        *slopes, bias = fitted[tuple(names)].values()
        logits = np.array(matrix(chinese, names)) @ np.array(slopes) + bias
        report("search, Chinese, by the model of English", chinese, 1 / (1 + np.exp(-logits)))
    for names, weights in fitted.items():
        print(names, weights)
    draw(results, arguments.plot)
    if arguments.write:
        write_fitted("refusal", {**all_fitted("refusal"), base: list(fitted.values())})


if __name__ == "__main__":
    main()
