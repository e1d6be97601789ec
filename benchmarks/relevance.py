"""Fits what ``langbert.store.relevance`` makes of cosines and BM25 scores, and says how well it tells texts apart.

    python benchmarks/relevance.py TRAIN.json CMRC-TRAIN.json --held-out DEV.json CMRC-DEV.json --cache FOLDER [--write]

Files of SQuAD's form, each of one language. A question and the passage that answers it belong together: the answer's
sentence, and the same between its neighbours. Passages of other articles do not; the best of twenty of them counts, and
comes over 1/2 once in twenty times.
Fitted are a curve for each encoder and kind of script, one for any other encoder, whose range the vectors of its store
must tell (which the shipped ones play here), and one for words. Reported is how much of either comes over 1/2, on files
that nothing was fitted on, also for the best of all passages of other articles.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from asked.coefficients import logistic
from numpy.typing import NDArray

from langbert import Chunk, Embedder, Store
from langbert.evaluation import read_questions
from langbert.store.lexical import LexicalIndex
from langbert.store.relevance import FILE, Curve, level_of, script_of
from langbert.text.sentences import sentences

ENCODERS = ("minilm", "e5-small")
OTHERS = 20  # passages of other articles, of which the best counts
ERRS = 0.05  # how often it may come over 1/2
FLATTEST = 1.0  # a slope, where the scores tell nothing: minilm reads no Chinese
NEIGHBOURS = 1  # sentences on either side
FEW = {"slope": 3.0, "half": 0.0}  # nothing to fit: nearly (1 + cosine) / 2

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """``count`` questions of a file, each of another paragraph, with what answers them.

    Attributes:
        passages: of two kinds, to embed.
        apart: ``(n, n)`` whether a question and what answers another one are of different articles.
    """

    name: str
    questions: Sequence[str]
    paragraphs: Sequence[str]
    passages: dict[str, Sequence[str]]
    apart: NDArray[np.bool_]

    @classmethod
    def read(cls, file: Path, count: int) -> Pairs:
        data = read_questions(file)
        mixed = [question for question in data.questions if question.answers]
        random.Random(1).shuffle(mixed)
        chosen = list({question.paragraph: question for question in mixed}.values())[:count]
        passages: dict[str, list[str]] = {"sentence": [], "passage": []}
        for question in chosen:
            _, text = data.paragraphs[question.paragraph]
            start = text.find(question.answers[0])  # CMRC counts some of its characters wrongly
            spans = sentences(text)
            at = next((i for i, (_, end) in enumerate(spans) if start < end), 0)
            around = spans[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]
            passages["sentence"].append(text[slice(*spans[at])])
            passages["passage"].append(text[around[0][0] : around[-1][1]])
        articles = np.array([data.paragraphs[question.paragraph][0] or question.paragraph for question in chosen])
        apart = articles[:, None] != articles[None]
        paragraphs = [data.paragraphs[question.paragraph][1] for question in chosen]
        return cls(file.stem, [question.question for question in chosen], paragraphs, passages, apart)

    @cached_property
    def script(self) -> str:
        return script_of(self.questions[0])

    def of(self, scores: Scores) -> tuple[Scores, Scores, Scores]:
        """``(n,)`` of what belongs together, of the best of twenty others, and of the best of all others."""
        chance = np.random.default_rng(0)
        others = [row[apart] for row, apart in zip(scores, self.apart, strict=True)]
        some = np.array([chance.permutation(row)[:OTHERS].max() for row in others])
        return np.diag(scores), some, np.array([row.max() for row in others])


def vectors(pairs: Pairs, encoder: str, cache: Path, threads: int | None) -> dict[str, NDArray[np.float32]]:
    """``(n, dim)`` of the questions and of each kind of passage."""
    file = cache / f"{pairs.name}-{len(pairs.questions)}-{encoder}.npz"
    if not file.exists():
        embedder = Embedder(encoder, threads=threads)
        found = {kind: embedder.embed(texts) for kind, texts in pairs.passages.items()}
        np.savez(file, questions=embedder.embed(pairs.questions, "query"), **found)
    return dict(np.load(file))


def shares(pairs: Pairs) -> Scores:
    """``(n, n)`` BM25 scores of paragraphs, one row for each question, as shares of a full one."""
    index = Store.open()
    index.add([Chunk(str(i), str(i), text) for i, text in enumerate(pairs.paragraphs)])
    table = np.zeros(pairs.apart.shape)
    for row, question in zip(table, pairs.questions, strict=True):
        for found in index.search(question, len(table), mode="lexical", repeats=True):
            row[int(found.chunk.id)] = found.scores["lexical"]
        row /= lexical_of(index).full_score(question) or np.inf
    return table


def lexical_of(store: Store) -> LexicalIndex:
    return store.indexes.lexical


def fit(told: Sequence[tuple[Scores, Scores, Scores]]) -> dict[str, float]:
    """As steep as tells best what belongs together from the best of twenty others, which seldom come over 1/2."""
    related = np.concatenate([together for together, _, _ in told])
    others = np.concatenate([some for _, some, _ in told])
    slope, _ = logistic([[v] for v in (*related, *others)], [True] * len(related) + [False] * len(others))
    return {"slope": round(max(slope, FLATTEST), 2), "half": round(float(np.quantile(others, 1 - ERRS)), 4)}


def report(name: str, curve: Curve, pairs: Pairs, scores: Scores) -> None:
    kinds = (*pairs.of(scores), scores[pairs.apart])
    together, some, best, others = (float(np.mean(curve(kind) >= 0.5)) for kind in kinds)
    print(
        f"{name}: at least 0.5 has {together:.3f} of what belongs together, {others:.4f} of other passages, "
        f"{some:.3f} of the best of {OTHERS}, {best:.3f} of the best of all {len(scores)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="of SQuAD's form, to fit on")
    parser.add_argument("--held-out", nargs="+", type=Path, default=[], help="to report on")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for vectors")
    parser.add_argument("--questions", type=int, default=200, help="of each file")
    parser.add_argument("--threads", type=int, help="for the models")
    parser.add_argument("--write", action="store_true", help="put the curves into langbert/store/relevance.json")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    fitting, held_out = (
        [Pairs.read(file, arguments.questions) for file in files] for files in (arguments.files, arguments.held_out)
    )

    def cosines(pairs: Pairs, encoder: str, kind: str) -> tuple[Scores, NDArray[np.float32]]:
        found = vectors(pairs, encoder, arguments.cache, arguments.threads)
        return (found["questions"] @ found[kind].T).astype(np.float64), found[kind]

    encoders: dict[str, dict[str, Any]] = {}
    raised: list[tuple[Scores, Scores, Scores]] = []  # as if the encoder were unknown
    for encoder in ENCODERS:
        curves = {}
        for script in ("spaced", "unspaced"):
            told = []
            for pairs in fitting:
                for kind in pairs.passages if pairs.script == script else ():
                    table, passages = cosines(pairs, encoder, kind)
                    told.append(pairs.of(table))
                    if (encoder, script) != ("minilm", "unspaced"):  # which it cannot read
                        level = level_of(passages)
                        raised.append(pairs.of((table - level) / (1 - level)))
            if told:
                curves[script] = fit(told)
        encoders[Embedder(encoder).space.fingerprint] = {"model": encoder, **curves}
    words = fit([pairs.of(shares(pairs)) for pairs in fitting])
    fitted = {"encoders": encoders, "others": fit(raised), "few": FEW, "words": words}
    print(json.dumps(fitted, indent=2))

    for pairs in held_out:
        for kind in pairs.passages:
            for encoder, curves in zip(ENCODERS, encoders.values(), strict=True):
                table, passages = cosines(pairs, encoder, kind)
                name = f"{pairs.name}, {kind}, {encoder}"
                report(name, Curve(**curves[pairs.script]), pairs, table)
                report(f"{name} as if unknown", Curve(**fitted["others"]).above(level_of(passages)), pairs, table)
        report(f"{pairs.name}, words", Curve(**words), pairs, shares(pairs))
    if arguments.write:
        FILE.write_text(json.dumps(fitted, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
