"""A network in 8 bits: made for how far its activations reach, and with what rounding them costs.

Both are found once, from sentences the package carries, and kept in the cache folder with the integers themselves: a
network is read in float32 for it, which takes longer than all the rest of loading one.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..files.cache import cache_dir, trim
from ..files.digests import state_of
from ..files.tokenizer import TextTokenizer, TokenPair
from ..files.weights import read_tensors, save_tensors
from ..hardware import multiplies_bfloat16
from ..layers.int8_projection import weight_limits
from .inference import PreparedBert
from .int8 import Int8Weights, activation_ranges, int8_weights
from .network import Bert

__all__ = ["Calibration", "calibrate", "calibrated", "calibration_pairs", "calibration_sequences"]

log = logging.getLogger("langbert")

_LONGEST = 64
"""Tokens of one calibration sentence. They run as one padded batch, which like lengths keep quick."""

_QUESTION = 24
"""Tokens of the first text of a pair, which usually is a question."""

_MEAN, _LEAST = 0.9985, 0.99
"""The cosines that 8 bits must keep, over all sentences and of each, where nobody asked for them. Wanted is 0.998 of
other texts, and these sentences are the very ones that the grids were made for: without VNNI, plainly rounded, minilm
keeps 0.9981 of them, and 0.9967 of paragraphs of SQuAD."""

_VERSION = 3
"""To be raised whenever the same network would come out otherwise."""

_KEPT = 512 << 20
"""Bytes that networks take in the cache folder; those of e5-small, 22 MB."""


class Calibration(NamedTuple):
    """What calibrating found.

    Attributes:
        layers: of the network, in 8 bits.
        cosines: of each sentence, between the means of its tokens' states in float32 and in int8, ``(n,)`` float32.
    """

    layers: list[Int8Weights]
    cosines: Tensor

    @property
    def is_close(self) -> bool:
        """Whether int8 loses so little that it may be chosen for somebody."""
        return bool(self.cosines.mean() >= _MEAN and self.cosines.min() >= _LEAST)

    def __str__(self) -> str:
        return f"cosine to float32 {float(self.cosines.mean()):.4f}, {float(self.cosines.min()):.4f} at least"


def calibration_sequences(
    tokenizer: TextTokenizer, max_length: int | None = None, texts: Iterable[str] | None = None
) -> list[list[int]]:
    """Token ids with special tokens, for :func:`~langbert.models.bert.int8.activation_ranges`.

    The package's own sentences, some 1,400 tokens, are prose, questions, code, formulas and tables in a dozen
    languages, single words, and nothing at all: an empty text drives some neurons further than any other.

    Args:
        max_length: the longest sequence the network takes, special tokens included.
        texts: to use instead.
    """
    texts = ["", *_sentences()] if texts is None else texts
    room = max(0, min(_LONGEST, max_length or _LONGEST) - tokenizer.n_special)
    return [[*tokenizer.prefix, *encoding.ids[:room], *tokenizer.suffix] for encoding in tokenizer.encode(list(texts))]


def calibration_pairs(tokenizer: TextTokenizer, max_length: int | None = None) -> list[TokenPair]:
    """The same for networks that read two texts: the beginning of each sentence, and a whole other one."""
    room = max(2, min(_QUESTION + _LONGEST, max_length or _QUESTION + _LONGEST) - tokenizer.n_pair_special)
    first = min(_QUESTION, room // 2)
    ids = [encoding.ids for encoding in tokenizer.encode(_sentences())]
    return [tokenizer.pair(own[:first], other[: room - first]) for own, other in zip(ids, [*ids[1:], []], strict=True)]


def calibrate(bert: Bert, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None) -> Calibration:
    """Run ``bert``, float32 and on the CPU, over the sequences.

    Raises:
        ValueError: there are none, or this processor cannot compute in int8.
    """
    weight_limits()  # before the work
    ends = list(accumulate(map(len, sequences)))[:-1]

    def means(network: PreparedBert) -> Tensor:
        return torch.stack([own.mean(0) for own in network(sequences, segments).tensor_split(ends)])

    def found(careful: bool) -> Calibration:
        layers = int8_weights(bert, activation_ranges(bert, sequences, segments, careful=careful))
        int8 = PreparedBert(bert, dtype=torch.int8, int8=layers)
        return Calibration(layers, torch.cosine_similarity(exact, means(int8)))

    exact = means(PreparedBert(bert))
    plain = found(careful=False)
    return plain if plain.is_close else found(careful=True)


def calibrated(
    load: Callable[[], Bert], tokenizer: Callable[[], TextTokenizer], folders: Sequence[Path], *, pairs: bool = False
) -> Calibration:
    """The network's calibration, kept for as long as the files in its folders stay as they are, and it is used.

    Args:
        load: gives the network, if it has to be run.
        folders: where it and its tokenizer come from.
        pairs: whether it reads two texts at a time.

    Raises:
        ValueError: this processor cannot compute in int8.
    """
    what = f"int8 v{_VERSION}, pairs {pairs}, limits {weight_limits()}, bfloat16 {multiplies_bfloat16()}"
    key = state_of(what, *folders)
    file = cache_dir() / "int8" / f"{key}.safetensors"
    known = _unkept.get(key) or _read(file, key)
    if known is None:
        bert = load()
        most = bert.config.max_positions
        read = calibration_pairs(tokenizer(), most) if pairs else None
        sequences = [pair.ids for pair in read] if read else calibration_sequences(tokenizer(), most)
        known = calibrate(bert, sequences, [pair.segments for pair in read] if read else None)
        log.info("%s in int8: %s", folders[0], known)
        try:
            _keep(known, file, key)
        except OSError:
            _unkept[key] = known
    return known


_unkept: dict[str, Calibration] = {}
"""What could not be written, for the rest of the process."""


def _keep(known: Calibration, file: Path, key: str) -> None:
    tensors = {"cosines": known.cosines}
    for i, layer in enumerate(known.layers):
        tensors.update(layer.tensors(f"{i}."))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_tensors({**tensors, "checksum": torch.tensor([_checksum(key, tensors)])}, file)
    trim(file.parent, _KEPT)


def _read(file: Path, key: str) -> Calibration | None:
    """What was kept there, whole and under this key."""
    try:
        tensors = read_tensors(file)
        if tensors.pop("checksum").tolist() != [_checksum(key, tensors)]:
            return None
        # the integers are laid out anew and let go; for the sake of anything else the file would stay open
        tensors = {name: each if name.endswith(".rounded") else each.clone() for name, each in tensors.items()}
        cosines = tensors.pop("cosines")
        n_layers = len({name.partition(".")[0] for name in tensors})
        known = Calibration([Int8Weights.of(tensors, f"{i}.") for i in range(n_layers)], cosines)
    except (CheckpointError, KeyError):
        return None
    with contextlib.suppress(OSError):
        file.touch()  # which of them is used is what is kept
    return known


def _checksum(key: str, tensors: Mapping[str, Tensor]) -> int:
    """Of what was kept under ``key``. It tells damage, not malice: who can write here can write models, too."""
    found = zlib.crc32(key.encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, found)
    return found


def _sentences() -> list[str]:
    return Path(__file__).with_name("calibration.txt").read_text(encoding="utf-8").splitlines()
