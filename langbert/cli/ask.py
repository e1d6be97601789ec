"""``langbert ask``: an answer as it is written, then where every part of it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..records import Answer
from .output import Debug, Json, Offline, Output, Quiet, StoreFolder, parse_where
from .search import Where, place

if TYPE_CHECKING:
    from ..store import Store

__all__ = ["ask"]

DEFAULT_GENERATOR = "smollm2-135m-instruct"


def ask(
    question: Annotated[str, typer.Argument(help="A question about your documents.")],
    store: StoreFolder,
    mode: Annotated[
        Literal["auto", "generate", "extract"],
        typer.Option(help="Write an answer (generate), quote one word for word (extract), or whichever fits (auto)."),
    ] = "auto",
    where: Where = None,
    generator: Annotated[
        str, typer.Option(help="The decoder that writes: a catalogue name, owner/name, a folder or a .gguf file.")
    ] = DEFAULT_GENERATOR,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Answer a question from the documents of a store, with the exact passages it rests on.

    Examples:

        langbert ask "What is the maximum line length?" --store my-index

        langbert ask "Which tasks is BERT pre-trained on?" --store my-index --mode extract --json
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    wanted = parse_where(where)
    from ..pipeline import Rag
    from ..retrieval import checked_question
    from .stores import fetch, open_existing

    checked_question(question)  # before anything is loaded
    with open_existing(store, output, offline=offline) as opened:
        writer = None
        if mode != "extract":
            fetch(generator, output, offline=offline)
            from ..generation import Generator

            with output.waiting(f"loading {generator}"):
                writer = Generator(generator, offline=True)
        rag = Rag(opened, generator=writer, offline=offline or None)
        if json:
            output.json(rag.ask(question, mode=mode, where=wanted).to_dict())
            return
        answer = _stream(rag.stream(question, mode=mode, where=wanted), output)
        _show_citations(answer, opened, output)


def _stream(events: Iterator[str | Answer], output: Output) -> Answer:
    """Print the answer as it comes; the finished one."""
    from rich.text import Text

    with output.waiting("reading the nearest passages"):
        event = next(events)
    while not isinstance(event, Answer):
        text = Text(event)
        text.highlight_regex(r"\[\d+\]", "cyan")
        output.out.print(text, end="", soft_wrap=True)
        output.out.file.flush()
        event = next(events)
    output.out.print()
    return event


def _show_citations(answer: Answer, store: Store, output: Output) -> None:
    """Numbered: file, page or line, the quoted words."""
    from rich.padding import Padding
    from rich.text import Text

    if answer.refused:
        output.note("To see the nearest passages: langbert search with the same question.", "dim")
        return
    output.out.print()
    for number, citation in enumerate(answer.citations, 1):
        line = None
        if citation.page is None and (document := store.document(citation.document_id)):
            line = document.line_at(citation.start)
        head = Text.assemble((f"[{number}] ", "cyan"), (place(citation.source, citation.page, line), "bold"))
        output.out.print(head, soft_wrap=True)
        quote = " ".join(citation.quote.split())
        output.out.print(Padding(Text(f"“{quote}”", "italic"), (0, 0, 0, 4)))
    output.note(f"\n{answer.timings.get('total', 0.0):.1f} s", "dim")
