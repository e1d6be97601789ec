"""Answers out of research papers: is the right one cited (ARAGOG, Eibich et al. 2024).

    python benchmarks/aragog.py --data FOLDER [--mode auto] [--seconds 140]
    python benchmarks/aragog.py --write-docs docs/answers-benchmarks.md

The folder holds ``papers/*.pdf`` and ``eval_questions_relevant_doc.json`` with ``questions``, ``ground_truths`` and
``filepaths``. Questions about a paper that is not in the folder should be refused. Every answer is kept in --folder as
soon as it is given; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from answering.page import ARAGOG, found_in, write_page
from answering.tables import report
from side_by_side.machine import versions
from side_by_side.program import say
from side_by_side.rounds import Budget

from langbert import Answer, Embedder, Generator, Rag, Store, read_documents
from langbert.evaluation.runs import RunFile
from langbert.evaluation.scoring import best_over_answers

QUESTIONS = "eval_questions_relevant_doc.json"
_FOUND = 5  # how deep a paper counts as found
_FIRST = 5.0  # seconds that the first answer may take


def measure(args: argparse.Namespace) -> bool:
    """Whether everything has been asked."""
    data = json.loads((args.data / QUESTIONS).read_text(encoding="utf-8"))
    papers = sorted((args.data / "papers").glob("*.pdf"))
    embedder, budget = Embedder("e5-small"), Budget(args.seconds)
    with Store.open(args.folder / "papers", embedder=embedder) as store:
        store.add(read_documents(papers))
        writer = Generator() if args.mode != "extract" else None
        rag = Rag(store, generator=writer)
        settings = {
            "kind": "papers",
            "data": ARAGOG,
            "mode": args.mode,
            "papers": len(papers),
            "chunks": len(store),
            "machine": versions("torch"),
        }
        with RunFile(args.folder / f"{ARAGOG}.jsonl", settings, resume=True) as file:
            taken = [_FIRST]
            asked = zip(data["questions"], data["ground_truths"], data["filepaths"], strict=True)
            for number, (question, truth, paper) in enumerate(asked):
                if str(number) in file.rows:
                    continue
                if not budget.allows(max(taken)):
                    return False
                found = [candidate.chunk.source for candidate in rag.retriever_for(question).retrieve(question, _FOUND)]
                answer = rag.ask(question, mode=args.mode)
                taken.append(2 * answer.timings["total"])
                row = scored(answer, truth, paper, found, embedder)
                file.append({"id": str(number), "question": question, "here": paper in {p.name for p in papers}, **row})
                say(f"{number + 1}, {paper}: {row['cited'] or 'refused'}")
    return True


def scored(answer: Answer, truth: str, paper: str, found: list[str], embedder: Embedder) -> dict[str, Any]:
    """The rest of a row."""
    cited = list(dict.fromkeys(citation.source for citation in answer.citations))
    text = "" if answer.refused else answer.text
    vectors = embedder.embed([text, truth])
    return {
        "paper": paper,
        "truth": truth,
        "answer": text,
        "refused": answer.refused,
        "confidence": answer.confidence,
        "cited": cited,
        "seconds": answer.timings["total"],
        "scores": {
            "cited": float(paper in cited),
            "cited_first": float(cited[:1] == [paper]),
            "found_first": float(found[:1] == [paper]),
            "found": float(paper in found),
            "similarity": float(vectors[0] @ vectors[1]) if text else 0.0,
            "f1": best_over_answers(text, [truth]).f1,
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of the collection")
    parser.add_argument("--mode", choices=("auto", "extract", "generate"), default="auto")
    parser.add_argument("--seconds", type=float, help="begin nothing that would not end within so many seconds")
    parser.add_argument("--folder", type=Path, default=Path("answers-benchmark"), help="where the answers are kept")
    parser.add_argument("--again", action="store_true", help="forget earlier answers first")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="only fill the page")
    args = parser.parse_args()
    if args.write_docs:
        write_page(args.write_docs, found_in(args.folder))
        return 0
    if args.data is None or not (args.data / QUESTIONS).is_file():
        parser.error(f"--data FOLDER is missing: one that holds papers/*.pdf and {QUESTIONS}")
    if args.again:
        (args.folder / f"{ARAGOG}.jsonl").unlink(missing_ok=True)
    complete = measure(args)
    print(report({"aragog": found_in(args.folder)["aragog"]}))
    if not complete:
        say("Not everything is asked yet: the same command goes on.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
