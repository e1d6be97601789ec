"""``langbert eval relations``: the entities and triples that an extractor finds against those that people marked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import Output, command, plain_table


@command
def relations(
    output: Output,
    data: Annotated[Path, typer.Option(help="Texts with entities or triples, as for training.", exists=True)],
    model: Annotated[str, typer.Option("--model", "-m", help="What `langbert train relations` made.")],
    threshold: Annotated[
        float, typer.Option(help="Log-odds to be over: more finds less, and is right more often.")
    ] = 0.0,
) -> None:
    """Are the entities and triples found those that people marked: boundaries, types and relations all right.

    Examples:

        langbert eval relations --data conll04/test.txt --model my-extractor/model

        langbert eval relations --data names.conll --model my-extractor/model --json
    """
    from ..evaluation.relations import evaluate_extraction
    from ..training.annotated import read_annotated
    from .stores import fetch

    annotated = read_annotated(data)
    fetch(model, output)
    with output.waiting(f"loading {model}"):
        from ..labels.extractor import Extractor

        extractor = Extractor(model, threshold=threshold, offline=True)
    with output.counting("texts", len(annotated.texts)) as progress:
        report = evaluate_extraction(extractor, annotated.texts, located=annotated.located, progress=progress)
    if output.as_json:
        output.json({"data": data.name, "model": model, **report.to_dict()})
        return
    table = plain_table("", "precision", "recall", "F1", "there")
    rows = {"entities": report.entities, **({"triples": report.triples} if report.triples else {}), **report.by_label}
    for name, overlap in rows.items():
        scores = (f"{score:.3f}" for score in (overlap.precision, overlap.recall, overlap.f1))
        table.add_row(name or "(no type)", *scores, f"{overlap.there:,}")
    output.out.print(table)
    judged = "places" if annotated.located else "words"
    output.note(f"{data.name}: {report.texts:,} texts, judged by {judged}, {model}", "dim")
