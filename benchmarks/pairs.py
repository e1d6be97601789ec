"""How often pairs of texts are told rightly: SNLI and MNLI, and Chinese claims made of a reading set.

    python benchmarks/pairs.py --nli snli-dev.jsonl mnli-dev.jsonl --claims CMRC-DEV.json [--pairs 200]
    python benchmarks/pairs.py --nli snli-dev.jsonl --classifier my-classifier/model
    python benchmarks/pairs.py --nli snli-dev.jsonl --train FILE.jsonl [--pairs 1500]

Only pairs are measured whose premise's SHA-256 begins with an odd byte: the shipped checker has learned of the others,
which ``--train`` writes for ``langbert train classifier``. Claims are made by rule (``langbert.training.claims``), and
only of questions that the rules fit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

from langbert import Checker, Classifier
from langbert.evaluation import read_questions
from langbert.evaluation.estimates import estimate_mean
from langbert.training.claims import made_claims

LABELS = ("entailment", "neutral", "contradiction")
Pair = tuple[str, str, str]


def nli(path: Path, n: int, *, odd: bool) -> list[Pair]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [
        (row["premise"], row["hypothesis"], row["label"])
        for row in rows
        if hashlib.sha256(row["premise"].encode()).digest()[0] % 2 == odd and row["label"] in LABELS
    ]
    return random.Random(0).sample(found, min(n, len(found)))


def claims(path: Path, n: int) -> list[Pair]:
    data = read_questions(path)
    rng = random.Random(0)
    asked = rng.sample(list(data.questions), len(data.questions))
    made = made_claims(data, asked[:n], rng)
    return [(premise, hypothesis, LABELS[label]) for premise, hypothesis, label in made][:n]


def told(pairs: Sequence[Pair], classifier: Classifier | None, checker: Checker | None) -> list[str]:
    texts = [(premise, hypothesis) for premise, hypothesis, _ in pairs]
    if classifier is not None:
        return [label.label for label in classifier.predict(texts)]
    assert checker is not None
    found = []
    for one in checker.check(texts):
        chances = (one.entailed, one.neutral, one.contradicted)
        found.append(LABELS[chances.index(max(chances))])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nli", nargs="*", type=Path, default=[], help="JSON lines of premise, hypothesis, label")
    parser.add_argument("--claims", type=Path, help="a reading set of SQuAD's form")
    parser.add_argument("--pairs", type=int, default=200, help="of each set")
    parser.add_argument("--classifier", help="a folder, in place of the shipped checker")
    parser.add_argument("--train", type=Path, help="write pairs to learn of, and measure nothing")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.train:
        rows = [pair for path in arguments.nli for pair in nli(path, arguments.pairs, odd=False)]
        names = ("premise", "hypothesis", "label")
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows]
        arguments.train.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    sets = {path.stem: nli(path, arguments.pairs, odd=True) for path in arguments.nli}
    if arguments.claims:
        sets[f"claims of {arguments.claims.parent.name}"] = claims(arguments.claims, arguments.pairs)
    classifier = Classifier(arguments.classifier, threads=arguments.threads) if arguments.classifier else None
    checker = None if classifier else Checker(threads=arguments.threads)
    for name, pairs in sets.items():
        found = told(pairs, classifier, checker)
        right = [guess == label for guess, (*_, label) in zip(found, pairs, strict=True)]
        accuracy = estimate_mean([float(one) for one in right])
        counts = {label: [one for one, row in zip(right, pairs, strict=True) if row[2] == label] for label in LABELS}
        each = ", ".join(f"{label} {sum(some)} of {len(some)}" for label, some in counts.items() if some)
        assert accuracy is not None
        print(f"{name}: {accuracy.n} pairs, {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]; {each}")


if __name__ == "__main__":
    main()
