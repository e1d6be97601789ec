"""Text → token ids with the checkpoint's own tokenizer, through the ``tokenizers`` library."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from tokenizers import Encoding, Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence

from ...errors import CheckpointError
from .cache import cache_dir
from .digests import remembered
from .json_files import read_json, read_text, write_json
from .tokenizer_checks import check_definition, tokenizing
from .unigram import LightUnigram, TokenizerFacts
from .wordpiece import SPECIAL_ROLES, content_of, wordpiece_definition

__all__ = ["TextTokenizer", "TokenPair", "end_token_ids", "read_tokenizer", "transformers_tokenizer", "windows"]

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""Files that other libraries may want beside ``tokenizer.json``: saved along."""

_USUAL_ROLES = {
    **{f"[{role.upper()}]": role for role in SPECIAL_ROLES},
    "<pad>": "pad",
    "<unk>": "unk",
    "<s>": "cls",
    "</s>": "sep",
    "<mask>": "mask",
}
"""What special tokens are for, by the names they usually have."""

_END_TOKENS = frozenset(
    ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|end_of_text|>", "<end_of_turn>", "</s>")
)
"""Control tokens that end a turn or a text, whatever the configuration calls ``eos``."""

_BERT_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
"""What a network that tells two texts apart by segment is given; unsaid, transformers would leave the segments out."""


_LARGE = 4 << 20
"""Bytes of a definition that takes long to load."""

_LITTLE = 300_000
"""Characters that are cut lightly: further ones would take longer than loading the library's tokenizer."""

_VERSION = 2
"""Of what is kept of large tokenizers."""

_open: WeakValueDictionary[tuple[object, ...], TextTokenizer] = WeakValueDictionary()
_opening = Lock()


class TokenPair(NamedTuple):
    """Two texts as one sequence of ids, and the segment (0 or 1) of each."""

    ids: list[int]
    segments: list[int]


