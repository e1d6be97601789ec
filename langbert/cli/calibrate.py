"""``langbert calibrate``: a store's own labelled questions say how much its confidence is worth."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import Output, StorePlace, command, plain_table

if TYPE_CHECKING:
    from ..answering.calibration import Calibrating
    from ..store.base import BaseStore


@command
def calibrate(
    output: Output,
    store: StorePlace,
    questions: Annotated[
        Path | None,
        typer.Option(
            help='JSON lines of {"question": …}, with "unanswerable": true where the documents do not tell; some '
            "twenty, half of each kind."
        ),
    ] = None,
    corpus: Annotated[str | None, typer.Option(help='Only the questions whose "corpus" is this.')] = None,
    share: Annotated[
        float,
        typer.Option(help="Of the questions to come, how many the documents will answer.", min=0.01, max=0.99),
    ] = 0.8,
    forget: Annotated[bool, typer.Option("--forget", help="Give up what was learned.")] = False,
) -> None:
    """Learn from labelled questions of your own when to refuse, and keep it with the store.

    Where the confidence comes out better for each question by what all the others say, it is kept, and ask, serve, Rag
    and the LangChain chain use it. Otherwise nothing changes.

    Examples:

        langbert calibrate --store my-index --questions my-questions.jsonl

        langbert calibrate --store my-index --forget
    """
    if forget == (questions is not None):
        raise typer.BadParameter("give --questions FILE, or --forget")
    from .stores import open_existing, open_plain

    if questions is None:
        with open_plain(store) as opened:
            opened.keep_calibration(None)
        if output.as_json:
            output.json({"calibration": None})
        output.note("Confidence in this store is as shipped again.")
        return
    from ..answering.calibration import check_counts
    from ..evaluation.questions import read_answerable

    asked = read_answerable(questions, corpus)
    check_counts([held for _, held in asked])  # before anything is loaded
    with open_existing(store, output) as opened:
        _run(opened, asked, share, output)


def _run(opened: BaseStore, asked: list[tuple[str, bool]], share: float, output: Output) -> None:
    from ..answering.calibration import ask_confidences, calibrate
    from ..answering.rag import Rag

    rag = Rag(opened, threshold=1.0, calibrated=False, offline=output.offline or None)
    with output.counting("asking", len(asked)) as progress:
        sure = ask_confidences(rag, [question for question, _ in asked], progress=progress)
    found = calibrate(sure, [held for _, held in asked], share=share)
    space = opened.space
    kept = replace(found.calibration, space=space.fingerprint if space is not None else "")
    if found.helps:
        opened.keep_calibration(kept)
    if output.as_json:
        rows = [{"question": q, "answerable": held, "confidence": c} for (q, held), c in zip(asked, sure, strict=True)]
        output.json({**replace(found, calibration=kept).to_dict(), "kept": found.helps, "questions": rows})
    else:
        _show(found, output)


def _show(found: Calibrating, output: Output) -> None:
    table = plain_table("at 0.5", "as shipped", "by the other questions")
    names = {
        "answered": "answered of those with an answer",
        "refused": "refused of the others",
        "right": "right, in your use",
        "loss": "loss in nats",
    }
    for (name, before), after in zip(asdict(found.before).items(), asdict(found.after).values(), strict=True):
        table.add_row(names[name], f"{before:.2f}", f"{after:.2f}")
    output.out.print(table)
    told = found.calibration
    was = told.was(0.5)
    if found.helps:
        output.say(f"Kept: a confidence of {was:.2f} counts as 0.50 in this store (slope {told.slope:g}).")
    else:
        output.say("Nothing kept: on these questions the shipped confidence is better than what they teach.")
