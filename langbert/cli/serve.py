"""``langbert serve`` and ``langbert mcp``: a store for browsers, programs and agents. The server is an extra."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import StoreError
from .output import Output, StorePlace, command
from .resident import socket_of
from .stores import DEFAULT_EMBEDDER, exists, is_url, make_embedder, open_existing, open_store
from .writers import ApiKey, BaseUrl, GeneratorName, writer_of

if TYPE_CHECKING:
    from ..store.base import BaseStore


@command
def serve(
    output: Output,
    store: StorePlace,
    host: Annotated[str, typer.Option(help="The address to listen on; by default this machine's own.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help="JSON with the keys, each bound to a filter and rights.", exists=True, dir_okay=False),
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name this server may be called by. Repeatable.")
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open-to-all", help="Listen on other addresses without keys: everybody may do everything.")
    ] = False,
    audit_log: Annotated[Path | None, typer.Option(help="Write down here who asked what, and what answered.")] = None,
    uploads: Annotated[
        Path | None, typer.Option(help="Where uploaded files are kept; by default STORE-uploads.")
    ] = None,
    max_upload_mb: Annotated[int, typer.Option(min=1)] = 200,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="The most of one key, or of one address without keys.")
    ] = None,
    generator: GeneratorName = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Serve a page to ask and look things up on, and the APIs of OpenAI, Jina, Cohere, TEI and MCP.

    Examples:

        langbert serve --store my-index

        langbert serve --store my-index --host 0.0.0.0 --api-key-file keys.json --audit-log audit.jsonl
    """
    from langbert_server import Keys, Settings
    from langbert_server import serve as run

    try:
        keys = None if api_key_file is None else Keys.from_file(api_key_file)
        writer = writer_of("generate", generator, base_url, api_key, output)
        settings = Settings(
            uploads=uploads,
            audit_log=audit_log,
            hosts=tuple(host_name or ()),
            upload_bytes=max_upload_mb * 1_000_000,
            requests_per_minute=requests_per_minute,
        )
        shown = f"[{host}]" if ":" in host else host
        output.note(f"Serving {store} at http://{shown}:{port}/ (Ctrl-C stops it).")
        run(
            _opener(store, output, make=True),
            host=host,
            port=port,
            keys=keys,
            settings=settings,
            generator=writer,
            offline=output.offline or None,
            open_to_all=open_to_all,
            socket=partial(_socket, store, writer) if isinstance(writer, str) else lambda: None,
        )
    except ValueError as error:  # the file of keys, or an address without any
        raise typer.BadParameter(str(error)) from error


@command
def mcp(
    output: Output,
    store: StorePlace,
    generator: GeneratorName = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Let an agent search, ask and read a store: an MCP server on stdin and stdout.

    Example, in the configuration of the agent:

        {"mcpServers": {"langbert": {"command": "langbert", "args": \\["mcp", "--store", "/path/to/my-index"]}}}
    """
    from langbert_server import serve_tools

    if not exists(store):
        raise StoreError(f"there is no store at {store}; make one with `langbert index FOLDER --store {store}`")
    writer = writer_of("generate", generator, base_url, api_key, output)
    serve_tools(_opener(store, output, make=False), generator=writer, offline=output.offline or None)


def _socket(store: str, writer: str) -> Path | None:
    """Where programs of this machine ask: a folder is named by the store in it, which is made if it is not there."""
    if not is_url(store) and not exists(store):
        open_store(store).close()  # in a moment; its encoder comes later
    return socket_of(store, writer)


def _opener(store: str, output: Output, *, make: bool) -> Callable[[], BaseStore]:
    """What opens the store, in the background: its encoder takes seconds to load."""
    if exists(store) or not make:
        return partial(open_existing, store, output)

    def new() -> BaseStore:
        return open_store(store, embedder=make_embedder(DEFAULT_EMBEDDER, output))

    return new
