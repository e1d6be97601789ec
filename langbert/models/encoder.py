"""The encoders that stages run: token ids in, one vector per token out, whichever library holds the weights.

BERT and recurrent networks are our own; every other family runs through ``transformers``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError
from .architectures.recurrent import RecurrentTextEncoder, is_recurrent, load_recurrent
from .bert.calibration import calibrated
from .bert.checkpoint import is_bert
from .bert.evidence import (
    ROWS,
    EvidenceCalibration,
    EvidenceStates,
    is_evidence,
    load_evidence_encoder,
    shared_evidence,
)
from .bert.inference import PreparedBert
from .bert.int8 import Int8Weights
from .bert.loading import (
    ReaderCheckpoint,
    load_bert,
    load_cross_encoder,
    load_span_reader,
    read_calibration,
    save_bert,
)
from .bert.network import Bert
from .files.adapters import base_of
from .files.json_files import read_json
from .files.tokenizer import TextTokenizer
from .files.weights import Weight
from .hardware import release_memory, resolve_precision
from .layers.low_bit_table import LowBitTable
from .transformers_models import TransformersCrossEncoder, TransformersEncoder

log = logging.getLogger("langbert")


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
        dtype: what it computes in; int8 is that of its linear layers.
    """

    hidden_size: int
    dtype: torch.dtype
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
        load: gives the network, now, without ``matrices`` if they are there in 8 bits, and again when its weights are
            asked for: only what inference needs stays in memory.
        dtype, device, int8: as :class:`~langbert.models.bert.inference.PreparedBert` takes them.
    """

    def __init__(
        self,
        load: Callable[..., Bert],
        *,
        dtype: torch.dtype,
        device: torch.device,
        int8: Sequence[Int8Weights] = (),
    ) -> None:
        self._load = load
        bert = load(matrices=not int8)
        self._prepared = PreparedBert(bert, dtype=dtype, device=device, int8=int8)
        self.hidden_size, self.dtype = bert.config.hidden_size, dtype
        self._n_tokens = bert.config.vocab_size
        self.max_length: int | None = bert.config.max_positions
        self.pooler: nn.Module | None = None if bert.pooler is None else bert.pooler.to(device)
        del bert
        release_memory()

    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        try:
            return self._prepared(sequences, segments)
        except IndexError as error:
            token = max(max(ids, default=0) for ids in sequences)
            if token < self._n_tokens:
                raise
            raise CheckpointError(
                f"a text has the token {token}, and the network knows {self._n_tokens}: its tokenizer is another "
                "model's; take both from one copy"
            ) from error

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
        dtype: what it computes in.
    """

    states: TokenStates
    logits: Callable[[Tensor], Tensor]
    max_length: int | None
    dtype: torch.dtype


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
    folder: str | Path,
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    trust_remote_code: bool = False,
) -> Encoder:
    """The network in a checkpoint folder.

    Args:
        dtype: what to compute in; None takes what is quickest here, and loses next to nothing by it.

    Raises:
        CheckpointError: the folder is not one whole checkpoint, or only runs with code of its own, or is to compute in
            int8 and is no BERT.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if is_bert(config):
        load = partial(load_bert, folder, low_bit=True)
        dtype, int8 = _chosen(dtype, device, load, [folder])
        return BertEncoder(load, dtype=dtype, device=device, int8=int8)
    dtype = dtype or resolve_precision("auto", device)
    if dtype == torch.int8:
        raise CheckpointError(f"{folder}: precision 'int8' is for BERT checkpoints; choose 'auto' for others")
    if is_recurrent(config):
        return RecurrentTextEncoder(load_recurrent(folder), dtype=dtype, device=device)
    return TransformersEncoder(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)


def load_pair_scorer(
    folder: Path,
    base: Path,
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    trust_remote_code: bool = False,
) -> PairScorer:
    """The cross-encoder in a checkpoint folder.

    Args:
        base: the folder of config and tokenizer: another than ``folder`` where that holds adapters only.
        dtype: as for :func:`load_encoder`.

    Raises:
        CheckpointError: the folder is not one whole cross-encoder with one label.
    """
    if is_evidence(folder):
        evidence = load_evidence(folder, base, dtype=dtype, device=device)
        _, _, slope, bias = evidence.calibration
        relevance = lambda first: slope * first[:, ROWS.RELEVANCE] + bias  # noqa: E731
        return PairScorer(evidence, relevance, evidence.max_length, evidence.dtype)
    if is_bert(read_json(base / "config.json")):
        network = load_cross_encoder(folder, base=base if base != folder else None).to(device)
        _check_labels(folder, network.classifier.linear.out_features)
        dtype, int8 = _chosen(dtype, device, lambda: network.bert, [base, folder], pairs=True)
        prepared = PreparedBert(network.bert, dtype=dtype, device=device, int8=int8)
        head = nn.Sequential(network.pooler, network.classifier)
        return PairScorer(prepared, lambda first: head(first.float())[:, 0], prepared.config.max_positions, dtype)
    dtype = dtype or resolve_precision("auto", device)
    theirs = TransformersCrossEncoder(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    _check_labels(folder, theirs.n_labels)
    return PairScorer(theirs, lambda first: first[:, 0], theirs.max_length, dtype)


def load_span_scorer(
    source: Path | ReaderCheckpoint,
    *,
    dtype: torch.dtype | None,
    device: torch.device,
    offline: bool | None = None,
) -> SpanScorer:
    """The reader in a checkpoint folder, or one in memory, whose weights are copied.

    Args:
        dtype: as for :func:`load_encoder`.

    Raises:
        CheckpointError: the folder is no BERT reader, or not whole.
    """
    if isinstance(source, Path) and is_evidence(source):
        base = base_of(source, offline=offline)
        evidence = load_evidence(source, base, dtype=dtype, device=device)
        calibration = evidence.calibration[:2]
        return SpanScorer(evidence, lambda rows: rows[:, ROWS.SPANS], TextTokenizer.from_folder(base), calibration)
    loaded = source if isinstance(source, ReaderCheckpoint) else load_span_reader(source, offline=offline)
    bert = loaded.network.bert
    if isinstance(source, Path):
        dtype, int8 = _chosen(dtype, device, lambda: bert, [base_of(source, offline=offline), source], pairs=True)
    else:
        dtype, int8 = dtype or resolve_precision("auto", device), ()
    prepared = PreparedBert(bert, dtype=dtype, device=device, int8=int8)
    weight, bias = (
        tensor.detach().to(device, torch.float32) for tensor in (loaded.network.head.weight, loaded.network.head.bias)
    )
    return SpanScorer(prepared, lambda rows: F.linear(rows.float(), weight, bias), loaded.tokenizer, loaded.calibration)


def load_evidence(folder: Path, base: Path, *, dtype: torch.dtype | None, device: torch.device) -> EvidenceStates:
    """The evidence encoder in ``folder``, in memory once for all who use it; arguments as for the others."""

    def loaded() -> EvidenceStates:
        load = partial(load_evidence_encoder, folder, base)
        chosen, int8 = _chosen(dtype, device, lambda: load().bert, [base, folder], pairs=True)
        calibration = EvidenceCalibration(**read_calibration(folder, **EvidenceCalibration()._asdict()))
        network = load(matrices=not int8)
        states = EvidenceStates(network, dtype=chosen, device=device, calibration=calibration, int8=int8)
        release_memory()
        return states

    return shared_evidence(folder, dtype, device, loaded)


def _chosen(
    dtype: torch.dtype | None,
    device: torch.device,
    load: Callable[[], Bert],
    folders: Sequence[Path],
    *,
    pairs: bool = False,
) -> tuple[torch.dtype, Sequence[Int8Weights]]:
    """What a BERT computes in, and its layers if that is int8.

    Args:
        folders: where network and tokenizer come from, the tokenizer from the first.
        pairs: whether it reads two texts at a time.
    """
    other = resolve_precision("auto", device) if dtype is None else dtype
    if dtype not in (None, torch.int8) or device.type != "cpu":
        return other, ()
    if dtype is None and pairs and other == torch.bfloat16:
        return other, ()  # scores are held against fixed thresholds: the closer the better
    try:
        found = calibrated(load, partial(TextTokenizer.from_folder, folders[0]), folders, pairs=pairs)
    except ValueError:
        if dtype is None:
            return other, ()  # this processor cannot
        raise
    if dtype is None and not found.is_close:
        log.info("%s computes in %s: in int8 it has a %s", folders[-1], other, found)
        return other, ()
    return torch.int8, found.layers


def _check_labels(folder: Path, n_labels: int) -> None:
    if n_labels != 1:
        raise CheckpointError(f"{folder}: has {n_labels} labels; a reranker is a cross-encoder with one")
