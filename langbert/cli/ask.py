"""``langbert ask``: an answer as it is written, then where every part of it stands; ``--chat``: and the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import GenerationError, LangbertError, QuestionError
from ..records import Answer, Message
from ..text.scripts import one_line
from .output import Output, StorePlace, command, parse_where
from .search import Where, also_in, line_or_time, place
from .visible import visible
from .writers import ApiKey, BaseUrl, GeneratorName

if TYPE_CHECKING:
    from ..answering.rag import Rag
    from ..store import StoreLike
    from .resident import Resident

__all__ = ["ask"]

_GLANCE = 240  # characters of what is no answer, but comes nearest


@command
def ask(
    output: Output,
    store: StorePlace,
    question: Annotated[
        str | None, typer.Argument(help="A question about your documents. With --chat it may come later.")
    ] = None,
    mode: Annotated[
        Literal["auto", "generate", "extract"],
        typer.Option(help="Write an answer (generate), quote one word for word (extract), or whichever fits (auto)."),
    ] = "auto",
    where: Where = None,
    unsupported: Annotated[
        Literal["drop", "mark", "keep"],
        typer.Option(help="What becomes of a written sentence that no document supports; mark puts \\[?] behind it."),
    ] = "drop",
    refuse: Annotated[
        Literal["rarely", "balanced", "strictly"],
        typer.Option(help="When to say that the documents do not tell."),
    ] = "balanced",
    chat: Annotated[
        bool, typer.Option("--chat", help="Go on asking; a question may lean on those before it. Ends with Ctrl-D.")
    ] = False,
    form: Annotated[
        Literal["markdown", "plain", "json"] | None,
        typer.Option("--format", help="Print the finished answer in this form, with its sources."),
    ] = None,
    server: Annotated[
        bool,
        typer.Option(
            "--server/--no-server", help="Let `langbert serve` answer where it serves this store here; it is quicker."
        ),
    ] = True,
    generator: GeneratorName = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Answer a question from the documents of a store, with the exact passages it rests on.

    Examples:

        langbert ask "What is the maximum line length?" --store my-index

        langbert ask "Which tasks is BERT pre-trained on?" --store my-index --mode extract --json

        langbert ask --chat --store my-index

        langbert ask "Why is there a limit?" --store my-index --generator qwen3:8b --base-url http://localhost:11434/v1
    """
    if output.as_json and form not in (None, "json"):
        raise typer.BadParameter(f"--json and --format {form} exclude each other")
    form = "json" if output.as_json else form
    wanted = parse_where(where)
    from ..text.question import checked_question
    from .resident import Resident, socket_of
    from .stores import DEFAULT_GENERATOR, importing, open_existing, open_plain, writer_behind, writer_for

    if question is not None:
        checked_question(question)  # before anything is loaded
    elif not chat:
        raise QuestionError(
            'there is no question: type one, or go on asking with --chat (langbert ask "…" --store DIR)'
        )
    remote = writer_behind(base_url, generator, api_key) if base_url is not None else None
    name = generator or DEFAULT_GENERATOR
    with ExitStack() as closing:

        def local() -> Rag:
            with importing():
                from ..answering.rag import Rag

            opened = closing.enter_context(open_existing(store, output))
            writer = remote or writer_for(mode, name, output)
            return Rag(opened, generator=writer, threshold=refuse, offline=output.offline or None)

        path = socket_of(store, name) if server and remote is None and refuse == "balanced" else None
        rag: Rag | Resident = (
            Resident(path, api_key, local, lambda: closing.enter_context(open_plain(store)))
            if path is not None and path.exists()
            else local()
        )
        options = {"mode": mode, "where": wanted, "unsupported": unsupported}
        if chat:
            _talk(rag, question, options, form, output)
        elif question is not None:
            _answered(rag, question, options, form, output)


def _answered(rag: Rag | Resident, question: str, options: dict[str, Any], form: str | None, output: Output) -> Answer:
    """Print the answer to one question, in a ``form`` or as it comes; if it breaks off, what there is."""
    try:
        if form is None:
            answer = _stream(rag.stream(question, **options), output)
            _show_citations(answer, rag.store, output)
            return answer
        with output.waiting("reading the nearest passages"):
            answer = rag.ask(question, **options)
        _print(answer, form, output)
    except GenerationError as error:
        if form == "json":
            output.json({**(error.answer.to_dict() if error.answer else {"question": question}), "error": str(error)})
            raise typer.Exit(1) from error
        if error.answer is not None and form is None:
            output.out.print()
            _show_citations(error.answer, rag.store, output)
        elif error.answer is not None:
            _print(error.answer, str(form), output)
        raise
    return answer


def _print(answer: Answer, form: str, output: Output) -> None:
    if form == "json":
        output.json(answer.to_dict())
    else:
        text = answer.markdown() if form == "markdown" else answer.plain()
        output.out.print(text, markup=False, soft_wrap=True)


def _talk(rag: Rag | Resident, question: str | None, options: dict[str, Any], form: str | None, output: Output) -> None:
    """One question after the other until the input ends; an error ends a turn, not the conversation."""
    history: list[Message] = []
    while True:
        if question is None:
            try:
                question = output.err.input("[bold cyan]›[/] ")
            except (EOFError, KeyboardInterrupt):
                output.err.print()
                return
        if question.strip():
            try:
                answer = _answered(rag, question, {**options, "history": history}, form, output)
                history += [Message("user", question), Message("assistant", answer.text)]
            except LangbertError as error:
                output.err.print(str(error), style="red", markup=False, soft_wrap=True)
            except typer.Exit:
                pass  # it was said as JSON
            except KeyboardInterrupt:
                output.out.print()
        question = None


def _stream(events: Iterator[str | Answer], output: Output) -> Answer:
    """Print the answer as it comes; the finished one."""
    from rich.text import Text

    with output.waiting("reading the nearest passages"):
        event = next(events)
    while not isinstance(event, Answer):
        text = Text(visible(event))
        text.highlight_regex(r"\[(?:\d+|\?)\]", "cyan")
        output.out.print(text, end="", soft_wrap=True)
        output.out.file.flush()
        event = next(events)
    output.out.print()
    return event


def _show_citations(answer: Answer, store: StoreLike, output: Output) -> None:
    """Numbered: file, page or line, the quoted words; without numbers where they are no answer."""
    from rich.padding import Padding
    from rich.text import Text

    if answer.missing:
        words = ", ".join(f"“{visible(word)}”" for word in answer.missing)
        output.note(f"Nothing that was found says {words}.")
    if answer.nearest:
        output.note("\nWhat comes nearest:", "dim")
    elif answer.refused:
        return
    output.out.print()
    for number, citation in enumerate(answer.citations or answer.nearest, 1):
        line: int | str | None = None
        if citation.page is None and (document := store.document(citation.document_id)):
            line = line_or_time(document, citation.start)
        mark = f"[{number}] " if answer.citations else "    "
        head = Text.assemble((mark, "cyan"), (visible(place(citation.source, citation.page, line)), "bold"))
        output.out.print(head, soft_wrap=True)
        if citation.also_in:
            output.out.print(Padding(Text(visible(also_in(citation.also_in)), "dim"), (0, 0, 0, 4)))
        quote = visible(one_line(citation.quote))
        if answer.nearest and len(quote) > _GLANCE:
            quote = f"{quote[:_GLANCE]}…"
        said = Text(f"“{quote}”", "italic")
        if answer.short:
            said.highlight_words([visible(answer.short)], "bold")
        output.out.print(Padding(said, (0, 0, 0, 4)))
    output.note(f"\n{answer.timings.get('total', 0.0):.1f} s", "dim")
