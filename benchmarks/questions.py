"""People's questions as a page: what the answers come to, and every sixth of them as it came out.

    langbert eval questions --data QUESTIONS.jsonl --store … --threshold 0 --answers ANSWERS.jsonl
    langbert eval questions --data QUESTIONS.jsonl --store … --answers AS-IT-IS.jsonl
    python benchmarks/questions.py QUESTIONS.jsonl ANSWERS.jsonl AS-IT-IS.jsonl > docs/questions.md

What stands above ``<!-- measured -->`` in the page is written by hand and kept.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from langbert.evaluation import QuestionRow, read_asked_questions, read_given_answers, report_questions

PAGE = Path(__file__).parents[1] / "docs" / "questions.md"
MARK = "<!-- measured -->\n"
EVERY = 6
SHOWN = 900  # characters of an answer
GROUPS = (("all", "**all**"), ("lang=en", "en"), ("lang=zh", "zh"))
KINDS = ["factoid", "definition", "why", "how-to", "list", "compare", "yesno", "table", "multi", "which-doc"]


def rows(questions: Path, answers: Path) -> list[QuestionRow]:
    given = read_given_answers(answers)
    return [QuestionRow(asked, given[asked.id]) for asked in read_asked_questions(questions)]


def table(told: list[QuestionRow], refusing: list[QuestionRow]) -> Iterator[str]:
    groups = report_questions(told, name="", mode="").groups
    default = report_questions(refusing, name="", mode="").groups
    yield "| | questions | facts held | right file cited first | facts held by default | answered by default |"
    yield "|---|---|---|---|---|---|"
    for group, name in (*GROUPS, *((f"kind={kind}", kind) for kind in KINDS)):
        found, usual = groups[group], default[group]
        yield (
            f"| {name} | {found['nuggets'].n} | {found['nuggets'].value:.2f} | {found['source'].value:.2f} "
            f"| {usual['nuggets'].value:.2f} | {usual['answered'].value:.2f} |"
        )
    one, usual = groups["all"], default["all"]
    wrong, refused = usual["wrong"].value, usual["refused"]
    yield (
        f"\nOf all questions {one['wrong'].value:.2f} get an answer that holds none of the facts; by default it is "
        f"{wrong:.2f}, and {refused.value:.2f} of the {refused.n} without an answer are refused. The confidence puts "
        f"those that have an answer above those that have none in {one['auroc'].value:.2f} of the pairs (AUROC)."
    )


def sample(row: QuestionRow) -> Iterator[str]:
    asked, given = row.question, row.given
    held = "has no answer there" if asked.unanswerable else f"{row.nuggets:.2f} of the facts"
    sources = ", ".join(dict.fromkeys(cited.source for cited in given.citations))
    yield f"**{asked.question}** ({asked.kind}; confidence {given.confidence:.2f}; {held}; from {sources})\n"
    text = re.sub(r"\]\([^)\s]*\)", "]", given.answer)
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]} …"
    yield "\n".join(f"    {line}".rstrip() for line in text.split("\n")) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("questions", "answers", "default"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    told = rows(arguments.questions, arguments.answers)
    print(PAGE.read_text(encoding="utf-8").partition(MARK)[0] + MARK)
    print(*table(told, rows(arguments.questions, arguments.default)), sep="\n")
    print("\n## Every sixth of them, as it came out\n")
    print("Good and bad, unedited but for the targets of links, and without the quotes, which repeat the answer.\n")
    for row in told[::EVERY]:
        print(*sample(row), sep="\n")


if __name__ == "__main__":
    main()
