"""Texts of any length for an encoder that reads so many tokens at once.

A text over the limit is read in overlapping windows, and a token's state is taken from the window where it has the most
context on its poorer side. Joined, the states are those of one long sequence with its special tokens at the ends.
Pooled once over all of it they are the text's vector (late pooling); pooled over stretches of it, vectors of chunks
that know what stands around them (late chunking: Günther et al. 2024, arXiv:2409.04701; as in its §4.1, what stands
before the text counts with the first chunk, and what stands behind it with the last).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenizers import Encoding

from ..models.files.tokenizer import TextTokenizer, windows
from ..models.layers.pooling import Pooling
from ..models.runner import Window

OVERLAP = 0.25
"""The share of a full window that it has in common with the next one."""

ONE_TOKEN = (Pooling.CLS, Pooling.POOLER, Pooling.LAST)
"""Poolings that take one token's state for a whole sequence. Each window has that token, and the mean of them stands
for a long text; a part of a text has no such token."""

SPAN_POOLINGS = (Pooling.MEAN, Pooling.MAX, Pooling.MEAN_SQRT_LEN, Pooling.ATTENTION)
"""Poolings that take the tokens of a part of a text as they take all of them, wherever it stands."""


class TextReader:
    """Texts of one role → windows.

    Args:
        tokenizer: the encoder's.
        prompt: put before each text, and before each window of a long one.
        include_prompt: whether the prompt's tokens take part in pooling.

    Attributes:
        n_around: how many tokens stand around a text, special ones and the prompt's.
        skip: how many tokens at the start of a sequence pooling leaves out.
    """

    def __init__(self, tokenizer: TextTokenizer, prompt: str, *, include_prompt: bool) -> None:
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._prompt_ids = tokenizer.encode([prompt])[0].ids
        self._before = [*tokenizer.prefix, *self._prompt_ids]
        self.n_around = tokenizer.n_special + len(self._prompt_ids)
        self.skip = 0 if include_prompt or not self._prompt_ids else len(self._before)

    def read(self, texts: Sequence[str], max_length: int, *, split: bool = True) -> Iterator[tuple[list[Window], int]]:
        """Each text's windows (one, if it fits or is not to be ``split`` but cut off), and its and its prompt's tokens.

        The tokens of prompt and text together are not always those of each: they are parted only where they must be.
        """
        limit = max_length - self._tokenizer.n_special
        for text, encoding in zip(texts, self._tokenizer.encode([self.prompt + text for text in texts]), strict=True):
            n_tokens = len(encoding.ids)
            if split and n_tokens > limit:
                yield self._cut(self._tokenizer.encode([text])[0], max_length), n_tokens
            else:
                yield [self._whole(encoding.ids[:limit])], n_tokens

    def read_for_spans(self, texts: Sequence[str], max_length: int) -> Iterator[tuple[list[Window], TokenSpans]]:
        """Each text's windows, and where in their joined states its characters are."""
        limit = max_length - self._tokenizer.n_special
        for text, encoding in zip(texts, self._tokenizer.encode([self.prompt + text for text in texts]), strict=True):
            if len(encoding.ids) > limit:
                alone = self._tokenizer.encode([text])[0]
                found, ends = self._cut(alone, max_length), [end for _, end in alone.offsets]
            else:
                found = [self._whole(encoding.ids)]
                ends = [end - len(self.prompt) for _, end in encoding.offsets[len(self._prompt_ids) :]]
            yield found, TokenSpans(ends, len(self._before), self.skip, len(self._tokenizer.suffix))

    def one_token(self, text: Sequence[Window], pooling: Pooling) -> list[Window]:
        """The same windows, for the state that one of :data:`ONE_TOKEN` takes of each."""
        found = []
        for window in text:
            n_tokens = len(window.ids)
            first = min(max(n_tokens - 1, 0) if pooling is Pooling.LAST else self.skip, n_tokens)
            found.append(Window(window.ids, range(first, min(first + 1, n_tokens))))
        return found

    def _whole(self, ids: list[int]) -> Window:
        return Window.whole([*self._tokenizer.prefix, *ids, *self._tokenizer.suffix])

    def _cut(self, text: Encoding, max_length: int) -> list[Window]:
        room = max_length - self.n_around
        n_tokens = len(text.ids)
        stretches = [(cut.start, cut.stop) for cut in windows(text.word_ids, room, int(OVERLAP * room))]
        middles = [(left[1] + right[0]) // 2 for left, right in pairwise(stretches)]
        found = []
        for (start, stop), (first, last) in zip(stretches, pairwise([0, *middles, n_tokens]), strict=True):
            ids = [*self._before, *text.ids[start:stop], *self._tokenizer.suffix]
            offset = len(self._before) - start
            kept = range(first + offset if first else 0, last + offset if last < n_tokens else len(ids))
            found.append(Window(ids, kept))
        return found


@dataclass(frozen=True, slots=True)
class TokenSpans:
    """Characters of a text → rows of its joined states.

    A token belongs to the span that holds its last character, so that spans which share no character share no token.

    Args:
        ends: where each token of the text ends, in characters.
        before: how many rows there are before the text's first token.
        skip: how many of them take no part in pooling.
        behind: how many there are behind its last.
    """

    ends: Sequence[int]
    before: int
    skip: int
    behind: int

    def rows(self, start: int, end: int) -> list[int]:
        """The rows of characters ``[start, end)``; where no token ends there, those that no token has."""
        n_tokens = len(self.ends)
        total = self.before + n_tokens + self.behind
        first, last = bisect_left(self.ends, start + 1), bisect_left(self.ends, end + 1)
        if first >= last:
            return [*range(self.skip, self.before), *range(total - self.behind, total)]
        return list(
            range(self.before + first if first else self.skip, self.before + last if last < n_tokens else total)
        )


def checked_spans(texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[tuple[int, int]]]:
    """``spans`` as lists.

    Raises:
        ValueError: there are not as many as texts, or one does not lie in its text.
    """
    listed = [[(start, end) for start, end in some] for some in spans]
    if len(listed) != len(texts):
        raise ValueError(f"expected the spans of {len(texts)} texts, got those of {len(listed)}")
    for i, (text, some) in enumerate(zip(texts, listed, strict=True)):
        for start, end in some:
            if not 0 <= start <= end <= len(text):
                raise ValueError(f"span {start}:{end} does not lie in text {i}, which has {len(text)} characters")
    return listed
