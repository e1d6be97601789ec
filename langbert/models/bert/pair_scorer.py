"""The seam behind the Reranker: pairs of texts as token ids in, one logit each out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..files.tokenizer import TokenPair
from ..files.weights import read_json
from .checkpoint import is_bert, load_cross_encoder
from .encoder import code_hint, usable_positions
from .packed import PackedBert

__all__ = ["PairScorer", "load_pair_scorer"]


class PairScorer(Protocol):
    """A network that scores how well the second text of a pair answers the first.

    Attributes:
        max_length: the longest pair, special tokens included; None if the network has no limit.
    """

    max_length: int | None

    def __call__(self, pairs: Sequence[TokenPair]) -> Tensor:
        """Pairs, shortest first → ``(n,)`` float32 logits."""
        ...


class BertPairScorer:
    """Our BERT cross-encoder, run packed."""

    def __init__(self, folder: Path, base: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        network = load_cross_encoder(folder, base=base if base != folder else None)
        _check_labels(folder, network.classifier.linear.out_features)
        self._packed = PackedBert(network.bert, dtype=dtype, device=device)
        self._network = network.to(device)
        self.max_length: int | None = network.bert.config.max_positions

    def __call__(self, pairs: Sequence[TokenPair]) -> Tensor:
        first_tokens = self._packed.first_tokens([pair.ids for pair in pairs], [pair.segments for pair in pairs])
        return self._network.classify(first_tokens)[:, 0]


class TransformersPairScorer:
    """Any cross-encoder that ``transformers.AutoModelForSequenceClassification`` knows, run padded."""

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool) -> None:
        from transformers import AutoModelForSequenceClassification

        try:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                dtype=dtype,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            raise CheckpointError(f"{folder}: transformers cannot load it: {error}{code_hint(error)}") from error
        if missing := sorted(report["missing_keys"]):
            raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a trained cross-encoder?")
        _check_labels(folder, model.config.num_labels)
        self._model: Any = model.eval().to(device)
        self._device = device
        self._has_segments = getattr(model.config, "type_vocab_size", 0) > 1
        self.max_length = usable_positions(model.config)

    def __call__(self, pairs: Sequence[TokenPair]) -> Tensor:
        longest = max(len(pair.ids) for pair in pairs)
        token_ids = torch.full((len(pairs), longest), self._model.config.pad_token_id or 0)
        mask, segments = torch.zeros_like(token_ids), torch.zeros_like(token_ids)
        for i, pair in enumerate(pairs):
            token_ids[i, : len(pair.ids)] = torch.tensor(pair.ids)
            segments[i, : len(pair.ids)] = torch.tensor(pair.segments)
            mask[i, : len(pair.ids)] = 1
        inputs = {"input_ids": token_ids, "attention_mask": mask}
        if self._has_segments:
            inputs["token_type_ids"] = segments
        output = self._model(**{name: tensor.to(self._device) for name, tensor in inputs.items()})
        logits: Tensor = output.logits[:, 0].float()
        return logits


def load_pair_scorer(
    folder: Path, base: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
) -> PairScorer:
    """The cross-encoder in a checkpoint folder.

    Args:
        base: the folder of config and tokenizer: another than ``folder`` where that holds adapters only.

    Raises:
        CheckpointError: the folder is not one whole cross-encoder with one label.
    """
    if is_bert(read_json(base / "config.json")):
        return BertPairScorer(folder, base, dtype=dtype, device=device)
    return TransformersPairScorer(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)


def _check_labels(folder: Path, n_labels: int) -> None:
    if n_labels != 1:
        raise CheckpointError(f"{folder}: has {n_labels} labels; a reranker is a cross-encoder with one")
