"""``langbert search``: the passages nearest to a question."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..records import Candidate, Chunk, Citation, Document, SearchMode
from ..text.question import checked_question
from ..text.scripts import one_line
from .output import Output, StorePlace, command, parse_where
from .visible import visible

if TYPE_CHECKING:
    from rich.text import Text

    from ..store import StoreLike

_ALSO = 3  # other places of a passage that are named; --json names all
_SHOWN = 320  # characters of a passage that are enough to judge it

Where = Annotated[
    list[str] | None,
    typer.Option("--where", "-w", metavar="KEY=VALUE", help="Only passages with this metadata. Repeatable."),
]


@command
def search(
    output: Output,
    store: StorePlace,
    question: Annotated[str | None, typer.Argument(help="What to look for, in your own words.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many passages, or pictures.", min=1)] = 5,
    mode: Annotated[
        SearchMode, typer.Option(help="By words and meaning, by meaning (dense), or by words (lexical).")
    ] = "hybrid",
    where: Where = None,
    rerank: Annotated[
        str | None,
        typer.Option(help="Let a reranker, e.g. minilm-reranker, reorder the first 20."),
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="Find pictures instead of passages.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Find pictures like this one, and passages for it.", exists=True, dir_okay=False
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put the pictures that are found into this folder.")
    ] = None,
    image_embedder: Annotated[
        str | None, typer.Option(help="Where the model of the pictures is now. By default where it was.")
    ] = None,
) -> None:
    """Find the passages, or the pictures, nearest to a question or to a picture.

    Examples:

        langbert search "maximum line length" --store my-index

        langbert search "两个任务" --store my-index --mode lexical --where format=pdf --json

        langbert search "how input embeddings are added up" --store my-index --pictures --save found

        langbert search --picture whiteboard.jpg --store my-index
    """
    wanted = parse_where(where)
    if (question is None) == (picture is None):
        raise typer.BadParameter("give either a question or --picture FILE")
    if pictures or picture is not None:
        _require_plain(rerank=rerank, mode=None if mode == "hybrid" else mode)
        from .pictures import search_pictures

        if question is not None:
            checked_question(question)
        search_pictures(output, question, picture, store, k, wanted, save, image_embedder)
        return
    if save is not None or image_embedder is not None:
        raise typer.BadParameter("--save and --image-embedder are for --pictures and --picture FILE")
    assert question is not None  # noqa: S101 - for the type checker
    from ..retrieval import Retriever
    from .stores import make_reranker, open_existing, open_plain

    checked_question(question)  # before anything is loaded
    lexical = mode == "lexical"  # needs no embedder, whose loading takes longer than the search
    with open_plain(store) if lexical else open_existing(store, output) as opened:
        reorders = make_reranker(rerank, output) if rerank is not None else None
        started = time.perf_counter()
        candidates = Retriever(opened, mode=mode, reranker=reorders).retrieve(question, k, where=wanted)
        seconds = time.perf_counter() - started
        hits, lines = hits_of(opened, candidates)
    if output.as_json:
        output.json({"question": question, "mode": mode, "hits": hits, "seconds": round(seconds, 4)})
        return
    if not candidates:
        output.note("Nothing found." + (" Try without --where." if wanted else ""), "dim")
        return
    show_passages(output, question, candidates, lines)
    output.note(f"{len(candidates)} passages in {1000 * seconds:.0f} ms", "dim")


def place(source: str, page: int | None, line: int | str | None) -> str:
    """Where to look, in words: ``report.pdf, page 3``; see :func:`line_or_time`."""
    if page is not None:
        return f"{source}, page {page}"
    if isinstance(line, str):
        return f"{source}, {line}"
    return f"{source}, line {line}" if line is not None else source


def line_or_time(document: Document, offset: int) -> int | str:
    """The line that holds ``offset``; of subtitles, whose text has other lines than their file, the time."""
    if document.metadata.get("format") == "subtitles":
        at = bisect_right(document.headings, offset, key=lambda heading: heading.start)
        if at:
            return document.headings[at - 1].text
    return document.line_at(offset)


def _require_plain(**given: object) -> None:
    """Of what is for passages only."""
    if named := ", ".join(f"--{name}" for name, value in given.items() if value):
        raise typer.BadParameter(f"{named}: these are for passages; pictures are looked for without")


def hits_of(store: StoreLike, candidates: Sequence[Candidate]) -> tuple[list[dict[str, Any]], list[int | str | None]]:
    """The passages as JSON, and the lines on which they start, or the times."""
    lines = _lines(store, candidates)
    return [_hit(rank, one, lines[rank - 1]) for rank, one in enumerate(candidates, 1)], lines


def _lines(store: StoreLike, candidates: Sequence[Candidate]) -> list[int | str | None]:
    """The line each passage starts on, or the time; None where its document was not given as a whole."""
    documents = {name: store.document(name) for name in {candidate.document_id for candidate in candidates}}
    lines: list[int | str | None] = []
    for candidate in candidates:
        document = documents[candidate.document_id]
        lines.append(line_or_time(document, candidate.chunk.start) if document else None)
    return lines


def _hit(rank: int, candidate: Candidate, line: int | str | None) -> dict[str, Any]:
    chunk = candidate.chunk
    return {
        "rank": rank,
        "score": round(candidate.score, 4),
        "relevance": None if candidate.relevance is None else round(candidate.relevance, 4),
        "scores": {name: round(score, 4) for name, score in candidate.scores.items()},
        "source": chunk.source,
        "page": chunk.page,
        "line": line if isinstance(line, int) else None,
        "start": chunk.start,
        "end": chunk.end,
        "headings": list(chunk.headings),
        "text": chunk.text,
        "document_id": chunk.document_id,
        "chunk_id": chunk.id,
        "metadata": dict(chunk.metadata),
        "also_in": [_place(other) for other in candidate.places],
    }


def _place(chunk: Chunk) -> dict[str, Any]:
    return {
        "source": chunk.source,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "document_id": chunk.document_id,
        "chunk_id": chunk.id,
    }


def show_passages(
    output: Output, question: str, candidates: Sequence[Candidate], lines: Sequence[int | str | None]
) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for rank, (candidate, line) in enumerate(zip(candidates, lines, strict=True), 1):
        chunk = candidate.chunk
        head = Text.assemble(
            (f"{rank:>2}  ", "bold cyan"),
            (visible(place(chunk.source, chunk.page, line)), "bold"),
            (f"  {candidate.score:.2f}", "dim"),
        )
        output.say(head)
        if chunk.headings:
            output.out.print(Padding(Text(visible(" › ".join(chunk.headings)), "dim"), (0, 0, 0, 4)))
        if candidate.places:
            output.out.print(Padding(Text(visible(also_in(candidate.places)), "dim"), (0, 0, 0, 4)))
        output.out.print(Padding(_snippet(chunk.text, question), (0, 0, 1, 4)))


def also_in(places: Sequence[Chunk | Citation]) -> str:
    """The other places of a passage, in words."""
    named = [place(other.source, other.page, None) for other in places[:_ALSO]]
    more = len(places) - len(named)
    return f"also in {', '.join(named)}" + (f" and {more} more" if more else "")


def _snippet(text: str, question: str) -> Text:
    """The passage around the first of the question's words, with all of them marked."""
    import re

    from rich.text import Text

    flat = visible(one_line(text))
    words = [word for word in re.findall(r"\w+", question) if len(word) > 2 or not word.isascii()]
    pattern = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    first = re.search(pattern, flat, re.IGNORECASE) if pattern else None
    begin = max(0, first.start() - _SHOWN // 3) if first and first.start() > _SHOWN // 2 else 0
    shown = ("… " if begin else "") + flat[begin : begin + _SHOWN] + (" …" if begin + _SHOWN < len(flat) else "")
    marked = Text(shown)
    if pattern:
        marked.highlight_regex(rf"(?i)\b(?:{pattern})\b" if question.isascii() else rf"(?i){pattern}", "yellow")
    return marked