class TextTokenizer:
    """A checkpoint's tokenizer: never truncates, never pads, and knows its special tokens.

    Args:
        definition: gives the content of a ``tokenizer.json``, once it is needed.
        folder: where it came from; its companion files are copied when saving.
        config: the content of ``tokenizer_config.json``.
        lowercase: lower the case of the text first, whatever the definition says.
        light: cuts the first texts, so that for a few of them the whole tokenizer need not be loaded.
    """

    def __init__(
        self,
        definition: Callable[[], bytes],
        *,
        folder: Path | None = None,
        config: dict[str, Any] | None = None,
        lowercase: bool = False,
        light: LightUnigram | None = None,
    ) -> None:
        self._folder, self._place = folder, folder or "tokenizer.json"
        self._config = config or {}
        self._defined = definition
        self._light, self._lightly_cut = light, 0
        if lowercase:
            whole = self._tokenizer
            normalizers = [Lowercase()] + ([whole.normalizer] if whole.normalizer else [])
            whole.normalizer = NormalizerSequence(normalizers)
            self._definition = whole.to_str().encode()
        self._facts = light.facts if light is not None else self._found_facts()
        self.prefix, self.suffix = self._facts.prefix, self._facts.suffix

    @cached_property
    def _definition(self) -> bytes:
        return self._defined()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """The library's."""
        with tokenizing(self._place):
            tokenizer = Tokenizer.from_buffer(self._definition)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def token_id(self, token: str) -> int | None:
        """The id of a piece as the vocabulary writes it; None if it has none such."""
        return self._tokenizer.token_to_id(token)

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, lowercase: bool = False, trust_remote_code: bool = False
    ) -> TextTokenizer:
        """The tokenizer in a checkpoint folder: ``tokenizer.json``, else BERT's ``vocab.txt``, else by transformers.

        Whoever asks for the same one has the same object: one of 250,000 tokens takes a quarter of a gigabyte.

        Raises:
            CheckpointError: the folder has no tokenizer that can be read.
        """
        folder = Path(folder)
        states = [_file_state(folder / name) for name in ("tokenizer.json", *_COMPANIONS)]
        key = (folder.resolve(), *states, lowercase)
        with _opening:
            shared = _open.get(key)
            if shared is None:
                shared = _open[key] = cls._read(folder, lowercase, trust_remote_code)
        return shared

    @classmethod
    def _read(cls, folder: Path, lowercase: bool, trust_remote_code: bool) -> TextTokenizer:
        config_file = folder / "tokenizer_config.json"
        config = read_json(config_file) if config_file.is_file() else {}
        file = folder / "tokenizer.json"
        if file.is_file():
            if file.stat().st_size > _LARGE and not lowercase:
                return cls._read_large(file, config)
            definition = read_text(file).encode()
            check_definition(definition, file)
        elif (folder / "vocab.txt").is_file():
            definition = wordpiece_definition(folder / "vocab.txt", config).encode()
        else:
            definition = transformers_tokenizer(folder, trust_remote_code=trust_remote_code).to_str().encode()
        return cls(lambda: definition, folder=folder, config=config, lowercase=lowercase)

    @classmethod
    def _read_large(cls, file: Path, config: dict[str, Any]) -> TextTokenizer:
        """With what was kept of it for those who have little to cut, or keeping that."""

        def definition() -> bytes:
            return read_text(file).encode()

        digest = remembered(file.name, file.parent, lambda: hashlib.sha256(definition()).hexdigest())
        kept = cache_dir() / "tokenizers" / f"v{_VERSION}-{digest}.zip"
        light = LightUnigram.kept_in(kept)
        if light is None:
            check_definition(definition(), file)
        made = cls(definition, folder=file.parent, config=config, light=light)
        if light is None:
            LightUnigram.keep(made._definition, made._facts, kept)
        return made

    @property
    def model_max_length(self) -> int | None:
        """The longest sequence the tokenizer's author had in mind; None if unsaid (transformers then writes 1e30)."""
        length = self._config.get("model_max_length")
        return int(length) if isinstance(length, (int, float)) and 0 < length < 1e9 else None

    @property
    def n_special(self) -> int:
        """How many special tokens one text gets."""
        return len(self.prefix) + len(self.suffix)

    @property
    def sha256(self) -> str:
        """SHA-256 over the definition; how the JSON is laid out, truncation and padding do not count."""
        rules = {k: v for k, v in json.loads(self._definition).items() if k not in ("truncation", "padding")}
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of the special tokens, ``[MASK]`` among them."""
        return frozenset(self._facts.special_ids)

    @property
    def mask_id(self) -> int | None:
        """The id of the token that hides another; None if there is none."""
        named = content_of(self._config.get("mask_token"))
        candidates = [named] if named else [token for token, role in _USUAL_ROLES.items() if role == "mask"]
        return next((i for token in candidates if (i := self._tokenizer.token_to_id(token)) is not None), None)

    @property
    def vocab_size(self) -> int:
        """How many different tokens there are, special ones included."""
        return self._facts.vocab_size

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """One ``Encoding`` a text, without special tokens, whole."""
        texts = [_valid(text) for text in texts]
        if self._light is not None and (light := self._lightly(self._light, texts)):
            return light
        with tokenizing(self._place):
            return self._tokenizer.encode_batch(texts, add_special_tokens=False)

    def _lightly(self, light: LightUnigram, texts: Sequence[str]) -> list[Encoding]:
        """The same without the library's tokenizer, as long as loading that would take longer; else nothing."""
        self._lightly_cut += sum(map(len, texts))
        if self._lightly_cut > _LITTLE:
            self._light = None
            return []
        found = [light.encode(text) for text in texts]
        whole = [encoding for encoding in found if encoding is not None]
        return whole if len(whole) == len(found) else []

    def encode_repeated(self, texts: Sequence[str]) -> list[Encoding]:
        """The same where texts come up again and again, as the question beside each passage: each is cut once."""
        different = list(dict.fromkeys(texts))
        encoded = dict(zip(different, self.encode(different), strict=True))
        return [encoded[text] for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where in ``text`` each token stands: character offsets, end exclusive."""
        return self.encode([text])[0].offsets

    @property
    def n_pair_special(self) -> int:
        """How many special tokens two texts get."""
        return sum(text is None for text, _, _ in self._facts.pair_pattern)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> TokenPair:
        """Two texts' ids in one sequence with their special tokens: ``[CLS] first [SEP] second [SEP]`` for BERT."""
        ids: list[int] = []
        segments: list[int] = []
        for text, special, segment in self._facts.pair_pattern:
            piece = [special] if text is None else list((first, second)[text])
            ids += piece
            segments += [segment] * len(piece)
        return TokenPair(ids, segments)

    def save(self, folder: str | Path, *, max_length: int) -> None:
        """Write ``tokenizer.json`` and its companions."""
        folder = Path(folder)
        if self._folder is not None and self._folder.resolve() != folder.resolve():
            for name in _COMPANIONS:
                if (self._folder / name).is_file():
                    shutil.copyfile(self._folder / name, folder / name)
        (folder / "tokenizer.json").write_bytes(self._definition)
        added = [token["content"] for token in json.loads(self._definition).get("added_tokens") or ()]
        roles = {_USUAL_ROLES[content]: content for content in added if content in _USUAL_ROLES}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{f"{role}_token": content for role, content in roles.items()},  # without them nobody could pad
            **({"model_input_names": _BERT_INPUTS} if any(segment for *_, segment in self._facts.pair_pattern) else {}),
            **self._config,
            "model_max_length": max_length,
        }
        write_json(config, folder / "tokenizer_config.json")

    def _found_facts(self) -> TokenizerFacts:
        """Read off what the tokenizer does to samples."""
        with tokenizing(self._place):
            sample, two = self._tokenizer.encode("a"), self._tokenizer.encode("a", "a")
        inside = [i for i, text in enumerate(sample.sequence_ids) if text == 0]
        if not inside:
            raise CheckpointError(f"{self._place}: makes no token of the text 'a'")
        pattern = list(zip(two.sequence_ids, two.ids, two.type_ids, strict=True))
        return TokenizerFacts(
            sample.ids[: inside[0]],
            sample.ids[inside[-1] + 1 :],
            # one entry stands for a whole text, however many tokens the sample's "a" was
            [entry for i, entry in enumerate(pattern) if entry[0] is None or entry[0] != pattern[i - 1][0]],
            [i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special],
            self._tokenizer.get_vocab_size(),
        )


