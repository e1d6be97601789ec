"""The encoders that stages run: token ids in, one vector per token out, whichever library holds the weights.

BERT and recurrent networks are our own; every other family runs through ``transformers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError
from .architectures.recurrent import RecurrentTextEncoder, is_recurrent, load_recurrent
from .bert.checkpoint import is_bert, parse_config
from .bert.evidence import ROWS, is_evidence, shared_evidence
from .bert.inference import PreparedBert
from .bert.int8 import calibration_sequences
from .bert.loading import ReaderCheckpoint, load_bert, load_cross_encoder, load_span_reader, save_bert
from .bert.network import Bert
from .files.lora import base_of
from .files.tokenizer import TextTokenizer
from .files.weights import Weight, read_json
from .layers.low_bit_table import LowBitTable
from .transformers_models import TransformersCrossEncoder, TransformersEncoder

__all__ = [
    "BertEncoder",
    "Encoder",
    "PairScorer",
    "SpanScorer",
    "TokenStates",
    "load_encoder",
    "load_pair_scorer",
    "load_span_scorer",
]


class TokenStates(Protocol):
    """A network that gives every token a row."""

    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        """Packed rows, those of one sequence after those of another.

        Args:
            sequences: token ids with their special tokens, shortest first.
            segments: the segment id of each token; None for single texts.

        Returns:
            ``(total, H)``, in the same order.
        """
        ...


class Encoder(TokenStates, Protocol):
    """One that texts are embedded with: the rows are hidden states.

    Attributes:
        hidden_size: H.
        max_length: the longest sequence, special tokens included; None if the network has no limit.
        pooler: the trained layer over the first token, if the checkpoint has one.
    """

    hidden_size: int
    max_length: int | None
    pooler: nn.Module | None

    def weights(self) -> Mapping[str, Weight]:
        """What the hidden states depend on, by a name that stays the same however it is stored."""
        ...

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` for transformers."""
        ...


class BertEncoder:
    """Our BERT, run without padding.

    Args:
        load: gives the network, now, and again when its weights are asked for: only what inference needs stays in
            memory.
        dtype, device, calibration: as :class:`~langbert.models.bert.inference.PreparedBert` takes them.
    """

    def __init__(
        self,
        load: Callable[[], Bert],
        *,
        dtype: torch.dtype,
        device: torch.device,
        calibration: Sequence[Sequence[int]] = (),
    ) -> None:
        self._load = load
        bert = load()
        self._prepared = PreparedBert(bert, dtype=dtype, device=device, calibration=calibration)
        self.hidden_size = bert.config.hidden_size
        self.max_length: int | None = bert.config.max_positions
        self.pooler: nn.Module | None = None if bert.pooler is None else bert.pooler.to(device)

    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        return self._prepared(sequences, segments)

    def weights(self) -> Mapping[str, Weight]:
        bert = self._load()
        tensors = {name: tensor for name, tensor in bert.state_dict().items() if not name.startswith("pooler.")}
        table = bert.embeddings.tokens
        if isinstance(table, LowBitTable):
            del tensors["embeddings.tokens.blocks"]
            return {**tensors, "embeddings.tokens.weight": table}
        return tensors

    def save(self, folder: Path) -> None:
        save_bert(self._load(), folder)


class PairScorer(NamedTuple):
    """A network that scores how well the second text of a pair answers the first.

    Attributes:
        states: its encoder.
        logits: the rows of first tokens, ``(n, H)`` → ``(n,)`` float32.
        max_length: the longest pair, special tokens included; None if the network has no limit.
    """

    states: TokenStates
    logits: Callable[[Tensor], Tensor]
    max_length: int | None


class SpanScorer(NamedTuple):
    """A network that points at answers.

    Attributes:
        states: its encoder.
        logits: rows of tokens, ``(n, H)`` → ``(n, 2)`` float32: of start and end.
        tokenizer: of question and passage.
        calibration: ``(slope, bias)``: a span's score is ``sigmoid(slope · margin + bias)``.
    """

    states: TokenStates
    logits: Callable[[Tensor], Tensor]
    tokenizer: TextTokenizer
    calibration: tuple[float, float]


def load_encoder(
    folder: str | Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
) -> Encoder:
    """The network in a checkpoint folder.

    Raises:
        CheckpointError: the folder is not one whole checkpoint, or only runs with code of its own, or is to compute in
            int8 and is no BERT.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if is_bert(config):
        calibration: Sequence[Sequence[int]] = ()
        if dtype == torch.int8:
            positions = parse_config(config, folder / "config.json").max_positions
            calibration = calibration_sequences(TextTokenizer.from_folder(folder), positions)
        return BertEncoder(
            partial(load_bert, folder, low_bit=True), dtype=dtype, device=device, calibration=calibration
        )
    if dtype == torch.int8:
        raise CheckpointError(f"{folder}: precision 'int8' is for BERT checkpoints; choose 'auto' for others")
    if is_recurrent(config):
        return RecurrentTextEncoder(load_recurrent(folder), dtype=dtype, device=device)
    return TransformersEncoder(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)


def load_pair_scorer(
    folder: Path, base: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
) -> PairScorer:
    """The cross-encoder in a checkpoint folder.

    Args:
        base: the folder of config and tokenizer: another than ``folder`` where that holds adapters only.

    Raises:
        CheckpointError: the folder is not one whole cross-encoder with one label.
    """
    if is_evidence(folder):
        evidence = shared_evidence(folder, base, dtype=dtype, device=device)
        _, _, slope, bias = evidence.calibration
        return PairScorer(evidence, lambda first: slope * first[:, ROWS.RELEVANCE] + bias, evidence.max_length)
    if is_bert(read_json(base / "config.json")):
        network = load_cross_encoder(folder, base=base if base != folder else None).to(device)
        _check_labels(folder, network.classifier.linear.out_features)
        prepared = PreparedBert(network.bert, dtype=dtype, device=device)
        head = nn.Sequential(network.pooler, network.classifier)
        return PairScorer(prepared, lambda first: head(first.float())[:, 0], prepared.config.max_positions)
    theirs = TransformersCrossEncoder(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    _check_labels(folder, theirs.n_labels)
    return PairScorer(theirs, lambda first: first[:, 0], theirs.max_length)


def load_span_scorer(
    source: Path | ReaderCheckpoint, *, dtype: torch.dtype, device: torch.device, offline: bool | None = None
) -> SpanScorer:
    """The reader in a checkpoint folder, or one in memory, whose weights are copied.

    Raises:
        CheckpointError: the folder is no BERT reader, or not whole.
    """
    if isinstance(source, Path) and is_evidence(source):
        base = base_of(source, offline=offline)
        evidence = shared_evidence(source, base, dtype=dtype, device=device)
        calibration = evidence.calibration[:2]
        return SpanScorer(evidence, lambda rows: rows[:, ROWS.SPANS], TextTokenizer.from_folder(base), calibration)
    loaded = source if isinstance(source, ReaderCheckpoint) else load_span_reader(source, offline=offline)
    prepared = PreparedBert(loaded.network.bert, dtype=dtype, device=device)
    weight, bias = (
        tensor.detach().to(device, torch.float32) for tensor in (loaded.network.head.weight, loaded.network.head.bias)
    )
    return SpanScorer(prepared, lambda rows: F.linear(rows.float(), weight, bias), loaded.tokenizer, loaded.calibration)


def _check_labels(folder: Path, n_labels: int) -> None:
    if n_labels != 1:
        raise CheckpointError(f"{folder}: has {n_labels} labels; a reranker is a cross-encoder with one")
