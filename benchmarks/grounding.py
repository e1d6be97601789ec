"""How well :mod:`langbert.answering.checking` tells supported claims from unsupported ones, and its coefficients.

    python benchmarks/grounding.py SQUAD.json [--also cmrc2018/dev.json] [--questions 1200] [--write]

Claims are made from the file's own questions and paragraphs, so that their labels are known. Supported: question and
answer as a statement, the sentence that holds the answer, that sentence shortened or with its clauses turned round,
and another sentence of the passage. Unsupported: those with another number, another name of the article, a
negation or two names swapped, and all of them before passages that do not say it, of the same article or another.
The articles of one half fit the model and choose the threshold; the other half is what the numbers are from. The last
line is what answers meet: a claim also passes if it says, in the question's words, what the reader has found.
``--also`` reports a second file, of any language, with the same coefficients.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np
from asked.coefficients import write_fitted
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from langbert import Candidate, Chunk, Embedder, Reader
from langbert.answering.checking import ClaimFeatures, claim_features, numbers
from langbert.answering.evidence import Evidence, best_evidence
from langbert.answering.grounding import Passages, restated
from langbert.evaluation.datasets import Question, QuestionSet, read_questions
from langbert.evaluation.scoring import best_over_answers
from langbert.text.scripts import has_han
from langbert.text.sentences import sentences

PASSAGES = 4  # that a claim is looked for in, as in a prompt
WORDS = [field.name for field in fields(ClaimFeatures)]
READER = ["answer", "clash"]
SETS = {  # what each way of checking looks at
    "share of words": ["share"],
    "share, numbers, names": ["share", "numbers", "names"],
    "words": WORDS,
    "words, vectors": [*WORDS, "cosine"],
    "words, reader": [*WORDS, *READER],
    "words, vectors, reader": [*WORDS, "cosine", *READER],
}
COLUMNS = [*WORDS, "share", "numbers", "names", "cosine", *READER, "restated"]
SHIPPED = "words"


@dataclass(frozen=True)
class Claim:
    kind: str
    supported: bool
    text: str
    question: str
    passages: tuple[str, ...]
    title: str


def statement(question: str, answer: str) -> str | None:
    """Question and answer as one statement; None where that needs grammar."""
    asked, answer = question.strip().rstrip("?？ "), answer.rstrip(". ")
    if has_han(asked):
        wanted = re.search("什么时候|哪一年|什么|哪[里儿个位些]|谁|多少|几", asked)
        return asked[: wanted.start()] + answer + asked[wanted.end() :] + "。" if wanted else None
    subject = re.match(
        r"(?:who|what|which)(?: [a-z]+)? (?!did |do |does |is |are |was |were |has |have |can )(?=\w+s? )", asked, re.I
    )
    copula = re.match(r"(?:what|who|where|when) (is|are|was|were) (.+)", asked, re.I)
    helped = re.match(
        r"(?:(in|on|at|from|to|for|by|with) )?(?:what|which|who|when|where|how m\w+)\b.*? (?:did|do|does) (.+)",
        asked,
        re.I,
    )
    if helped:
        before, rest = helped[1] or ("in" if numbers(answer) else ""), helped[2]
        return f"{rest[0].upper()}{rest[1:]} {before} {answer}.".replace("  ", " ")
    if copula:
        return f"{copula[2][0].upper()}{copula[2][1:]} {copula[1]} {answer}."
    if subject:
        return f"{answer[0].upper()}{answer[1:]} {asked[subject.end() :]}."
    return None


def claims(data: QuestionSet, count: int, seed: int = 0) -> Iterator[Claim]:
    """Both kinds, from ``count`` questions drawn at random."""
    rng = random.Random(seed)
    articles: dict[str, list[str]] = defaultdict(list)
    for title, text in data.paragraphs.values():
        articles[title].append(text)
    if len(articles) == len(data.paragraphs):  # one paragraph each: a set without articles is one of neighbours
        articles = {
            title: [text for other in list(articles)[i : i + 8] for text in articles[other]]
            for i, title in enumerate(articles)
        }
    everything = [text for _, text in data.paragraphs.values()]
    asked = [question for question in data.questions if question.answers]
    for question in rng.sample(asked, min(count, len(asked))):
        own = data.paragraphs[question.paragraph][1]
        near = [text for text in articles[question.title] if text != own and question.answers[0] not in text]
        far = [text for text in rng.sample(everything, 12) if text not in articles[question.title]]
        yield from _of_question(question, own, near, far, rng)


def _of_question(question: Question, own: str, near: list[str], far: list[str], rng: random.Random) -> Iterator[Claim]:
    answer, start = question.answers[0], question.answer_starts[0]
    spans = sentences(own)
    holds = next((own[a:b] for a, b in spans if a <= start < b), own)
    others = [own[a:b] for a, b in spans if own[a:b] != holds and b - a > 30]
    said = statement(question.question, answer)
    true = {
        "the sentence itself": holds,
        "question and answer": said,
        "shortened": _shortened(holds, answer, rng),
        "reordered": _reordered(holds),
    }
    true["another sentence"] = rng.choice(others) if others and rng.random() < 0.4 else None
    passages = [own, *rng.sample(near, min(len(near), PASSAGES - 1))]
    rng.shuffle(passages)
    make = lambda kind, supported, text, passages=passages: Claim(  # noqa: E731
        kind, supported, text, question.question, tuple(passages), question.title
    )
    kept = {kind: text for kind, text in true.items() if text and len(text) > 12}
    for kind, text in kept.items():
        yield make(kind, True, text)
    whole = " ".join([own, *near])
    changes: dict[str, Callable[[str], str | None]] = {
        "another number": lambda text: _other_number(text, whole, rng),
        "another name": lambda text: _other_name(text, answer, own, whole, rng),
        "negation": _negated,
        "swapped roles": _swapped,
    }
    for kind, change in changes.items():
        base = rng.choice(list(kept.values())) if kept else holds
        if (false := change(base)) and false not in own:
            yield make(kind, False, false)
    if said and len(near) >= PASSAGES and rng.random() < 0.6:
        yield make("wrong passage", False, said, rng.sample(near, PASSAGES))
        yield make("absent article", False, said, far[:PASSAGES])
    elif len(near) >= PASSAGES and rng.random() < 0.4:
        yield make("wrong passage", False, holds, rng.sample(near, PASSAGES))
        yield make("absent article", False, holds, far[:PASSAGES])


def _shortened(sentence: str, answer: str, rng: random.Random) -> str | None:
    """Without a clause or some small words, never without the answer."""
    parts = re.split(r"(?<=[,;，；]) ?", sentence)
    if len(parts) > 2:
        gone = rng.randrange(1, len(parts))
        shorter = " ".join(part for i, part in enumerate(parts) if i != gone or answer in part)
        return shorter if shorter != sentence else None
    words = sentence.split()
    kept = [word for word in words if word in answer or word.lower() not in {"the", "also", "very", "a", "an", "which"}]
    return " ".join(kept) if len(kept) < len(words) else None


def _reordered(sentence: str) -> str | None:
    """What follows the first comma in front: "In 1066, they came." → "They came, in 1066."."""
    match = re.fullmatch(r"([^,，]{8,60})([,，]) ?([^,，]{15,}?)([.。])", sentence)
    if not match:
        return None
    first, comma, second, stop = match.groups()
    return f"{second[0].upper()}{second[1:]}{comma} {first[0].lower()}{first[1:]}{stop}"


def _other_number(text: str, article: str, rng: random.Random) -> str | None:
    """A number of the article that the sentence does not have; at times one that nobody said."""
    found = re.findall(r"\d[\d,.]*\d|\d", text)
    if not found:
        return None
    old = rng.choice(found)
    near = [n for n in re.findall(r"\d[\d,.]*\d|\d", article) if numbers(n) - numbers(text) and len(n) == len(old)]
    new = (
        rng.choice(near)
        if near and rng.random() < 0.7
        else str(int(re.sub(r"\D", "", old)) + rng.choice([-20, -1, 1, 3, 10]))
    )
    return text.replace(old, new, 1) if numbers(new) - numbers(text) else None


def proper(text: str) -> list[str]:
    return re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", text)


def _other_name(text: str, answer: str, own: str, article: str, rng: random.Random) -> str | None:
    """The answer, or a name, replaced by another name: of the passage at times, which is the harder to see."""
    old = answer if answer in text and proper(f"a {answer}") else next(iter(proper(text)), None)
    pool = [name for name in proper(own if rng.random() < 0.5 else article) if name not in text and name not in answer]
    return text.replace(old, rng.choice(pool), 1) if old and pool else None


def _negated(text: str) -> str | None:
    if has_han(text):
        new = re.sub(r"(?<!不)(是|有|在|能|会|可以)", lambda m: {"有": "没有"}.get(m[0], "不" + m[0]), text, count=1)
    else:
        new = re.sub(r"\b(is|was|are|were|has|have|had|can|could|will|would)\b(?! not)", r"\1 not", text, count=1)
    return new if new != text else None


def _swapped(text: str) -> str | None:
    names = list(dict.fromkeys(proper(text)))
    if len(names) < 2 or names[0] in names[1] or names[1] in names[0]:
        return None
    return text.replace(names[0], "\0").replace(names[1], names[0]).replace("\0", names[1])


def measured(rows: list[Claim], embedder: Embedder, reader: Reader | None) -> tuple[NDArray[np.float64], list[float]]:
    """``(n, 13)``: the :data:`COLUMNS` of every claim, noughts where no words are found; seconds for ``WORDS``."""
    found, seconds = [], []
    spans: dict[tuple[str, tuple[str, ...]], list[Evidence]] = {}
    for claim in rows:
        chunks = [Chunk(str(i), str(i), text, source=claim.title) for i, text in enumerate(claim.passages)]
        candidates = [Candidate(chunk, 1.0) for chunk in chunks]
        passages = Passages(candidates)
        begun = time.perf_counter()
        stretch = passages.nearest(claim.text, claim.question)
        if stretch is None:
            found.append([0.0] * len(COLUMNS))
            continue
        words = claim_features(claim.text, stretch.quote, title=claim.title, question=claim.question)
        seconds.append(time.perf_counter() - begun)
        said, names = numbers(claim.text), set(proper(claim.text))
        row = asdict(words) | {
            "share": stretch.score,
            "numbers": len(said - numbers(stretch.quote)) / max(len(said), 1),
            "names": sum(name not in stretch.quote for name in names) / max(len(names), 1),
        }
        one, other = embedder.embed([claim.text, stretch.quote])
        row |= {"cosine": float(one @ other), "answer": 0.0, "clash": 0.0, "restated": 0.0}
        if reader is not None:
            row |= dict(zip(READER, answers(claim, stretch.quote, reader), strict=True))
            asked = (claim.question, claim.passages)
            if asked not in spans:
                spans[asked] = best_evidence(claim.question, candidates, reader)
            row["restated"] = float(restated(claim.text, claim.question, spans[asked]) is not None)
        found.append([row[column] for column in COLUMNS])
    return np.array(found), seconds


def answers(claim: Claim, quote: str, reader: Reader) -> tuple[float, float]:
    """How far the reader's answers out of claim and quote agree (F1), and how sure it is that they do not."""
    spans = [reader.read(claim.question, [text], top_n=1)[0] for text in (claim.text, quote)]
    same = best_over_answers(spans[0].text, [spans[1].text]).f1
    return same, (1.0 - same) * (spans[0].score * spans[1].score) ** 0.5


