"""The commands put together, and what happens when one of them fails."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from ..errors import LangbertError
from . import ask, bench, calibrate, doctor, evaluate, extract, index, models, search, serve, store, train
from .visible import json_text, visible

app = typer.Typer(
    name="langbert",
    help="Answers from your own documents, on your own machine.",
    epilog=(
        "First steps: [cyan]langbert index docs/ --store my-index[/], "
        'then [cyan]langbert ask "What is …?" --store my-index[/]'
    ),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("index")(index.index)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("calibrate")(calibrate.calibrate)
app.command("extract")(extract.extract)
app.command("serve")(serve.serve)
app.command("mcp")(serve.mcp)
app.add_typer(models.app, name="models")
app.add_typer(evaluate.app, name="eval")
app.add_typer(train.app, name="train")
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)
app.add_typer(store.app, name="store")


def _show_version(wanted: bool) -> None:
    if wanted:
        from langbert import __version__

        typer.echo(f"langbert {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def invoke(arguments: list[str]) -> int:
    """Run one command line; the exit code. Errors become one sentence, on stderr or as a JSON document."""
    as_json = "--json" in arguments
    try:
        code = app(_with_address(arguments), prog_name="langbert", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        # Who read our output has gone, as `head` does: nothing more can be said, also not while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if _is_usage_error(error):
            _report_usage(error, as_json)
            return 2
        if not isinstance(error, (LangbertError, OSError)) or "--debug" in arguments:
            sys.stderr.write(visible(traceback.format_exc()))
        _report(error, as_json)
        return 1
    if code == 130:
        message = "Interrupted. What was finished is kept, nothing is half-written."
        if as_json:
            _print_json("Interrupted", message)
        else:
            sys.stderr.write(f"\n{message}\n")
    return code if isinstance(code, int) else 0


def _with_address(arguments: list[str]) -> list[str]:
    """``--ray`` may stand alone, for a cluster of this machine, which Typer has no word for."""
    following = [*arguments[1:], "-"]
    told = [
        [each, "local"] if (each, after[:1]) == ("--ray", "-") else [each]
        for each, after in zip(arguments, following, strict=True)
    ]
    return [part for each in told for part in each]


def _is_usage_error(error: Exception) -> bool:
    # By what it offers, not by its class: Typer brings its own copy of click since 0.20, and used click's before.
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) is not None


def _report_usage(error: Any, as_json: bool) -> None:
    message = error.format_message()
    if not message:  # a bare command: its help has been shown
        return
    if as_json:
        _print_json("UsageError", message)
        return
    context = getattr(error, "ctx", None)
    hint = f"Type `{context.command_path} --help` for what it takes." if context else ""
    _print_error(message, hint)


def _report(error: Exception, as_json: bool) -> None:
    if isinstance(error, OSError) and not isinstance(error, LangbertError):
        reason = error.strerror or str(error)
        message = f"{error.filename}: {reason}" if error.filename else reason
    else:
        message = str(error) or type(error).__name__
    if as_json:
        _print_json(type(error).__name__, message)
    else:
        _print_error(message)


def _print_json(kind: str, message: str) -> None:
    sys.stdout.write(json_text({"error": {"type": kind, "message": message}}) + "\n")


def _print_error(message: str, hint: str = "") -> None:
    from rich.text import Text

    from .console import SafeConsole

    console = SafeConsole(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), visible(message)))
    if hint:
        console.print(Text(hint, "dim"))
