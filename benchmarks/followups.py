"""How well the passage that answers a follow-up question is found, with the question made to stand alone or not.

    python benchmarks/followups.py SQUAD.json [--decoder 60]
    python benchmarks/followups.py CMRC.json --words

Follow-ups are made of the file's own questions: two on one paragraph that name the same thing, the second with a
pronoun in its place. The first question and its answer are the conversation. For comparison, questions without a
pronoun about another article, which a rewriting must leave alone. ``--decoder N`` lets the shipped decoder rewrite the
first N of them, too (a second or two each). In Chinese, questions that name the article's title have 它 in its place,
or nothing, as Chinese often leaves it out. ``--words`` searches by words alone, without an encoder.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from langbert import Embedder, Generator, Store
from langbert.answering.follow_up import rewriting_messages, standalone_question
from langbert.evaluation import read_retrieval_set
from langbert.evaluation.datasets import Question, QuestionSet, read_questions
from langbert.evaluation.retrieval import corpus_chunks
from langbert.records import Message, SearchMode
from langbert.text.scripts import has_han

NAME = re.compile(r"(?:[A-Z][\w-]+)(?: (?:of |the |de )?[A-Z][\w-]+)*")
ASKING = {
    "What",
    "Who",
    "When",
    "Where",
    "Which",
    "Why",
    "How",
    "In",
    "The",
    "On",
    "At",
    "By",
    "For",
    "From",
    "To",
    "Did",
    "Was",
    "Is",
    "Does",
}
PRONOUNS = {"he": ("he", "his"), "she": ("she", "her"), "they": ("they", "their"), "it": ("it", "its")}


class FollowUp(NamedTuple):
    history: list[Message]
    asked: str
    meant: str
    paragraph: str


def names(question: str) -> list[str]:
    found = [re.sub(rf"^(?:{'|'.join(ASKING)}) ", "", name) for name in NAME.findall(question)]
    return [name for name in found if name not in ASKING and len(name) > 3]


def pronouns(name: str, passage: str) -> tuple[str, str]:
    """What the passage would call it."""
    if re.search(r"s$", name) and not re.search(r"\b(he|his|she|her)\b", passage):
        return PRONOUNS["they"]
    count = {word: len(re.findall(rf"\b{word}\b|\b{PRONOUNS[word][1]}\b", passage, re.I)) for word in ("he", "she")}
    word = max(count, key=lambda w: count[w])
    return PRONOUNS[word if count[word] > 1 else "it"]


def follow_ups(data: QuestionSet, seed: int = 0) -> Iterator[FollowUp]:
    """One a paragraph at most."""
    together: dict[str, list[Question]] = defaultdict(list)
    for question in data.questions:
        if question.answers:
            together[question.paragraph].append(question)
    pairs = list(together.items())
    random.Random(seed).shuffle(pairs)
    for _, questions in pairs:
        made = next(
            (follow_up for first, second in pairwise(questions) for follow_up in made_of(first, second, data)),
            None,
        )
        if made:
            yield made


def made_of(first: Question, second: Question, data: QuestionSet) -> Iterator[FollowUp]:
    title, passage = data.paragraphs[second.paragraph]
    if has_han(second.question):
        yield from made_of_title(first, second, title)
        return
    for name in names(second.question):
        if name in first.question or name in first.answers[0]:
            subject, owner = pronouns(name, passage)
            asked = re.sub(rf"\b(?:[Tt]he )?{re.escape(name)}['’]s?(?=\W)", owner, second.question)
            asked = re.sub(rf"\b(?:[Tt]he )?{re.escape(name)}\b", subject, asked)
            if not set(names(asked)) & set(name.split()):
                history = [Message("user", first.question), Message("assistant", f"{first.answers[0]}.")]
                yield FollowUp(history, asked[0].upper() + asked[1:], second.question, second.paragraph)


def made_of_title(first: Question, second: Question, title: str) -> Iterator[FollowUp]:
    """With 它 for the title, or where the question's length is even, nothing."""
    if len(title) > 1 and title in first.question and title in second.question:
        gone = len(second.question) % 2 == 0
        named = f"《?{re.escape(title)}》?"
        asked = re.sub(f"{named}的?" if gone else named, "" if gone else "它", second.question)
        if title not in asked and len(asked) > 3:
            history = [Message("user", first.question), Message("assistant", f"{first.answers[0]}。")]
            yield FollowUp(history, asked, second.question, second.paragraph)


