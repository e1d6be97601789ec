"""Fits the choice among spans of ``langbert.answering.evidence`` and says how good the answers are.

    python benchmarks/extraction.py SQUAD.json --cache FOLDER [--questions 1200] [--reader minilm-reader] [--write]

All paragraphs of the file are one corpus. The articles of one half fit the coefficients, those of the other half are
what is reported, and the other way round: every number is of articles that nothing was fitted on. What the models say
is kept in the cache; after a new reader only the reading is done again. ``--write`` puts the coefficients, fitted on
both halves, into ``langbert/answering/fitted.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from asked.coefficients import logistic, write_fitted
from asked.collect import READ, Asked, Asking, halves
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from langbert.answering import evidence
from langbert.answering.evidence import Weights, belief, chance, expected
from langbert.evaluation.scoring import AnswerScore, best_over_answers
from langbert.log_odds import log_odds

RIGHT = 0.5  # the F1 from which an answer counts as right


@dataclass(frozen=True)
class Row:
    """A question's spans, in one list over its passages.

    Attributes:
        margins, logits: what the reader says of each, ``(n,)``.
        scores: of their passages, ``(n,)``.
        texts, right, cited: their words, how those compare with the answers, whether their passage holds one.
    """

    margins: NDArray[np.float64]
    logits: NDArray[np.float64]
    scores: NDArray[np.float64]
    texts: Sequence[str]
    right: Sequence[AnswerScore]
    cited: Sequence[bool]


def row(asked: Asked, read: int) -> Row:
    answers = asked.question.answers
    spots = [
        (candidate, span)
        for candidate, spans in zip(asked.candidates[:read], asked.read, strict=False)
        for span in spans
    ]
    texts = [candidate.text[span.start : span.end] for candidate, span in spots]
    known = {text: best_over_answers(text, answers) for text in set(texts)}
    return Row(
        np.array([span.margin for _, span in spots]),
        np.array([span.logits for _, span in spots]),
        np.array([candidate.score for candidate, _ in spots]),
        texts,
        [known[text] for text in texts],
        [any(answer in candidate.text for answer in answers) for candidate, _ in spots],
    )


def fit_belief(rows: Sequence[Row]) -> Weights:
    """The weights of logits and score under which the right spans get most of the belief."""
    told = [
        (row.logits, np.log(np.maximum(row.scores, evidence.FAINT)), np.array([score.f1 for score in row.right]))
        for row in rows
    ]

    def loss(weights: NDArray[np.float64]) -> float:
        weighed = [(weights[0] * logits + weights[1] * scores, f1) for logits, scores, f1 in told]
        kept = [logsumexp(z, b=f1 + 1e-9) - logsumexp(z) for z, f1 in weighed if f1.max() > 0]
        return -float(np.mean(kept)) + 1e-3 * float(weights @ weights)

    logits, score = minimize(loss, np.array([1.0, 3.0]), method="Nelder-Mead").x
    return Weights(float(logits), float(score), 1.0, 0.0, 0.0)


def answers(row: Row, weights: Weights) -> list[tuple[int, float]]:
    return expected(row.texts, belief(row.logits.tolist(), row.scores.tolist(), weights))[:5]


def fit(rows: Sequence[Row]) -> Weights:
    weights = fit_belief(rows)
    listed = [(row, i, agreed) for row in rows for i, agreed in answers(row, weights)]
    columns = [(log_odds(agreed), float(row.margins.max())) for row, _, agreed in listed]
    chances = logistic(columns, [row.right[i].f1 >= RIGHT for row, i, _ in listed])
    return Weights(*(round(value, 3) for value in (weights.logits, weights.score, *chances)))


def measured(rows: Sequence[Row], weights: Weights) -> list[list[float]]:
    """Of each question's first answer: EM, F1, whether its passage holds an answer, and its probability."""
    told = []
    for row in rows:
        i, agreed = answers(row, weights)[0]
        told.append([*row.right[i], row.cited[i], chance(agreed, float(row.margins.max()), weights)])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a SQuAD JSON file")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for what the models say")
    parser.add_argument("--questions", type=int, default=1200)
    parser.add_argument("--cached", action="store_true", help="only what a stopped run has got to")
    parser.add_argument("--reader", default="minilm-reader", help="a name or a folder")
    parser.add_argument("--threads", type=int, help="for the models")
    parser.add_argument("--write", action="store_true", help="put the coefficients into langbert/answering/fitted.json")
    arguments = parser.parse_args()

    asking = Asking(arguments.data, arguments.cache, reader=arguments.reader, threads=arguments.threads)
    asked = [one for one in asking.ask(asking.sample(arguments.questions, cached=arguments.cached)) if one.held]
    half = halves([one.question.title for one in asked])
    for read in (3, 5, READ):
        rows = [row(one, read) for one in asked]
        first = [one.question.title in half for one in asked]
        parts = [[r for r, inside in zip(rows, first, strict=True) if inside is side] for side in (True, False)]
        told = np.array(measured(parts[1], fit(parts[0])) + measured(parts[0], fit(parts[1])))
        exact, f1, cited, probability = told.mean(0)
        right = told[:, 1] >= RIGHT
        wide = 196 * told[:, 1].std() / np.sqrt(len(told))
        print(
            f"{read} passages read, {len(told)} questions: EM {100 * exact:.1f}, F1 {100 * f1:.1f} ± {wide:.1f}, "
            f"passage holds the answer {cited:.3f}; "
            f"probability {probability:.3f} on average, right {right.mean():.3f}, "
            f"AUROC {roc_auc_score(right, told[:, 3]):.3f}"
        )
        if read == READ:
            for low in np.arange(0, 1, 0.2):
                inside = (told[:, 3] >= low) & (told[:, 3] < low + 0.2)
                if inside.any():
                    band = f"probability {low:.1f}–{low + 0.2:.1f}"
                    print(f"  {band}: {inside.sum()} questions, right {right[inside].mean():.3f}")
    weights = fit([row(one, READ) for one in asked])
    print(weights)
    if arguments.write:
        write_fitted("evidence", asdict(weights))


if __name__ == "__main__":
    main()
