"""Who writes: the options of every command that lets a decoder answer, on this machine or behind a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .stores import DEFAULT_GENERATOR, writer_behind, writer_for

if TYPE_CHECKING:
    from ..records import AnswerMode, GeneratorLike
    from .output import Output

GeneratorName = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help="The decoder that writes: a catalogue name, owner/name, a folder or a .gguf file; with --base-url, "
        f"a model of that server. Without it {DEFAULT_GENERATOR}.",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Let a server write that speaks OpenAI's API: Ollama, llama.cpp, vLLM, a provider."
    ),
]
ApiKey = Annotated[
    str | None, typer.Option(help="The key for that server.", envvar="LANGBERT_API_KEY", show_envvar=True)
]


def writer_of(
    mode: AnswerMode, generator: str | None, base_url: str | None, api_key: str | None, output: Output
) -> GeneratorLike | str:
    """What :class:`~langbert.Rag` is given as its generator; one of this machine is fetched now if it is not here."""
    if base_url is not None:
        return writer_behind(base_url, generator, api_key)
    return writer_for(mode, generator or DEFAULT_GENERATOR, output)
