"""One BERT that reads a pair of texts once and tells three things of it: a cross-encoder with several heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..files.adapters import ADAPTER_CONFIG, is_adapter
from ..files.json_files import read_json
from ..files.lora import merge_adapters
from .heads import SequenceClassifier
from .inference import PreparedBert
from .int8 import Int8Weights
from .loading import load_bert
from .network import Bert, Pooler

__all__ = [
    "ENTAILMENT",
    "HEADS",
    "ROWS",
    "EvidenceCalibration",
    "EvidenceEncoder",
    "EvidenceLogits",
    "EvidenceStates",
    "is_evidence",
    "load_evidence_encoder",
    "shared_evidence",
]

ENTAILMENT = ("entailed", "neutral", "contradicted")
"""How a hypothesis stands to its premise (Bowman et al. 2015, "SNLI", §2), in the order of the logits."""

HEADS = ("span_head", "relevance_head", "entailment_head")


_KEPT = 256  # pairs whose logits are remembered
_LONGEST = 384  # tokens of a pair: what readers read at once


class EvidenceLogits(NamedTuple):
    """What :class:`EvidenceEncoder` says of pairs.

    Attributes:
        spans: ``(B, T, 2)``: where the answer starts and ends; the first token's stand for "no answer here".
        relevance: ``(B,)``: whether the second text, a passage, answers the first, a question.
        entailment: ``(B, 3)``: how the second text, a hypothesis, stands to the first: :data:`ENTAILMENT`.
    """

    spans: Tensor
    relevance: Tensor
    entailment: Tensor


class PairHead(nn.Sequential):
    """Logits of a pair from its first token: a pooler, then a linear layer (Devlin et al. 2019, §4.1)."""

    def __init__(self, hidden_size: int, n_labels: int) -> None:
        super().__init__(Pooler(hidden_size), SequenceClassifier(hidden_size, n_labels, dropout=0.0))


class EvidenceEncoder(nn.Module):
    """Relevance and answer span of a question and a passage, and entailment of a premise and a hypothesis."""

    def __init__(self, bert: Bert) -> None:
        super().__init__()
        self.bert = bert
        self.span_head = nn.Linear(bert.config.hidden_size, 2)
        self.relevance_head = PairHead(bert.config.hidden_size, 1)
        self.entailment_head = PairHead(bert.config.hidden_size, len(ENTAILMENT))

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> EvidenceLogits:
        """``(B, T)`` ids, mask (padding on the right) and segments, as :meth:`Bert.forward` takes them."""
        hidden_states = self.bert(token_ids, attention_mask, segment_ids)
        return self.heads(hidden_states, hidden_states[:, 0])

    def heads(self, hidden_states: Tensor, first_tokens: Tensor) -> EvidenceLogits:
        """``(…, H)`` states of all tokens and ``(B, H)`` of each pair's first → logits."""
        return EvidenceLogits(
            self.span_head(hidden_states),
            self.relevance_head(first_tokens)[:, 0],
            self.entailment_head(first_tokens),
        )


class EvidenceCalibration(NamedTuple):
    """Slopes and biases that turn a span's margin and a relevance into the log-odds of their being right."""

    span_slope: float = 1.0
    span_bias: float = 0.0
    relevance_slope: float = 1.0
    relevance_bias: float = 0.0


class ROWS:
    """What stands where in a row of :class:`EvidenceStates`; all but the spans is said in a pair's first row."""

    SPANS = slice(0, 2)
    RELEVANCE = 2
    ENTAILMENT = slice(3, 6)


class EvidenceStates:
    """An :class:`EvidenceEncoder` run without padding, once for each pair: a row of logits per token.

    The pairs read last are remembered, so that whoever asks for the spans of passages that have just been reranked
    waits for nothing.

    Args:
        network: whose weights are copied.
        dtype, device, int8: as :class:`~langbert.models.bert.inference.PreparedBert` takes them.
        calibration: as it was trained.

    Attributes:
        max_length: tokens of a pair, special ones included.
        dtype: what it computes in.
    """

    def __init__(
        self,
        network: EvidenceEncoder,
        *,
        dtype: torch.dtype,
        device: torch.device,
        calibration: EvidenceCalibration,
        int8: Sequence[Int8Weights] = (),
    ) -> None:
        self.dtype = dtype
        self._prepared = PreparedBert(network.bert, dtype=dtype, device=device, int8=int8)
        self._span, self._relevance, self._entailment = (
            head.to(device) for head in (network.span_head, network.relevance_head, network.entailment_head)
        )
        self.calibration = calibration
        self.max_length = min(_LONGEST, network.bert.config.max_positions)
        self._remembered: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        """``(total, 6)`` float32 of packed pairs: see :class:`ROWS`."""
        keys = [tuple(ids) for ids in sequences]
        with self._lock:
            found = {key: self._remembered[key] for key in keys if key in self._remembered}
        new = {key: i for i, key in enumerate(keys) if key not in found}
        if new:
            places = sorted(new.values())  # shortest first, as they came
            read = self._read([sequences[i] for i in places], segments and [segments[i] for i in places])
            found.update(zip((keys[i] for i in places), read, strict=True))
        with self._lock:
            for key in keys:
                self._remembered[key] = found[key]
                self._remembered.move_to_end(key)
            while len(self._remembered) > _KEPT:
                self._remembered.popitem(last=False)
        return torch.cat([found[key] for key in keys])

    def _read(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None) -> Sequence[Tensor]:
        states = self._prepared(sequences, segments).float()
        lengths = [len(ids) for ids in sequences]
        firsts = torch.tensor([0, *lengths[:-1]], device=states.device).cumsum(0)
        rows = states.new_zeros(len(states), ROWS.ENTAILMENT.stop)
        rows[:, ROWS.SPANS] = self._span(states)
        rows[firsts, ROWS.RELEVANCE] = self._relevance(states[firsts])[:, 0]
        rows[firsts, ROWS.ENTAILMENT] = self._entailment(states[firsts])
        return torch.split(rows, lengths)


_shared: WeakValueDictionary[tuple[Path, torch.dtype | None, torch.device], EvidenceStates] = WeakValueDictionary()
_sharing = Lock()


def is_evidence(folder: Path) -> bool:
    """Whether the adapters in ``folder`` have the heads of an :class:`EvidenceEncoder`."""
    if not is_adapter(folder):
        return False
    saved = read_json(folder / ADAPTER_CONFIG).get("modules_to_save")
    return isinstance(saved, list) and all(head in saved for head in HEADS)


def load_evidence_encoder(folder: Path, base: Path, *, matrices: bool = True) -> EvidenceEncoder:
    """The network that the adapters in ``folder`` make of the encoder in ``base``, in float32 and evaluation mode.

    Args:
        matrices: as :func:`~langbert.models.bert.loading.load_bert` takes it.

    Raises:
        CheckpointError: the folders' files are not whole, or do not belong together.
    """
    network = EvidenceEncoder(load_bert(base, pooler=False, low_bit=True, matrices=matrices))
    merge_adapters(network, folder, heads=HEADS)
    return network.eval()


def shared_evidence(
    folder: Path, dtype: torch.dtype | None, device: torch.device, load: Callable[[], EvidenceStates]
) -> EvidenceStates:
    """The network in ``folder``, in memory once for all who use it.

    Args:
        dtype: what was asked for.
        load: gives it, where it is not in memory yet.
    """
    key = (folder.resolve(), dtype, device)
    with _sharing:
        states = _shared.get(key)
        if states is None:
            states = _shared[key] = load()
    return states
