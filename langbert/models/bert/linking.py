"""Entities and relations by linking pairs of tokens, all in one step (Wang et al. 2020, "TPLinker", §3).

Three tables over all pairs of tokens are filled in. One says for each type whether an entity begins at the first token
and ends at the second ("entity head to entity tail"); two say for each relation whether the first tokens of a subject
and of an object belong together, and whether their last tokens do. What all three agree on is a triple, so entities may
nest and overlap, and one may stand in any number of relations.

A table's scores are here low-rank products of two vectors a token (Dozat & Manning 2017, "Deep Biaffine Attention", §3,
with a diagonal in place of the matrix as in Yang et al. 2015, "DistMult", §3.2), where TPLinker runs a layer over every
concatenated pair: T² · 2H · H multiplications, against 2 · T · H · d and T² · d a label. In the entities' table the
vectors are turned by their positions (Su et al. 2022, "Global Pointer", §3.2), so that a span's length tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..files.adapters import base_of
from ..files.json_files import read_json, write_json
from ..files.lora import merge_adapters
from ..files.tokenizer import TextTokenizer
from ..files.weights import read_tensors, save_tensors
from ..layers.rotary import RotaryConfig, rotary_table, rotate
from .loading import load_bert, save_bert
from .network import Bert

__all__ = [
    "HEADS",
    "MOST_SIZE",
    "LinkerCheckpoint",
    "Links",
    "TokenPairLinker",
    "link_loss",
    "load_linker",
    "save_whole_linker",
    "write_labels",
]

HEADS = ("head",)
MOST_SIZE = 4096

_LABELS, _HEAD = "relations.json", "head.safetensors"
_RARE = -6.0  # where a label's bias begins: next to all pairs of tokens are none


class Links(NamedTuple):
    """The logits of the three tables; what is over 0 is linked.

    Attributes:
        entities: ``(B, n_types, T, T)``: an entity of this type begins at the first token and ends at the second.
        heads: ``(B, n_relations, T, T)``: the subject begins at the first token, the object at the second.
        tails: the same of the tokens where they end.
    """

    entities: Tensor
    heads: Tensor
    tails: Tensor


class PairScores(nn.Module):
    """A logit per label for every ordered pair of tokens.

    Args:
        hidden_size: H.
        n_labels: how many labels.
        size: d, of the two vectors a token has; even.
        rotary: whether they are turned by their positions.
    """

    def __init__(self, hidden_size: int, n_labels: int, size: int, *, rotary: bool) -> None:
        super().__init__()
        self.size, self.rotary = size, rotary
        self.project = nn.Linear(hidden_size, 2 * size)
        self.weight = nn.Parameter(torch.ones(n_labels, size // 2))  # one for the two numbers that turn together
        self.first = nn.Linear(hidden_size, n_labels, bias=False)
        self.second = nn.Linear(hidden_size, n_labels)
        nn.init.constant_(self.second.bias, _RARE)

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        """``(B, T, H)`` hidden states at ``(B, T)`` positions → ``(B, n_labels, T, T)``."""
        pair = self.project(states).unflatten(-1, (2, self.size)).transpose(1, 2)  # (B, 2, T, d)
        if self.rotary:
            pair = rotate(pair, rotary_table(positions[:, None], self.size, RotaryConfig(), pair.dtype))
        first, second = pair[:, :1], pair[:, 1:]  # (B, 1, T, d)
        weighted = first * torch.cat((self.weight, self.weight), dim=1)[:, None]  # (B, n_labels, T, d)
        products: Tensor = weighted @ second.transpose(-1, -2) / self.size**0.5
        alone = self.first(states).transpose(1, 2)[..., None] + self.second(states).transpose(1, 2)[:, :, None]
        scores: Tensor = products + alone
        return scores


class LinkingHead(nn.Module):
    """The three tables, of a BERT's hidden states; without relations the first alone."""

    def __init__(self, hidden_size: int, n_types: int, n_relations: int, size: int) -> None:
        super().__init__()
        self.entities = PairScores(hidden_size, n_types, size, rotary=True)
        self.heads, self.tails = (
            PairScores(hidden_size, n_relations, size, rotary=False) if n_relations else None for _ in range(2)
        )

    def forward(self, states: Tensor, positions: Tensor) -> Links:
        """``(B, T, H)`` hidden states at ``(B, T)`` positions; an entity that ends before it begins gets -inf."""
        entities = self.entities(states, positions)
        before = torch.ones(entities.shape[-2:], dtype=torch.bool, device=entities.device).tril(-1)
        entities = entities.masked_fill(before, -torch.inf)
        if self.heads is None or self.tails is None:
            return Links(entities, entities[:, :0], entities[:, :0])
        return Links(entities, self.heads(states, positions), self.tails(states, positions))


