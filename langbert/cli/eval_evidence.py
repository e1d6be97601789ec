"""``langbert eval evidence``: the sentences that an answer shows against those that people underlined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import Output, SoMany, command, interval, plain_table
from .stores import DEFAULT_EMBEDDER, make_embedder


@command
def evidence(
    output: Output,
    data: Annotated[
        list[Path],
        typer.Option(help="JSON lines in ClapNQ's or HotpotQA's form; several times for one corpus.", exists=True),
    ],
    questions: SoMany = None,
    embedder: Annotated[str, typer.Option(help="Of the store that is made in memory.")] = DEFAULT_EMBEDDER,
) -> None:
    """Are the sentences shown those that people underlined, and does the confidence tell what is answered at all.

    Examples:

        langbert eval evidence --data clapnq/dev_answerable.jsonl --data clapnq/dev_unanswerable.jsonl

        langbert eval evidence --data hotpotqa/dev.json
    """
    from dataclasses import replace

    from ..answering.rag import Rag
    from ..evaluation import evaluate_evidence, read_evidence
    from ..evaluation.datasets import spread
    from ..store import Store

    asked = read_evidence(*data)
    asked = replace(asked, questions=spread(asked.questions, questions))
    with Store.open(None, embedder=make_embedder(embedder, output, pooling=None)) as store:
        with output.counting("passages", len(asked.passages)) as progress:
            store.add(asked.documents(), progress=progress)
        rag = Rag(store, threshold=0.0, offline=output.offline or None)
        with output.counting("questions", len(asked.questions)) as progress:
            report = evaluate_evidence(asked, rag, progress=progress)
    if output.as_json:
        output.json({**report.to_dict(), "embedder": embedder})
        return
    table = plain_table("", "", "95 % interval", "questions")
    for name in ("precision", "recall", "f1", "auroc"):
        if (found := getattr(report, name)) is not None:
            table.add_row(name, f"{found.value:.3f}", interval(found.low, found.high, ".3f"), f"{found.n:,}")
    output.out.print(table)
    output.note(f"{report.name}: over {len(asked.passages):,} passages, {embedder}", "dim")
