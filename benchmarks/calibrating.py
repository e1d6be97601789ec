"""What calibrating on twenty questions brings, measured on the others.

    langbert eval questions --data QUESTIONS.jsonl --store DIR --threshold 0 --answers ANSWERS.jsonl
    python benchmarks/calibrating.py QUESTIONS.jsonl ANSWERS.jsonl

200 times twenty questions are drawn to learn of, half of those without an answer among them but ten at most, and the
rest, drawn with replacement, is measured; the intervals hold 95 % of the differences. "Right" and "loss" weigh the two
kinds as four to one. "Too sure" is the mean confidence minus the share that is held.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langbert.answering import calibrate
from langbert.answering.refusal import HELD
from langbert.evaluation import read_asked_questions, read_given_answers
from langbert.log_odds import log_odds

LEARNED, DRAWS, MOST = 20, 200, 10
NAMES = ("loss", "right", "answered", "refused", "too sure")


def measures(odds: NDArray[np.float64], held: NDArray[np.bool_]) -> list[float]:
    """In the order of :data:`NAMES`."""
    weights = np.where(held, HELD / held.sum(), (1 - HELD) / (~held).sum())
    right = (odds >= 0) == held
    return [
        float(weights @ np.logaddexp(0, np.where(held, -odds, odds))),
        float(weights @ right),
        float(right[held].mean()),
        float(right[~held].mean()),
        float(weights @ (1 / (1 + np.exp(-odds)) - held)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("answers", type=Path)
    arguments = parser.parse_args()
    given = read_given_answers(arguments.answers)
    asked = [asked for asked in read_asked_questions(arguments.questions) if asked.id in given]
    held = np.array([not one.unanswerable for one in asked])
    sure = np.array([given[one.id].confidence for one in asked])
    odds = np.array([log_odds(one) for one in sure])
    rng, rows, kept = np.random.default_rng(0), [], []
    for _ in range(DRAWS):
        yes, no = rng.permutation(np.flatnonzero(held)), rng.permutation(np.flatnonzero(~held))
        n_no = min(MOST, max(3, len(no) // 2))
        n_yes = LEARNED - n_no
        learned = np.r_[yes[:n_yes], no[:n_no]]
        rest = np.r_[rng.choice(yes[n_yes:], len(yes) - n_yes), rng.choice(no[n_no:], len(no) - n_no)]
        found = calibrate(sure[learned].tolist(), held[learned].tolist())
        told = found.calibration
        after = told.slope * odds[rest] + told.bias if found.helps else odds[rest]
        rows.append([measures(odds[rest], held[rest]), measures(after, held[rest])])
        kept.append(found.helps)
    table = np.array(rows)  # (draws, before and after, measures)
    gains = table[:, 1] - table[:, 0]
    low, high = np.percentile(gains, [2.5, 97.5], axis=0)
    print(f"{len(asked)} questions, {held.sum()} with an answer; kept in {np.mean(kept):.0%} of the draws")
    for i, name in enumerate(NAMES):
        before, after = table[:, :, i].mean(axis=0)
        print(f"{name:9}{before:7.3f} → {after:.3f}   {gains[:, i].mean():+.3f} [{low[i]:+.3f}, {high[i]:+.3f}]")


if __name__ == "__main__":
    main()
