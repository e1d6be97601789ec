"""``langbert extract``: the entities and relations of all documents of a store, each with where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..text.scripts import one_line
from .output import Output, StorePlace, command
from .visible import json_text, visible

if TYPE_CHECKING:
    from ..labels.cited import Cited


@command
def extract(
    output: Output,
    store: StorePlace,
    model: Annotated[str, typer.Option("--model", "-m", help="What `langbert train relations` made.")],
    entities: Annotated[
        bool, typer.Option("--entities", help="The entities instead of the triples; so it is where a model knows none.")
    ] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="A JSON document a line, as they are found, for programs.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(help="Log-odds to be over: more finds less, and is right more often.")
    ] = 0.0,
) -> None:
    """Find what the documents of a store say of whom: entities and how they are related, with their places.

    Examples:

        langbert extract --store my-index --model my-extractor/model

        langbert extract --store my-index --model my-extractor/model --jsonl > triples.jsonl
    """
    if jsonl and output.as_json:
        raise typer.BadParameter("--json is one document, --jsonl one a line: choose either")
    from ..labels.cited import extract_cited, stored_texts
    from .stores import fetch, open_plain

    fetch(model, output)
    with output.waiting(f"loading {model}"):
        from ..labels.extractor import Extractor

        extractor = Extractor(model, threshold=threshold, offline=True)
    with open_plain(store) as opened, output.counting("documents", opened.n_documents or None) as progress:
        what = entities or not extractor.relations
        found = extract_cited(extractor, stored_texts(opened), entities=what, progress=progress)
        if output.as_json:
            output.json({"store": str(store), "model": model, "found": [one.to_dict() for one in found]})
            return
        n = sum(1 for _ in (_lines(found) if jsonl else _shown(output, found)))
    output.note(f"{n:,} found in {opened.path or store}", "dim")


def _lines(found: Iterator[Cited]) -> Iterator[None]:
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    for one in found:
        sys.stdout.write(json_text(one.to_dict(), ascii_only=not unicode) + "\n")
        sys.stdout.flush()
        yield


def _shown(output: Output, found: Iterator[Cited]) -> Iterator[None]:
    from rich.text import Text

    from ..labels.extractor import Triple

    last = None
    for one in found:
        place = one.citation.place
        if place != last:
            output.say(Text(visible(place), "bold"))
            last = place
        what = one.found
        parts: list[str | tuple[str, str]] = ["    "]
        if isinstance(what, Triple):
            subject, object_ = (visible(one_line(each.text)) for each in (what.subject, what.object))
            parts += [(subject, "cyan"), f" {visible(what.relation)} ", (object_, "cyan")]
        else:
            parts += [(visible(one_line(what.text)), "cyan"), f" {visible(what.label)}"]
        output.say(Text.assemble(*parts, (f"  {what.score:.2f}", "dim")))
        yield