class TokenPairLinker(nn.Module):
    """A BERT under the three tables.

    Args:
        bert: the encoder.
        n_types, n_relations: how many types of entities and relations there are.
        size: of the two vectors that a token has in each table.
    """

    def __init__(self, bert: Bert, n_types: int, n_relations: int, size: int) -> None:
        super().__init__()
        self.bert = bert
        self.dropout = nn.Dropout(bert.config.dropout)
        self.head = LinkingHead(bert.config.hidden_size, n_types, n_relations, size)

    def forward(self, token_ids: Tensor, attention_mask: Tensor | None = None) -> Links:
        """``(B, T)`` ids and mask, padded on the right, as :meth:`Bert.forward` takes them."""
        states = self.dropout(self.bert(token_ids, attention_mask))
        links: Links = self.head(states, torch.arange(token_ids.shape[1], device=states.device).expand_as(token_ids))
        return links


def link_loss(logits: Tensor, linked: Tensor, allowed: Tensor) -> Tensor:
    """The mean over texts, of the sum over labels, of the loss of a table.

    Every pair that is linked shall be over 0 and every other below, however few are linked (Su et al. 2022, "ZLPR: A
    Novel Loss for Multi-label Classification", equation 5): ``log(1 + Σ exp(-linked)) + log(1 + Σ exp(others))``.

    Args:
        logits: ``(B, n_labels, T, T)``.
        linked: ``(n, 4)`` int64: text, label, first and second token of each pair that is.
        allowed: ``(B, T)`` bool: tokens that may be linked at all.
    """
    if not logits.shape[1]:
        return logits.new_zeros(())
    scores = logits.float()
    text, label, first, second = linked.unbind(1)
    hidden = (~(allowed[:, :, None] & allowed[:, None, :]))[:, None].expand(scores.shape).clone()
    hidden[text, label, first, second] = True
    others = scores.masked_fill(hidden, -torch.inf).flatten(2)  # (B, n_labels, T²)
    wrong = torch.cat((others, others.new_zeros(*others.shape[:2], 1)), dim=2).logsumexp(dim=2)
    missed = scores.new_zeros(scores.shape[:2]).flatten()
    missed = missed.index_add(0, text * scores.shape[1] + label, scores[text, label, first, second].neg().exp())
    return (wrong.sum() + missed.log1p().sum()) / len(scores)


class LinkerCheckpoint(NamedTuple):
    """An extractor's network in float32, its tokenizer, and the names of what it finds in the order of the logits.

    Attributes:
        max_length: tokens that it was trained to read at once, special ones included.
        max_sentences: how many of them the texts that it was trained on have, but for a tenth; None if nobody counted.
        thresholds: log-odds that an entity and a triple must be over.
    """

    network: TokenPairLinker
    tokenizer: TextTokenizer
    types: tuple[str, ...]
    relations: tuple[str, ...]
    max_length: int
    max_sentences: int | None = None
    thresholds: tuple[float, float] = (0.0, 0.0)


def load_linker(folder: Path, *, offline: bool | None = None) -> LinkerCheckpoint:
    """What :class:`~langbert.training.relations.RelationsTask` saved: adapters on a base, or a whole network.

    Raises:
        CheckpointError: the folder holds no extractor, or not all of one.
    """
    file = folder / _LABELS
    if not file.is_file():
        raise CheckpointError(f"{folder}: no {_LABELS}; expected a model of `langbert train relations`")
    base = base_of(folder, offline=offline)
    said = read_json(file)
    try:
        types, relations = (tuple(map(str, said[key])) for key in ("types", "relations"))
        size, max_length, max_sentences = (int(said[key]) for key in ("size", "max_length", "max_sentences"))
        thresholds = float(said["thresholds"][0]), float(said["thresholds"][1])
        if size not in range(2, MOST_SIZE + 1, 2):  # before as much is made
            raise ValueError(f"size is {size}")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        expected = "types, relations, size, max_length, max_sentences and two thresholds"
        raise CheckpointError(f"{file}: expected {expected} ({error!r})") from error
    network = TokenPairLinker(load_bert(base, pooler=False, low_bit=True), len(types), len(relations), size)
    if base != folder:
        merge_adapters(network, folder, heads=HEADS)
    else:
        try:
            network.head.load_state_dict(read_tensors(folder / _HEAD))
        except RuntimeError as error:
            raise CheckpointError(f"{folder / _HEAD}: does not fit {file}: {error}") from error
    tokenizer = TextTokenizer.from_folder(base)
    return LinkerCheckpoint(network.eval(), tokenizer, types, relations, max_length, max_sentences, thresholds)


def write_labels(
    folder: Path,
    *,
    types: Sequence[str],
    relations: Sequence[str],
    size: int,
    max_length: int,
    max_sentences: int,
    thresholds: tuple[float, float],
) -> None:
    """What :func:`load_linker` has to know beside the weights."""
    said = {"types": types, "relations": relations, "size": size, "max_length": max_length}
    write_json({**said, "max_sentences": max_sentences, "thresholds": thresholds}, folder / _LABELS)


def save_whole_linker(network: TokenPairLinker, folder: Path) -> None:
    """The weights of a network that is no adapters: the encoder as a ``BertModel``, the head beside it."""
    save_bert(network.bert, folder)
    save_tensors(dict(network.head.state_dict()), folder / _HEAD)
