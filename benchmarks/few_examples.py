"""What a few examples teach, on documents that they are not of, and whether anything else is spoiled.

    python benchmarks/few_examples.py pairs --peps PEPS --manual ZH --output FOLDER --others SQUAD DRCD [--lora]
    python benchmarks/few_examples.py kinds --peps PEPS --manual ZH --output FOLDER

``pairs``: 50 titles of PEPs with their abstracts, then 50 headings of a Chinese manual with the paragraphs under them,
teach an embedder: one linear layer behind it, or with ``--lora`` adapters in every layer, ten times over. Each title of
other PEPs, of other pages, and each question of the others' files looks for its own text among all of its kind; told is
the mean reciprocal rank, and the mean difference, query by query, with its 95 % interval.

``kinds``: :class:`langbert.FewShotClassifier` tells which part of the manual a paragraph is of, and whether a PEP is
about typing or packaging; the mean over 20 draws of the share that is right of each kind, and what 95 % of them span.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langbert import Embedder, FewShotClassifier
from langbert.evaluation import read_questions
from langbert.evaluation.estimates import estimate_mean
from langbert.records import EmbedderLike
from langbert.training import train
from langbert.training.settings import LoraSettings

LEARNED, DRAWS, LONGEST = 50, 20, 1000  # pairs, draws, characters of a passage
Pair = tuple[str, str]


def peps(folder: Path) -> list[tuple[str, str, str]]:
    """Topic, title and abstract."""
    found = []
    for file in sorted(folder.glob("pep-*.rst")):
        text = file.read_text(encoding="utf-8")
        title = re.search(r"^Title: (.+)$", text, re.MULTILINE)
        topic = re.search(r"^Topic: (.+)$", text, re.MULTILINE)
        abstract = re.search(r"^Abstract\n=+\n+(.+?)(?=\n\n[^\n]+\n[=\-]{3,}\n|\Z)", text, re.MULTILINE | re.DOTALL)
        if title and abstract:
            found.append((topic[1] if topic else "", title[1], " ".join(abstract[1].split())[:LONGEST]))
    return found


def manual(folder: Path) -> list[tuple[str, str, str]]:
    """Part (what its name begins with), headings and the first paragraph under them, one of each page."""
    found = []
    for file in sorted(folder.glob("*.md")):
        title = ""
        for block in file.read_text(encoding="utf-8").split("\n\n"):
            line = block.strip()
            if line.startswith("#"):
                title = line.lstrip("# ") if line.startswith("# ") else f"{title} > {line.lstrip('# ')}"
            elif title and len(line) > 60 and re.match(r"[\u4e00-\u9fff\w]", line):
                found.append((re.split("[-_]", file.name)[0], title, line[:LONGEST]))
                break
    return found


def questions(file: Path, n: int) -> list[Pair]:
    data = read_questions(file)
    asked = {one.paragraph: one for one in random.Random(0).sample(list(data.questions), len(data.questions))}
    return [(one.question, data.paragraphs[one.paragraph][1]) for one in list(asked.values())[:n]]


def reciprocal_ranks(embedder: Embedder, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """``(n,)`` in (0, 1]."""
    passages = list(dict.fromkeys(passage for _, passage in pairs))
    right = [passages.index(passage) for _, passage in pairs]
    cosines = embedder.embed([query for query, _ in pairs], "query") @ embedder.embed(passages).T
    own = cosines[np.arange(len(pairs)), right]
    return np.asarray(1 / (1 + (cosines > own[:, None]).sum(axis=1)), dtype=np.float64)


def taught(base: str, pairs: Sequence[Pair], folder: Path, *, lora: bool) -> Embedder:
    file = folder.with_suffix(".jsonl")
    rows = [json.dumps({"query": query, "positive": passage}, ensure_ascii=False) for query, passage in pairs]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    options = (
        {"objective": "ranking", "lora": LoraSettings(rank=16, alpha=32, dropout=0.0), "epochs": 10, "batch_size": 25}
        if lora
        else {"objective": "linear"}
    )
    return Embedder(train("embedder", file, folder, base=base, holdout=0.0, **options).folder)


def teach(arguments: argparse.Namespace) -> None:
    arguments.output.mkdir(parents=True, exist_ok=True)
    before = Embedder(arguments.base)
    own = {"PEPs": peps(arguments.peps), "manual": manual(arguments.manual)}
    learned: dict[str, list[Pair]] = {}
    tests: dict[str, list[Pair]] = {}
    for name, rows in own.items():
        pairs = [(title, passage) for _, title, passage in random.Random(0).sample(rows, len(rows))]
        learned[name], tests[name] = pairs[:LEARNED], pairs[LEARNED : LEARNED + arguments.most]
    tests |= {file.parent.name: questions(file, arguments.most) for file in arguments.others}
    ranks = {name: reciprocal_ranks(before, pairs) for name, pairs in tests.items()}
    how = "LoRA" if arguments.lora else "linear"
    for name, pairs in learned.items():
        after = taught(arguments.base, pairs, arguments.output / f"{name}-{how}", lora=arguments.lora)
        for test, asked in tests.items():
            now = reciprocal_ranks(after, asked)
            gain = estimate_mean((now - ranks[test]).tolist())
            assert gain is not None
            print(
                f"{how}, {LEARNED} pairs of {name}, {gain.n} of {test}: "
                f"MRR {ranks[test].mean():.3f} → {now.mean():.3f}, "
                f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]",
                flush=True,
            )


def sort(arguments: argparse.Namespace) -> None:
    embedder = Embedder(arguments.base, cache=arguments.output / "vectors")  # every text once, whatever is drawn
    about = [(topic, text) for topic, _, text in peps(arguments.peps) if topic in ("Typing", "Packaging")]
    of = [(part, text) for part, _, text in manual(arguments.manual)]
    counts = {part: sum(one == part for one, _ in of) for part, _ in of}
    large = sorted(counts, key=lambda part: (-counts[part], part))[:6]
    for name, rows in (("PEPs", about), ("manual", [row for row in of if row[0] in large])):
        for n in (2, 4, 8):
            shares = [accuracy(rows, n, draw, embedder) for draw in range(DRAWS)]
            low, high = np.percentile(shares, [2.5, 97.5])
            kinds = len({kind for kind, _ in rows})
            print(f"{name}, {kinds} kinds, {n} of each: {np.mean(shares):.2f} ({low:.2f} – {high:.2f})", flush=True)


def accuracy(rows: Sequence[Pair], n: int, draw: int, embedder: EmbedderLike) -> float:
    """The mean over the kinds of the share that is right."""
    shuffled = random.Random(draw).sample(list(rows), len(rows))
    kinds = sorted({kind for kind, _ in rows})
    learned = [row for kind in kinds for row in [row for row in shuffled if row[0] == kind][:n]]
    told = [row for row in shuffled if row not in learned]
    classifier = FewShotClassifier(embedder).fit([text for _, text in learned], [kind for kind, _ in learned])
    found = [label.label for label in classifier.predict([text for _, text in told])]
    right = {kind: [guess == kind for guess, row in zip(found, told, strict=True) if row[0] == kind] for kind in kinds}
    return float(np.mean([np.mean(some) for some in right.values()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pairs", "kinds"])
    parser.add_argument("--peps", type=Path, required=True, help="a folder of pep-NNNN.rst")
    parser.add_argument("--manual", type=Path, required=True, help="a folder of Chinese Markdown")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="SQuAD files, to see what is spoiled")
    parser.add_argument("--output", type=Path, required=True, help="a folder for what is taught")
    parser.add_argument("--lora", action="store_true", help="adapters, in place of the linear layer")
    parser.add_argument("--most", type=int, default=200, help="queries of each kind")
    parser.add_argument("--base", default="e5-small")
    arguments = parser.parse_args()
    (teach if arguments.what == "pairs" else sort)(arguments)


if __name__ == "__main__":
    main()
