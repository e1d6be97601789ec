"""Rich's console, in which only Rich itself controls the terminal: see :mod:`langbert.cli.visible`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from .visible import is_harmless, visible


class SafeConsole(Console):
    """Words with control characters come out with those written out, whichever way they came in.

    A ``Text`` has dropped some of them by then, unseen: make it of :func:`visible` words.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=soft_wrap)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or is_harmless(segment.text):
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)
