"""langbert's answers against the stack a LangChain user builds today from the same models: same questions, in turns.

    pip install "langbert[bench-answers]"
    python benchmarks/answers.py --data SQUAD.json [--questions 120] [--seconds 140]
    python benchmarks/answers.py --data SQUAD.json --write-docs docs/answers-benchmarks.md

Asked are --questions that the paragraphs answer, evenly spread; half as many of these once more without their article,
which should be refused; and, of a SQuAD 2.0 file, half as many that are not answered though their paragraph looks like
it. Contenders take turns question by question. Every answer is kept in --folder as soon as it is given, in the files
that `langbert eval compare` reads. With ``--seconds`` a run stops in time and says so; the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import torch
from side_by_side.machine import versions
from side_by_side.program import chosen, say
from side_by_side.rounds import Budget

from langbert.bench.timing import rotated
from langbert.evaluation import Question, QuestionSet, read_questions
from langbert.evaluation.answers import AnswerKind, row_id, score_answer
from langbert.evaluation.datasets import spread
from langbert.evaluation.runs import RunFile
from langbert.models.hardware import planned_threads

LIBRARIES = ("torch", "llama-cpp-python", "langchain-community", "langchain-huggingface", "faiss-cpu")
_FIRST = 5.0  # seconds that the first answer may take


def plan(data: QuestionSet, count: int) -> list[tuple[Question, AnswerKind]]:
    """What is asked, the kinds mixed, so that a run broken off has some of each."""
    held = spread([question for question in data.questions if question.answers], count)
    open_ones = spread([question for question in data.questions if not question.answers], count // 2)
    kinds: dict[AnswerKind, list[Question]] = {
        "answerable": held,
        "unanswerable": open_ones,
        "absent": spread(held, count // 2),
    }
    asked = [(i / len(some), question, kind) for kind, some in kinds.items() for i, question in enumerate(some)]
    return [(question, kind) for _, question, kind in sorted(asked, key=lambda each: each[0])]


def measure(args: argparse.Namespace) -> bool:
    """Whether everything has been asked."""
    from answering.contenders import contenders

    data, threads, budget = read_questions(args.data), planned_threads(args.threads), Budget(args.seconds)
    torch.set_num_threads(threads)
    known = {name: found for name, found in contenders(data, threads).items() if name in args.contenders}
    asked = plan(data, args.questions)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(RunFile(run_file(args, name), settings(args, data, label), resume=True))
            for name, (label, _) in known.items()
        }
        pending = [
            (turn, question, kind, name)
            for turn, (question, kind) in enumerate(asked)
            for name in rotated(list(known), turn)
            if row_id(question, kind) not in files[name].rows
        ]
        loaded = {name: known[name][1]() for name in known if any(name == each[3] for each in pending)}
        for answerer in loaded.values():
            answerer.ask(asked[0][0].question)  # the first answer of each does not count
        taken: list[float] = []
        for turn, question, kind, name in pending:
            if not budget.allows(max(taken, default=_FIRST)):
                return False
            start = time.perf_counter()
            answer = loaded[name].ask(question.question, question.title if kind == "absent" else None)
            taken.append(time.perf_counter() - start)
            row = score_answer(question, kind, answer, data.paragraphs[question.paragraph][1])
            files[name].append(row.to_dict())
            say(f"{turn + 1} of {len(asked)}, {kind}, {name}: {taken[-1]:.2f} s, merit {row.merit:.2f}")
        if taken:
            say(f"{len(taken)} answers, median {median(taken):.2f} s")
    return True


def settings(args: argparse.Namespace, data: QuestionSet, label: str) -> dict[str, object]:
    return {
        "kind": "answers",
        "data": data.name,
        "label": label,
        "questions": args.questions,
        "passages": len(data.paragraphs),
        "machine": versions(*LIBRARIES) | {"threads": str(planned_threads(args.threads))},
    }


def run_file(args: argparse.Namespace, name: str) -> Path:
    folder: Path = args.folder
    return folder / f"{name}.jsonl"


def main() -> int:
    from answering.page import found_in, write_page
    from answering.tables import report

    names = ("langbert", "langbert-extract", "langbert-generate", "langchain")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a SQuAD JSON file, 1.1 or 2.0")
    parser.add_argument("--questions", type=int, default=120, help="that are answered there")
    parser.add_argument("--contenders", default=",".join(names), help="with commas between them; by default all")
    parser.add_argument("--threads", type=int, help="for every contender; by default every core")
    parser.add_argument("--seconds", type=float, help="begin nothing that would not end within so many seconds")
    parser.add_argument("--folder", type=Path, default=Path("answers-benchmark"), help="where the answers are kept")
    parser.add_argument("--again", action="store_true", help="forget these contenders' earlier answers first")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="only fill the page")
    args = parser.parse_args()
    args.contenders = chosen(parser, "contenders", args.contenders, names)
    if args.write_docs:
        write_page(args.write_docs, found_in(args.folder))
        return 0
    if args.data is None:
        parser.error("--data FILE is missing: a SQuAD JSON file")
    os.environ.update(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")
    warnings.filterwarnings("ignore", "`langchain-community` is being sunset", DeprecationWarning)
    if args.again:
        for name in args.contenders:
            run_file(args, name).unlink(missing_ok=True)
    complete = measure(args)
    print(report(found_in(args.folder)))
    if not complete:
        say("Not everything is asked yet: the same command goes on.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
