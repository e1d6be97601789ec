"""One linear layer behind a frozen embedder: what a few dozen pairs can teach without spoiling the rest.

A vector ``x`` becomes ``x + A (x - c)`` with ``c`` the mean of what is learned of: only in what tells the pairs' texts
apart is anything changed, and ``A`` is kept small, the more so the fewer pairs there are. The encoder reads every text
once, so that all of it takes seconds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..models.bert.heads import SentenceEncoder
from ..models.files.sentence_folder import Dense
from .embedder_data import RankingData
from .objectives import Ranking
from .settings import TrainSettings
from .task import Batch
from .text_vectors import TextVectors

SETTINGS = TrainSettings(
    epochs=200, batch_size=512, learning_rate=2e-4, weight_decay=0.0, dropout=0.0, precision="float32", save_every=0
)

_PULL = 30.0
"""How strongly A is held to 0, against the summed loss of all pairs. Chosen on titles and paragraphs of PEPs and of a
Chinese manual: with a third of it more is learned, and other texts begin to lose."""


class Projected(nn.Module):
    """A sentence encoder that stays as it is, and the layer learned behind it.

    Args:
        sentence: makes vectors of ``width``, not normalised.
    """

    def __init__(self, sentence: SentenceEncoder, width: int) -> None:
        super().__init__()
        self.sentence = sentence.requires_grad_(False).eval()
        self.change = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.change.weight)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(width))

    def forward(self, vectors: Tensor) -> Tensor:
        """``(n, width)`` of the encoder → ``(n, width)``."""
        changed: Tensor = vectors + self.change(vectors - self.centre)
        return changed

    def whole(self) -> SentenceEncoder:
        """The encoder with the layer as the last of its projection."""
        width = len(self.centre)
        layer = Dense(width, width, "torch.nn.modules.linear.Identity")
        weight = self.change.weight.detach().cpu()
        layer.linear.weight.data = torch.eye(width) + weight
        layer.linear.bias.data = -weight @ self.centre.cpu()
        sentence = deepcopy(self.sentence)
        before = cast(nn.Sequential, sentence.projection or nn.Sequential())
        sentence.projection = nn.Sequential(*before, layer)
        return sentence


class LinearRanking(Ranking):
    """:class:`~langbert.training.objectives.Ranking` over vectors made once.

    Args:
        network: whose encoder makes them, and whose centre they give.
        ranking: as Ranking takes it.
    """

    def __init__(self, data: RankingData, texts: TextVectors, network: Projected, **ranking: Any) -> None:
        super().__init__(data, texts, **ranking)
        device = network.centre.device
        self._asked = texts.embed(network.sentence, self._queries, "query", device)
        self._told = texts.embed(network.sentence, self._titled, "document", device)
        learned = sorted({row.positive for row in self.rows})
        network.centre = torch.cat([self._asked, self._told[learned]]).mean(0)

    def lengths(self) -> Sequence[int]:
        return [1] * len(self.rows)

    def _encoded(self, examples: Sequence[int], passages: Sequence[int], rng: random.Random) -> Batch:
        queries, documents = self._asked[list(examples)], self._told[list(passages)]
        return {"queries": queries, "passages": documents, "attention_mask": torch.ones(len(queries) + len(documents))}

    def _vectors(self, network: nn.Module, batch: Batch, n_queries: int) -> tuple[Tensor, Tensor]:
        return network(batch["queries"]), network(batch["passages"])

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        change = cast(Projected, getattr(network, "module", network)).change.weight
        return super().loss(network, batch) + _PULL / len(self.rows) * change.square().sum()

    def _embedded(self, network: nn.Module, ids: Sequence[Sequence[int]], role: Any, device: torch.device) -> Tensor:
        vectors = self._texts.embed(cast(Projected, network).sentence, ids, role, device)
        found: Tensor = network(vectors.to(device)).cpu()
        return found
