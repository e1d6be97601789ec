"""Unigram tokenizers (Kudo 2018, §3.2) of large vocabularies, for whoever has a page to cut and not a library.

The ``tokenizers`` library builds a trie of hash tables: of 250,000 pieces it takes a second and 280 MB, most of what a
question costs that is asked in a process of its own. Here the pieces are the keys of one dictionary, and words are cut
in Python: loaded in a twentieth of the time and an eighth of the memory, four times as slow from then on. Normalising
and splitting stay the library's, and so do the encodings. What is needed is kept in the cache folder, in a zip file:
that has checksums.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

from tokenizers import Encoding, PreTokenizedString, Token, Tokenizer

from ...files import replacing

__all__ = ["LightUnigram", "TokenizerFacts"]

_PIECES = 50_000  # of which a tokenizer is worth it
_UNKNOWN = 10.0  # what an unknown character is worth less than the least likely piece; the library's constant
_WORDS = 50_000  # that are remembered
_MODEL = {"type": "WordLevel", "vocab": {"": 0}, "unk_token": ""}  # cuts nothing
_SEPARATOR = "\n"
_RULES, _PIECE_TEXT, _SCORES = "rules.json", "pieces.txt", "scores.f64"


class TokenizerFacts(NamedTuple):
    """What a tokenizer is asked beside cutting texts.

    Attributes:
        prefix, suffix: the special tokens before and after a text.
        pair_pattern: what two texts become: (which text, or None for a special token; its id; its segment) in order.
        special_ids: in no order.
    """

    prefix: list[int]
    suffix: list[int]
    pair_pattern: list[tuple[int | None, int, int]]
    special_ids: list[int]
    vocab_size: int


class LightUnigram:
    """Cuts texts exactly as the library does.

    Args:
        file: what :meth:`keep` wrote.

    Attributes:
        facts: what it was kept with.
    """

    def __init__(self, file: ZipFile) -> None:
        kept = json.loads(file.read(_RULES))
        self.facts = TokenizerFacts(*kept["facts"])
        pieces = file.read(_PIECE_TEXT).decode().split(_SEPARATOR)
        self._ids = dict(zip(pieces, range(len(pieces)), strict=True))  # a sixth quicker than one by one
        self._scores = array("d", file.read(_SCORES))
        self._longest = int(kept["longest"])
        self._unknown = int(kept["unknown"])
        self._unknown_score = float(kept["least"]) - _UNKNOWN
        self._added: list[str] = kept["added"]
        rules = Tokenizer.from_str(json.dumps(kept["rules"]))
        self._normalizer, self._splitter = rules.normalizer, rules.pre_tokenizer
        self._known: dict[str, list[Token]] = {}

    @classmethod
    def kept_in(cls, file: Path) -> LightUnigram | None:
        """The one kept there; None where there is none, or it cannot be read."""
        try:
            with ZipFile(file) as kept:
                return cls(kept)
        except Exception:  # a damaged file is called a dozen things
            return None

    @staticmethod
    def keep(definition: bytes, facts: TokenizerFacts, file: Path) -> None:
        """Keep what is needed of a ``tokenizer.json``, if it is of this kind, large, and the folder can be written."""
        rules = json.loads(definition)
        model = rules.get("model") or {}
        vocabulary, unknown = model.get("vocab") or (), model.get("unk_id")
        of_this_kind = model.get("type") == "Unigram" and unknown is not None and not model.get("byte_fallback")
        if not of_this_kind or len(vocabulary) < _PIECES or not rules.get("normalizer") or not rules["pre_tokenizer"]:
            return
        pieces = [piece for piece, _ in vocabulary]
        if any(_SEPARATOR in piece for piece in pieces) or len(set(pieces)) < len(pieces):
            return
        scores = [score for _, score in vocabulary]
        kept = {
            "facts": facts,
            "least": min(scores),
            "longest": max(map(len, pieces)),
            "unknown": unknown,
            "added": [token["content"] for token in rules.get("added_tokens") or ()],
            "rules": {**rules, "added_tokens": [], "post_processor": None, "model": _MODEL},
        }
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as fresh, ZipFile(fresh, "w") as parts:
                parts.writestr(ZipInfo(_RULES), json.dumps(kept))
                parts.writestr(ZipInfo(_PIECE_TEXT), _SEPARATOR.join(pieces))
                parts.writestr(ZipInfo(_SCORES), array("d", scores).tobytes())

    def encode(self, text: str) -> Encoding | None:
        """One text without special tokens; None where such are written out in it: the library tells what is meant."""
        if any(added in text for added in self._added):
            return None
        parts = PreTokenizedString(text)
        parts.normalize(self._normalizer.normalize)
        self._splitter.pre_tokenize(parts)
        parts.tokenize(self._cut)
        return parts.to_encoding()

    def _cut(self, word: str) -> list[Token]:
        tokens = self._known.get(word)
        if tokens is None:
            if len(self._known) >= _WORDS:
                self._known.clear()
            tokens = self._known[word] = self._best(word)
        return tokens

    def _best(self, word: str) -> list[Token]:
        """The pieces of the highest score together; of equals, those the library comes upon first (Viterbi)."""
        n = len(word)
        scores, starts, ids = [0.0] * (n + 1), [-1] * (n + 1), [0] * (n + 1)
        for start in range(n):
            before = scores[start]
            single = False
            for end in range(start + 1, min(n, start + self._longest) + 1):
                number = self._ids.get(word[start:end])
                if number is None:
                    continue
                single = single or end == start + 1
                score = self._scores[number] + before
                if starts[end] < 0 or score > scores[end]:
                    scores[end], starts[end], ids[end] = score, start, number
            score = self._unknown_score + before
            if not single and (starts[start + 1] < 0 or score > scores[start + 1]):
                scores[start + 1], starts[start + 1], ids[start + 1] = score, start, self._unknown
        pieces: list[tuple[int, int, int]] = []
        end = n
        while end > 0:
            start, number = starts[end], ids[end]
            if pieces and number == pieces[-1][0] == self._unknown:  # neighbours that are unknown are one token
                pieces[-1] = (number, start, pieces[-1][2])
            else:
                pieces.append((number, start, end))
            end = start
        tokens, at = [], 0
        for number, start, end in reversed(pieces):
            piece = word[start:end]
            size = len(piece.encode())
            tokens.append(Token(number, piece, (at, at + size)))
            at += size
        return tokens
