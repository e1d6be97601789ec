"""Tokens → text as it may be shown: whole characters only, and nothing of a stop string; and the stream of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress

from ..errors import GenerationError
from ..records import Generation

Writing = Callable[[threading.Event], Generator[str, None, Generation | None]]

_INCOMPLETE = "\ufffd"
"""What decoders write for bytes that are not (yet) a character."""


class Detokenizer:
    """Decodes token by token; a character whose bytes are spread over several tokens comes out when it is whole.

    Decoding a token alone would be wrong: how it reads depends on its neighbours. So a short window is decoded
    with and without the new one, and the difference is new text.

    Args:
        decode: token ids → text, special tokens left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []  # tokens already shown, then those still held back
        self._n_shown = 0
        self._shown_text = ""

    def push(self, token: int) -> str:
        """The text that ``token`` completes, often empty."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(_INCOMPLETE) or len(text) <= len(self._shown_text):
            return ""
        return self._show(text)

    def flush(self) -> str:
        """What is still held back; the beginning of a character that was never finished is left out."""
        text = self._decode(self._window).rstrip(_INCOMPLETE)
        return self._show(text) if len(text) > len(self._shown_text) else ""

    def _show(self, text: str) -> str:
        new = text[len(self._shown_text) :]
        # the tokens shown just now are the context of the next ones; older ones are no longer needed
        self._window = self._window[self._n_shown :]
        self._n_shown = len(self._window)
        self._shown_text = self._decode(self._window)
        return new


class StopStrings:
    """Lets text through up to the first stop string that is completed, however the text is cut into pieces.

    The end of the text so far is held back for as long as it may be the beginning of a stop string. If two stop strings
    are completed by the same character, the longer one counts.

    Raises:
        ValueError: a stop string is empty.
    """

    def __init__(self, stop: Sequence[str] | str) -> None:
        self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(self._stop):
            raise ValueError("a stop string is empty: it would stop before the first character")
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What may be shown now that ``text`` has come; nothing more once ``stopped``."""
        if self.stopped:
            return ""
        text = self._held + text
        ends = [(start + len(stop), start) for stop in self._stop if (start := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            self._held = ""
            return text[: min(ends)[1]]
        n_held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]

    def flush(self) -> str:
        """What was held back in case a stop string came of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` are the beginning of ``stop``, but not all of it."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


class Spoken:
    """Lets text through but for what a model thinks aloud before it speaks, ``<think>…</think>`` (DeepSeek-R1, Qwen3),
    however the text is cut into pieces. What was never thought to its end is no answer, either."""

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._until: str | None = self._OPEN  # None once the model speaks

    def push(self, text: str) -> str:
        """What of it is said."""
        if self._until is None:
            return text
        self._held += text
        if self._until == self._OPEN:
            begun = self._held.lstrip()
            if self._OPEN.startswith(begun):  # it may become one
                return ""
            self._until = self._CLOSE if begun.startswith(self._OPEN) else None
        if self._until == self._CLOSE:
            _, closed, rest = self._held.partition(self._CLOSE)
            if not closed:
                return ""
            self._until, self._held = None, rest
        return self.flush()

    def flush(self) -> str:
        """The end: what was held back in case a thought came of it."""
        held, self._held = self._held, ""
        return "" if self._until == self._CLOSE else held


class GenerationStream(Iterator[str]):
    """Pieces of an answer; when they are at an end, :attr:`generation` has the whole.

    Closing it, or leaving it as a context manager, ends the work at once and frees what it holds.

    Args:
        write: makes the pieces and returns the whole. It looks at the event it is given before each piece, and returns
            None if that is set: the stream was closed.
    """

    def __init__(self, write: Writing) -> None:
        self._generation: Generation | None = None
        self._closed = threading.Event()
        self._pieces = self._kept(write)

    def _kept(self, write: Writing) -> Generator[str, None, None]:
        self._generation = yield from write(self._closed)

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> GenerationStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop writing; no further piece comes. From another thread it takes effect after the token in progress."""
        self._closed.set()
        with suppress(ValueError):  # another thread is inside: it sees the event and leaves
            self._pieces.close()

    def finish(self) -> Generation:
        """The whole text, once every piece that is left has been taken."""
        for _ in self:
            pass
        return self.generation

    @property
    def generation(self) -> Generation:
        """The whole text, token counts, and why it ended.

        Raises:
            GenerationError: the stream has not come to its end, or was closed before.
        """
        if self._generation is None:
            raise GenerationError("the text is not finished: take every piece from the stream first")
        return self._generation