def windows(words: Sequence[int | None], room: int, overlap: int = 0) -> Iterator[slice]:
    """Where a text is cut into windows of nearly equal length, between words where there is a place.

    Args:
        words: which word each token belongs to, as ``Encoding.word_ids``.
        room: the most tokens a window may hold.
        overlap: how many tokens a window shares with the one before; less than half of ``room``.

    Yields:
        the tokens of each window; of a text without tokens, one empty window.
    """
    start, n_tokens = 0, len(words)
    while True:
        left = n_tokens - start
        shares = max(1, -(-(left - overlap) // (room - overlap)))  # windows still needed
        end = start + min(left, overlap - (-(left - overlap) // shares))
        cut = end
        while start < cut < n_tokens and words[cut] is not None and words[cut] == words[cut - 1]:
            cut -= 1
        if cut - start > (end - start + overlap) // 2:
            end = cut
        yield slice(start, end)
        if end >= n_tokens:
            return
        start = end - overlap


def _file_state(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does: its number, size and time of change."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``.

    Raises:
        CheckpointError: it is missing or cannot be read.
    """
    definition = read_text(file).encode()
    check_definition(definition, file)
    with tokenizing(file):
        tokenizer: Tokenizer = Tokenizer.from_buffer(definition)
    tokenizer.no_truncation()  # some files carry the settings of their training
    tokenizer.no_padding()
    return tokenizer


def transformers_tokenizer(folder: Path, *, gguf_file: str | None = None, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer that transformers makes of what lies in ``folder``, for what is not a ``tokenizer.json``.

    Raises:
        CheckpointError: transformers cannot, or its tokenizer has no fast form.
    """
    from transformers import AutoTokenizer

    options = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        loaded = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code, **options
        )
    except Exception as error:  # as above, anything
        raise CheckpointError(f"{folder}: has no tokenizer that can be read: {error}") from error
    tokenizer: Tokenizer | None = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise CheckpointError(f"{folder}: its tokenizer has no fast form; save it as tokenizer.json with transformers")
    return tokenizer


def end_token_ids(tokenizer: Tokenizer, named: Sequence[object]) -> frozenset[int]:
    """The ids that a configuration names (what is no id is left out) and those of the usual end tokens."""
    added = tokenizer.get_added_tokens_decoder().items()
    usual = {index for index, token in added if token.special and token.content in _END_TOKENS}
    return frozenset(usual | {value for value in named if isinstance(value, int) and not isinstance(value, bool)})


def _valid(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD, one for one: offsets stay true."""
    return _LONE_SURROGATES.sub("\ufffd", text)
