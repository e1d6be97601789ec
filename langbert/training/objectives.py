"""The objectives an embedder is trained by, each with its examples, its batches, its loss and its metric."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import DataError, MissingExtra
from ..log_odds import sigmoid
from ..records import Role
from ..reranking import Reranker
from .batching import padded
from .contrastive import list_scores, listwise_loss, margin_loss, matryoshka, ranking_loss
from .embedder_data import RankingData, RankingRow, ScoredPair, positives_of
from .task import Batch
from .text_vectors import TextVectors

_DEPTH = 10
_SURE = 1e-6  # a teacher's probabilities are kept this far from 0 and 1


class Objective(ABC):
    """A part of a :class:`~langbert.training.task.Task`: the same methods, with the same meaning.

    Attributes:
        metric, higher_is_better: as of a task.
        n_held: held-out examples.
    """

    metric: str
    higher_is_better: bool = True
    n_held: int

    @abstractmethod
    def lengths(self) -> Sequence[int]: ...

    @abstractmethod
    def collate(self, examples: Sequence[int], rng: random.Random) -> Batch: ...

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor: ...

    @abstractmethod
    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]: ...


class Ranking(Objective):
    """Find the passage among the others of the batch: :func:`~langbert.training.contrastive.ranking_loss`.

    A passage that is right for several questions of a batch stands there once, and one that is known to be right is
    never a negative.

    Args:
        data: queries, passages, negatives.
        texts: what turns them into vectors.
        hard: how many of its own negatives each query brings into the batch.
        title_dropout: how often passages are read without their titles.
        scale: what cosines are multiplied by.
        dimensions: for :func:`~langbert.training.contrastive.matryoshka`.
        holdout: the share of titles, or of passages where titles are few, kept for evaluation.
        max_held: at most so many queries are evaluated.
    """

    metric = "ndcg@10"

    def __init__(
        self,
        data: RankingData,
        texts: TextVectors,
        *,
        hard: int,
        title_dropout: float,
        scale: float,
        dimensions: Sequence[int],
        holdout: float,
        max_held: int,
        seed: int,
    ) -> None:
        self._data, self._texts = data, texts
        self._hard, self._title_dropout, self._scale, self._dimensions = hard, title_dropout, scale, dimensions
        self.rows, held = _split(data, holdout, seed)
        self._held = held[:max_held]
        self.n_held = len(self._held)
        self._right = positives_of(data.rows)
        self._queries = texts.ids([row.query for row in self.rows], "query")
        titled = [f"{title}\n{text}" if title else text for title, text in data.passages]
        self._titled = texts.ids(titled, "document")
        has_titles = any(title for title, _ in data.passages)
        self._bare = texts.ids([text for _, text in data.passages], "document") if has_titles else self._titled

    def lengths(self) -> Sequence[int]:
        def tokens(row: RankingRow, query: Sequence[int]) -> int:
            wrong = [len(self._titled[i]) for i in row.negatives[:16]]
            mean = sum(wrong) // len(wrong) if wrong else 0
            return len(query) + len(self._titled[row.positive]) + mean * min(self._hard, len(wrong))

        return [tokens(row, query) for row, query in zip(self.rows, self._queries, strict=True)]

    def collate(self, examples: Sequence[int], rng: random.Random) -> Batch:
        rows = [self.rows[i] for i in examples]
        chosen = [self._negatives(row, rng) for row in rows]
        passages = list(dict.fromkeys([*(row.positive for row in rows), *(i for wrong in chosen for i in wrong)]))
        place = {passage: i for i, passage in enumerate(passages)}
        allowed = torch.ones(len(rows), len(passages), dtype=torch.bool)
        for i, row in enumerate(rows):
            for other in self._right[row.query] - {row.positive}:
                if other in place:
                    allowed[i, place[other]] = False
        targets = torch.tensor([place[row.positive] for row in rows])
        return {**self._encoded(examples, passages, rng), "targets": targets, "allowed": allowed}

    def _negatives(self, row: RankingRow, rng: random.Random) -> list[int]:
        wrong = [i for i in row.negatives if i not in self._right[row.query]]
        return rng.sample(wrong, min(self._hard, len(wrong)))

    def _encoded(self, examples: Sequence[int], passages: Sequence[int], rng: random.Random) -> Batch:
        """Queries, then passages, in one ``token_ids``."""
        read = [(self._bare if rng.random() < self._title_dropout else self._titled)[i] for i in passages]
        return padded([*(self._queries[i] for i in examples), *read])

    def _vectors(self, network: nn.Module, batch: Batch, n_queries: int) -> tuple[Tensor, Tensor]:
        ids, mask = batch["token_ids"], batch["attention_mask"]
        queries = self._texts.vectors(network, ids[:n_queries], mask[:n_queries], "query")
        passages = self._texts.vectors(network, ids[n_queries:], mask[n_queries:], "document")
        return queries, passages

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        targets, allowed = batch["targets"], batch["allowed"]
        vectors = self._vectors(network, batch, len(targets))

        def loss(queries: Tensor, passages: Tensor) -> Tensor:
            return ranking_loss(queries, passages, targets, allowed, scale=self._scale)

        return in_float32(loss, vectors, self._dimensions)

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """nDCG@10 and RR@10 of held-out queries over their passages, right and wrong."""
        if not self._held:
            return {}
        ndcg, reciprocal_rank = _retrieval_metrics()
        corpus = sorted({i for row in self._held for i in (row.positive, *row.negatives)})
        asked = list(dict.fromkeys(row.query for row in self._held))
        passages = self._embedded(network, [self._titled[i] for i in corpus], "document", device)
        queries = self._embedded(network, self._texts.ids(asked, "query"), "query", device)
        cosines = F.normalize(queries, dim=1) @ F.normalize(passages, dim=1).T
        sums = [0.0, 0.0]
        for query, row in zip(asked, cosines, strict=True):
            relevant = torch.tensor([i in self._right[query] for i in corpus])
            sums[0] += float(ndcg(row, relevant, top_k=_DEPTH))
            sums[1] += float(reciprocal_rank(row, relevant, top_k=_DEPTH))
        return {"ndcg@10": sums[0] / len(asked), "rr@10": sums[1] / len(asked)}

    def _embedded(self, network: nn.Module, ids: Sequence[Sequence[int]], role: Role, device: torch.device) -> Tensor:
        return self._texts.embed(network, ids, role, device)


class Distillation(Ranking):
    """Score a query's passages as a cross-encoder does, by margins or as a list.

    Args:
        teacher: gives the scores that the data does not hold.
        listwise: :func:`~langbert.training.contrastive.listwise_loss` in place of ``margin_loss``.
    """

    def __init__(
        self, data: RankingData, texts: TextVectors, *, teacher: Teacher | None, listwise: bool, **ranking: Any
    ) -> None:
        super().__init__(data, texts, **ranking)
        self.rows, self._queries = self._usable()
        self._teacher = teacher
        self._compare = listwise_loss if listwise else margin_loss
        if not self.rows:
            raise DataError(
                f"{data.name} has no wrong passages to compare the right ones with: "
                f"mine them (negatives=…), or add {'negatives'!r} to its lines"
            )
        unscored = next((row for row in self.rows if not row.scores), None)
        if teacher is None and unscored is not None:
            raise DataError(f"{data.name} has no scores for {unscored.query!r}: add them, or name a teacher")

    def _usable(self) -> tuple[list[RankingRow], list[list[int]]]:
        kept = [(row, query) for row, query in zip(self.rows, self._queries, strict=True) if row.negatives]
        return [row for row, _ in kept], [query for _, query in kept]

    def collate(self, examples: Sequence[int], rng: random.Random) -> Batch:
        rows = [self.rows[i] for i in examples]
        # places in (positive, *negatives): the right one, then wrong ones, some twice where there are too few
        picked = [[0, *_drawn(range(1, 1 + len(row.negatives)), max(1, self._hard), rng)] for row in rows]
        lists = [[(row.positive, *row.negatives)[i] for i in places] for row, places in zip(rows, picked, strict=True)]
        passages = list(dict.fromkeys(passage for passages in lists for passage in passages))
        place = {passage: i for i, passage in enumerate(passages)}
        return {
            **self._encoded(examples, passages, rng),
            "lists": torch.tensor([[place[passage] for passage in row] for row in lists]),
            "teacher": torch.tensor(
                [self._scores(row, places, wanted) for row, places, wanted in zip(rows, picked, lists, strict=True)]
            ),
        }

    def _scores(self, row: RankingRow, places: Sequence[int], passages: Sequence[int]) -> list[float]:
        if self._teacher is None or row.scores:
            return [row.scores[i] for i in places]
        texts = [self._data.passages[i] for i in passages]
        return self._teacher.logits(row.query, [f"{title}\n{text}" if title else text for title, text in texts])

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        lists, teacher = batch["lists"], batch["teacher"]
        vectors = self._vectors(network, batch, len(lists))

        def loss(queries: Tensor, passages: Tensor) -> Tensor:
            return self._compare(list_scores(queries, passages, lists, scale=self._scale), teacher)

        return in_float32(loss, vectors, self._dimensions)


class Similarity(Objective):
    """Cosines as people, or a teacher, score pairs of texts.

    Args:
        compare: the loss of two ``(B, D)`` and ``(B,)`` scores.
        teacher: scores the pairs that have no score.
    """

    metric = "spearman"

    def __init__(
        self,
        pairs: Sequence[ScoredPair],
        texts: TextVectors,
        *,
        compare: Callable[[Tensor, Tensor, Tensor], Tensor],
        teacher: Teacher | None,
        dimensions: Sequence[int],
        holdout: float,
        max_held: int,
        seed: int,
    ) -> None:
        shuffled = random.Random(seed).sample(list(pairs), len(pairs))  # noqa: S311
        n_held = min(max_held, round(holdout * len(pairs)))
        self._held, self._rows = shuffled[:n_held], shuffled[n_held:]
        self.n_held = n_held
        self._texts, self._compare, self._teacher, self._dimensions = texts, compare, teacher, dimensions
        self._ids = _both_ids(texts, self._rows)

    def lengths(self) -> Sequence[int]:
        return [len(first) + len(second) for first, second in zip(*self._ids, strict=True)]

    def collate(self, examples: Sequence[int], rng: random.Random) -> Batch:
        batch = padded([side[i] for side in self._ids for i in examples])
        return {**batch, "scores": torch.tensor([self._score(self._rows[i]) for i in examples])}

    def _score(self, row: ScoredPair) -> float:
        if row.score is None and self._teacher is not None:
            return sigmoid(self._teacher.logits(row.text, [row.pair])[0])
        return row.score or 0.0

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        scores = batch["scores"]
        vectors = self._texts.vectors(network, batch["token_ids"], batch["attention_mask"], "document")

        def loss(first: Tensor, second: Tensor) -> Tensor:
            return self._compare(first, second, scores)

        return in_float32(loss, vectors.chunk(2), self._dimensions)

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """The rank correlation of cosines and scores on held-out pairs."""
        if len(self._held) < 2:
            return {}
        try:
            from torchmetrics.functional.regression import spearman_corrcoef
        except ImportError as error:
            raise MissingExtra("torchmetrics", "train", "measuring similarity") from error
        first, second = (
            self._texts.embed(network, ids, "document", device) for ids in _both_ids(self._texts, self._held)
        )
        scores = torch.tensor([self._score(row) for row in self._held])
        return {"spearman": float(spearman_corrcoef(F.cosine_similarity(first, second), scores))}


class Teacher:
    """A cross-encoder whose scores are learned; each pair is read once.

    Args:
        reranker: a :class:`~langbert.reranking.Reranker`, or the name of a model for one.
    """

    def __init__(self, reranker: Reranker | str) -> None:
        self.name = str(getattr(reranker, "name", reranker))
        self._reranker = reranker
        self._known: dict[tuple[str, str], float] = {}

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        """How well each passage answers the query, as the log-odds of the probability."""
        new = [passage for passage in dict.fromkeys(passages) if (query, passage) not in self._known]
        if new:
            if isinstance(self._reranker, str):
                self._reranker = Reranker(self._reranker)
            chances = self._reranker.score(query, new).astype(float).clip(_SURE, 1 - _SURE).tolist()
            self._known.update({(query, text): math.log(p / (1 - p)) for text, p in zip(new, chances, strict=True)})
        return [self._known[query, passage] for passage in passages]


def in_float32(loss: Callable[..., Tensor], vectors: Sequence[Tensor], dimensions: Sequence[int]) -> Tensor:
    """The loss of the vectors, summed over ``dimensions``; autocast would round the cosines to three digits."""
    with torch.autocast(vectors[0].device.type, enabled=False):
        return matryoshka(loss, [tensor.float() for tensor in vectors], dimensions)


def _both_ids(texts: TextVectors, pairs: Sequence[ScoredPair]) -> tuple[list[list[int]], list[list[int]]]:
    return texts.ids([row.text for row in pairs], "document"), texts.ids([row.pair for row in pairs], "document")


def _drawn(places: Sequence[int], n: int, rng: random.Random) -> list[int]:
    return rng.sample(places, n) if len(places) >= n else rng.choices(places, k=n)


def _split(data: RankingData, holdout: float, seed: int) -> tuple[list[RankingRow], list[RankingRow]]:
    """Rows to learn from and rows to measure with, whose right passages (and titles, if there are enough) differ."""
    by_title = round(holdout * len({data.passages[row.positive][0] for row in data.rows})) >= 1

    def group(row: RankingRow) -> str:
        return data.passages[row.positive][0] if by_title else str(row.positive)

    groups = sorted({group(row) for row in data.rows})
    random.Random(seed).shuffle(groups)  # noqa: S311
    held = set(groups[: min(math.ceil(holdout * len(groups)), len(groups) - 1)])
    learned = [row for row in data.rows if group(row) not in held]
    return learned, [row for row in data.rows if group(row) in held]


def _retrieval_metrics() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    try:
        from torchmetrics.functional.retrieval import retrieval_normalized_dcg, retrieval_reciprocal_rank
    except ImportError as error:
        raise MissingExtra("torchmetrics", "train", "measuring retrieval") from error
    return retrieval_normalized_dcg, retrieval_reciprocal_rank
