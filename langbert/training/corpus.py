"""Documents as pre-training sees them: sentences of token ids, packed into sequences, drawn as pairs."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..models.files.tokenizer import TextTokenizer, windows
from ..text.sentences import sentences
from .data import texts_in
from .masking import continued

_BLANK_LINE = re.compile(r"\n[ \t\r\f\v\u3000]*\n")
_PLAIN = ("", ".txt", ".text")
_TRIES = 100  # to find a second text of the right length


def read_texts(data: str | Path) -> list[str]:
    """The documents of ``data``, in a fixed order.

    Args:
        data: a folder of documents in any format that is read, or one such file; a plain text file holds many, a
            blank line after each.

    Raises:
        DataError: there is no such thing, or nothing in it that can be read.
    """
    path = Path(data)
    texts = texts_in(path)
    if path.is_file() and path.suffix.lower() in _PLAIN:
        return [text for text in _BLANK_LINE.split(texts[0]) if text.strip()]
    return texts


class Stretch(NamedTuple):
    """Some sentences of one document.

    Attributes:
        document: its number.
        start, stop: the numbers of its first sentence, and of the one after the last.
    """

    document: int
    start: int
    stop: int


class Drawn(NamedTuple):
    """One or two texts that will be one sequence, as ``[start, stop)`` in the corpus; whether they belong together."""

    texts: tuple[tuple[int, int], ...]
    follows: bool


@dataclass(frozen=True, slots=True)
class Corpus:
    """Tokenised documents, one after the other.

    Attributes:
        token_ids: ``(n_tokens,)`` int32.
        goes_on: ``(n_tokens,)`` bool: the token belongs to the word of the one before.
        sentences: where each sentence starts in ``token_ids``, and the end.
        documents: where each document starts in ``sentences``, and the end.
    """

    token_ids: NDArray[np.int32]
    goes_on: NDArray[np.bool_]
    sentences: list[int]
    documents: list[int]

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: TextTokenizer, longest: int, *, whole_words: bool) -> Corpus:
        """Tokenise ``texts``; a sentence of more than ``longest`` tokens becomes several, cut between words.

        Without ``whole_words`` every token counts as a word.
        """
        ids: list[NDArray[np.int32]] = []
        goes_on: list[NDArray[np.bool_]] = []
        sizes: list[int] = []
        counts: list[int] = []
        for text in texts:
            before = len(sizes)
            parts = [text[start:end] for start, end in sentences(text)]
            for part, encoding in zip(parts, tokenizer.encode(parts), strict=True):
                n = len(encoding.ids)
                joins = continued(part, encoding.offsets, encoding.word_ids) if whole_words else [False] * n
                if n:
                    sizes.extend(cut.stop - cut.start for cut in windows(encoding.word_ids, longest))
                ids.append(np.array(encoding.ids, dtype=np.int32))
                goes_on.append(np.array(joins, dtype=np.bool_))
            if len(sizes) > before:
                counts.append(len(sizes) - before)
        empty = np.zeros(0)
        return cls(
            np.concatenate([*ids, empty.astype(np.int32)]),
            np.concatenate([*goes_on, empty.astype(np.bool_)]),
            list(accumulate(sizes, initial=0)),
            list(accumulate(counts, initial=0)),
        )

    def __len__(self) -> int:
        """How many documents."""
        return len(self.documents) - 1

    def size(self, start: int, stop: int) -> int:
        """The tokens of sentences ``[start, stop)``."""
        return self.sentences[stop] - self.sentences[start]

    def stretches(self, room: int, least: int) -> list[Stretch]:
        """All documents cut into stretches of ``least`` sentences or more that have at most ``room`` tokens.

        None goes over the end of a document (as DOC-SENTENCES in Liu et al. 2019, "RoBERTa", §4.2). Documents of fewer
        than ``least`` sentences are left out; no sentence may have more than ``room // least`` tokens.
        """
        found: list[Stretch] = []
        for document, (first, last) in enumerate(pairwise(self.documents)):
            start = first
            while start < last and last - first >= least:
                start = min(start, last - least)
                stop = max(start + 1, self._at_most(start, last, room))
                found.append(Stretch(document, start, stop))
                start = stop
        return found

    def _at_most(self, start: int, last: int, room: int) -> int:
        """Where the sentences from ``start`` end that have at most ``room`` tokens together; ``start`` if none has."""
        return bisect_right(self.sentences, self.sentences[start] + room, start, last + 1) - 1

    def whole(self, stretch: Stretch) -> Drawn:
        """The stretch as one text."""
        return Drawn(((self.sentences[stretch.start], self.sentences[stretch.stop]),), True)

    def pair(self, stretch: Stretch, rng: random.Random) -> Drawn:
        """Sentences A, and B: half of the time what follows A, half of the time from another document (§3.1)."""
        cut = rng.randrange(stretch.start + 1, stretch.stop)
        middle, end = self.sentences[cut], self.sentences[stretch.stop]
        first = (self.sentences[stretch.start], middle)
        if rng.random() < 0.5:
            return Drawn((first, (middle, end)), True)
        return Drawn((first, self._elsewhere(stretch.document, end - middle, rng)), False)

    def _elsewhere(self, document: int, size: int, rng: random.Random) -> tuple[int, int]:
        """Sentences of another document that look like what they stand for, so that their looks betray nothing.

        Whole sentences, not the first of their document, nearly always of exactly ``size`` tokens: knowing lengths
        alone, one can tell B that was merely filled up from B that follows in 57 to 60 % of cases.
        """
        first, last = self.documents[document], self.documents[document + 1]
        best = (0, 0)
        for _ in range(_TRIES):
            start = rng.randrange(len(self.sentences) - 1 - (last - first))
            start += (last - first) * (start >= first)
            after = bisect_right(self.documents, start)
            begins, ends = self.documents[after - 1], self.documents[after]
            stop = self._at_most(start, ends, size)
            found = (self.sentences[start], self.sentences[stop])
            if (start > begins or ends - begins == 1) and found[1] - found[0] > best[1] - best[0]:
                best = found
            if best[1] - best[0] == size:
                return best
        return best if best[1] > best[0] else (found[0], min(found[0] + size, self.sentences[ends]))

    def texts(self, drawn: Drawn) -> Iterator[tuple[list[int], list[int]]]:
        """Token ids and ``goes_on`` of each text; the first token of a text goes on with nothing."""
        for start, stop in drawn.texts:
            goes_on = self.goes_on[start:stop].tolist()
            yield self.token_ids[start:stop].tolist(), [0, *map(int, goes_on[1:])]