def other_topics(made: list[FollowUp], data: QuestionSet, seed: int = 1) -> Iterator[FollowUp]:
    """Each conversation followed by a question on something else, with nothing left out."""
    rng = random.Random(seed)
    plain = [
        q
        for q in data.questions
        if q.answers
        and (names(q.question) or data.paragraphs[q.paragraph][0] in q.question)
        and not re.search(r"\b(?:it|its|he|his|she|her|they|their|this|these|that|those)\b", q.question, re.I)
    ]
    title = {name: article for name, (article, _) in data.paragraphs.items()}
    for one in made:
        other = rng.choice(plain)
        if title[other.paragraph] != title[one.paragraph]:
            yield FollowUp(one.history, other.question, other.question, other.paragraph)


def recall(store: Store, rows: list[FollowUp], ask: Callable[[FollowUp], str], k: int = 5) -> float:
    mode: SearchMode = "lexical" if store.embedder is None else "hybrid"
    found = [any(c.document_id == row.paragraph for c in store.search(ask(row), k, mode=mode)) for row in rows]
    return sum(found) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a SQuAD JSON file")
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--decoder", type=int, default=0, help="let the shipped decoder rewrite so many")
    parser.add_argument("--words", action="store_true", help="search by words alone")
    parser.add_argument("--show", type=int, default=0, help="print so many follow-ups instead")
    arguments = parser.parse_args()
    data = read_questions(arguments.data)
    rows = list(follow_ups(data))[: arguments.questions]
    if arguments.show:
        for row in rows[: arguments.show]:
            print(
                row.history[0].content,
                "|",
                row.history[1].content,
                "|",
                row.asked,
                "|",
                standalone_question(row.asked, "", row.history),
            )
        return
    store = Store.open() if arguments.words else Store.open(embedder=Embedder("minilm"))
    store.add(corpus_chunks(read_retrieval_set(arguments.data)))
    others = list(other_topics(rows, data))
    ways: dict[str, Callable[[FollowUp], str]] = {
        "as asked": lambda row: row.asked,
        "what was meant": lambda row: row.meant,
        "the whole conversation": lambda row: " ".join([row.asked, *(turn.content for turn in row.history)]),
        "key words (shipped)": lambda row: standalone_question(row.asked, "", row.history),
    }
    print(f"| recall@5 | {len(rows)} follow-ups | {len(others)} other topics |\n|---|---|---|")
    for name, way in ways.items():
        print(f"| {name} | {recall(store, rows, way):.3f} | {recall(store, others, way):.3f} |", flush=True)
    if arguments.decoder:
        generator = Generator()
        some, more = rows[: arguments.decoder], others[: arguments.decoder]
        written = {
            id(row): generator.generate(rewriting_messages(row.asked, row.history), max_tokens=48, stop=["\n"]).text
            for row in some + more
        }
        ways["decoder, unchecked"] = lambda row: written[id(row)] or row.asked
        ways["decoder where believed, else key words"] = lambda row: standalone_question(
            row.asked, written[id(row)], row.history
        )
        print(f"\n| recall@5 | the first {len(some)} | {len(more)} other topics |\n|---|---|---|")
        for name, way in ways.items():
            print(f"| {name} | {recall(store, some, way):.3f} | {recall(store, more, way):.3f} |")


if __name__ == "__main__":
    main()