def chosen_threshold(labels: NDArray[np.bool_], scores: NDArray[np.float64], wanted: float = 0.9) -> float:
    """The lowest at which nine of ten sentences that are let through are supported; else where half of those are."""
    grid = np.unique(np.quantile(scores[scores > 0], np.linspace(0, 1, 401)))
    good = [t for t in grid if labels[scores >= t].mean() >= wanted]
    return float(min(good, default=np.median(scores[labels])))


def report(name: str, labels: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> None:
    through = scores >= threshold
    precision = labels[through].mean() if through.any() else float("nan")
    figures = (roc_auc_score(labels, scores), precision, through[labels].mean(), threshold)
    print(f"| {name} |", *(f"{figure:.3f} |" for figure in figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a SQuAD JSON file")
    parser.add_argument("--also", help="another one, of any language, reported only")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="put the coefficients into langbert/answering/fitted.json")
    parser.add_argument("--show", type=int, default=0, help="print so many claims of each kind instead")
    arguments = parser.parse_args()
    rows = list(claims(read_questions(arguments.data), arguments.questions))
    kinds = np.array([claim.kind for claim in rows])
    if arguments.show:
        for kind in dict.fromkeys(kinds):
            print(f"\n{kind}", *[claim.text for claim in rows if claim.kind == kind][: arguments.show], sep="\n  ")
        return
    embedder, reader = Embedder("minilm"), Reader()
    seen, seconds = measured(rows, embedder, reader)
    labels = np.array([claim.supported for claim in rows])
    articles = sorted({claim.title for claim in rows})
    random.Random(1).shuffle(articles)
    dev = np.array([claim.title in articles[: len(articles) // 2] for claim in rows])
    found = seen.any(axis=1)
    print(f"{dev.sum()} claims to choose on, {(~dev).sum()} to report, {labels[~dev].mean():.0%} of them supported\n")
    print("| | AUROC | precision | recall | threshold |\n|---|---|---|---|---|")
    others = list(claims(read_questions(arguments.also), arguments.questions // 3)) if arguments.also else []
    others_seen = measured(others, embedder, None)[0] if others else np.zeros((0, len(COLUMNS)))
    lines = []
    for name, wanted in SETS.items():
        columns = [COLUMNS.index(column) for column in wanted]
        model = LogisticRegression(C=10, max_iter=3000).fit(seen[dev & found][:, columns], labels[dev & found])
        scores = np.where(found, model.predict_proba(seen[:, columns])[:, 1], 0.0)
        threshold = chosen_threshold(labels[dev], scores[dev])
        report(name, labels[~dev], scores[~dev], threshold)
        if name == SHIPPED:
            shipped, at = np.maximum(scores, seen[:, COLUMNS.index("restated")]), threshold
            weights = dict(zip(wanted, model.coef_[0].round(2).tolist(), strict=True))
            weights |= {"bias": round(float(model.intercept_[0]), 2), "supported": round(float(threshold), 2)}
            lines.append(f"\n{name}: {weights}; lets through")
            if arguments.write:
                write_fitted("checking", weights)
            for kind in dict.fromkeys(kinds):
                these = (kinds == kind) & ~dev
                shares = [np.mean(each[these] >= threshold) for each in (scores, shipped)]
                lines.append(f"  {kind:20} {shares[0]:.3f}, with restatements {shares[1]:.3f}, of {these.sum()}")
        if others and name == SHIPPED:
            there = others_seen.any(axis=1)
            truth = np.array([claim.supported for claim in others])
            found_scores = np.where(there, model.predict_proba(others_seen[:, columns])[:, 1], 0.0)
            report(f"words: {arguments.also}, {len(others)} claims", truth, found_scores, threshold)
    report("words, or restated", labels[~dev], shipped[~dev], at)
    print(*lines, sep="\n")
    print(f"\n{1000 * statistics.median(seconds):.1f} ms a claim (median)")


if __name__ == "__main__":
    main()
