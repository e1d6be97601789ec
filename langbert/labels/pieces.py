"""Texts as windows of tokens that know where they stand: what an Extractor reads and learns from."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unicodedata import normalize

from ..models.files.tokenizer import TextTokenizer, windows
from ..text.scripts import HAN
from ..text.sentences import sentences, stripped

_SINGLE = f"{HAN}\u3001-\u3011\uff01-\uff0f\uff1a-\uff20“”"  # Chinese characters and punctuation
_PARTS = re.compile(f"[{_SINGLE}]|[^{_SINGLE}]+")


class Pieces(NamedTuple):
    """A stretch of a text as the network reads it.

    Attributes:
        ids: token ids, special ones included.
        places: where in ``ids`` the tokens are that stand for something one can see.
        spans: their characters in the text, without white space at either end: ``(start, end)``.
    """

    ids: list[int]
    places: list[int]
    spans: list[tuple[int, int]]

    def tokens(self, start: int, end: int) -> tuple[int, int] | None:
        """The places of the first and the last token of ``text[start:end]``; None if it is not all in here.

        Where a token reaches beyond the characters, it is taken along.
        """
        first = bisect_left(self.spans, start + 1, key=lambda span: span[1])
        last = bisect_left(self.spans, end, key=lambda span: span[1])
        if not first <= last < len(self.spans) or self.spans[last][0] >= end or self.spans[first][0] > start:
            return None
        return self.places[first], self.places[last]


def pieces(
    tokenizer: TextTokenizer, texts: Sequence[str], max_length: int, max_sentences: int | None = None
) -> list[list[Pieces]]:
    """Each text in windows of at most so many tokens and sentences: whole if it fits, else cut between sentences.

    A sentence that is too long is read in overlapping windows. Chinese is read by character: a SentencePiece token may
    hold the end of one word and the beginning of a name, ``在北京`` for instance.
    """
    room = max_length - tokenizer.n_special
    found = []
    for text, encoding in zip(texts, tokenizer.encode(texts), strict=True):
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for token, offsets in zip(encoding.ids, encoding.offsets, strict=True):
            for one, span in _split(tokenizer, text, token, stripped(text, *offsets)):
                ids.append(one)
                spans.append(span)
        cuts = _cuts(text, spans, room, max_sentences or len(text))
        found.append([_framed(tokenizer, ids[cut], spans[cut]) for cut in cuts])
    return [[window for window in own if window.spans] for own in found]


def _split(tokenizer: TextTokenizer, text: str, token: int, span: tuple[int, int]) -> list[tuple[int, tuple[int, int]]]:
    """A token, or what it becomes with every Chinese character by itself, where the vocabulary has all of that."""
    start, end = span
    parts = [match.span() for match in _PARTS.finditer(text, start, end)]
    if len(parts) < 2:
        return [(token, span)]
    ids = [_token_id(tokenizer, text[a:b]) for a, b in parts]
    known = [(one, part) for one, part in zip(ids, parts, strict=True) if one is not None]
    return known if len(known) == len(parts) else [(token, span)]


def _token_id(tokenizer: TextTokenizer, piece: str) -> int | None:
    """Of a piece, or of what SentencePiece makes of it: ``，`` is ``,`` there."""
    found = tokenizer.token_id(piece)
    return tokenizer.token_id(normalize("NFKC", piece)) if found is None else found


def _cuts(text: str, spans: Sequence[tuple[int, int]], room: int, most: int) -> Iterator[slice]:
    """Windows of as many whole sentences as there is room for, and of ``most`` at most."""
    if len(spans) <= room and len(text) <= most:
        yield slice(0, len(spans))
        return
    start = stop = n = 0
    for _, end in sentences(text):
        following = stop
        while following < len(spans) and spans[following][0] < end:
            following += 1
        if stop > start and (following - start > room or n >= most):
            yield slice(start, stop)
            start, n = stop, 0
        stop, n = following, n + 1
        if stop - start > room:
            numbers: list[int | None] = list(range(stop - start))
            yield from (slice(start + cut.start, start + cut.stop) for cut in windows(numbers, room, room // 4))
            start = stop
    if start < len(spans):
        yield slice(start, len(spans))


def _framed(tokenizer: TextTokenizer, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> Pieces:
    n = len(tokenizer.prefix)
    seen = [i for i, (start, end) in enumerate(spans) if start < end]
    framed = [*tokenizer.prefix, *ids, *tokenizer.suffix]
    return Pieces(framed, [n + i for i in seen], [spans[i] for i in seen])
