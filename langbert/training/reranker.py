"""A cross-encoder by listwise learning: the right passage against hard negatives (Cao et al. 2007, "ListNet").

Afterwards slope and bias of a logistic calibration (Platt 1999) are folded into the last layer, so that the sigmoid of
a logit is the probability that the passage answers the question.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..evaluation.datasets import read_questions
from ..evaluation.lines import read_lines
from ..models.bert.heads import CrossEncoder
from ..models.bert.loading import load_bert
from ..models.files.tokenizer import TextTokenizer, TokenPair
from ..models.hardware import resolve_precision
from .adapters import save_adapters, starting_point
from .batching import padded_pairs
from .calibration import logistic
from .data import held_out
from .settings import Bounds, Count, Holdout, LoraSettings, Share, TrainSettings
from .task import Batch, Task, seeded

_MAX_LENGTH = 256
_TOGETHER = 8
_HELD_DEPTH = 15  # wrong passages a held-out question is measured with


class _Group(NamedTuple):
    """A question, the passage that answers it, and near ones that do not: indices of passages."""

    question: str
    positive: int
    negatives: tuple[int, ...]
    title: str


class RerankerTask(Task):
    """Learn to tell the passage that answers from those that only look like it.

    Args:
        data: a SQuAD file with the passages.
        negatives: a JSON-lines file made by :func:`~langbert.training.mining.mine_negatives`; the command line makes
            one where none is given.
        base: the encoder to start from, or ``minilm-reranker`` and its like: adapters that are trained further.
        group: passages a question is compared with in one step: one right, the others wrong.
        hardest: from how many of the nearest negatives the wrong ones are drawn.
        title_dropout: how often a passage is read without its title, since documents may have none.
        holdout: the share of articles kept for evaluation.
        max_held: evaluate at most so many questions.
    """

    name = "reranker"
    metric = "rr"
    heads = ("pooler", "classifier")
    defaults = TrainSettings(batch_size=8, learning_rate=8e-4, dropout=0.0, lora=LoraSettings(dropout=0.0))

    def __init__(
        self,
        data: str | Path,
        negatives: str | Path,
        *,
        base: str = "minilm",
        group: Annotated[int, Bounds(2)] = 8,
        hardest: Count = 16,
        title_dropout: Share = 0.3,
        holdout: Holdout = 0.03,
        max_held: Count = 500,
        seed: int = 0,
    ) -> None:
        self.base, folder, self.start = starting_point(base)
        bert = load_bert(folder)
        with seeded(seed):
            network = CrossEncoder(bert.config)
        if bert.pooler is not None:
            network.pooler.load_state_dict(bert.pooler.state_dict())
        bert.pooler = None
        network.bert = bert
        self.network: nn.Module = network
        self._tokenizer = TextTokenizer.from_folder(folder)
        self._group, self._title_dropout = group, title_dropout
        passages = read_questions(data).paragraphs
        self._number = {name: i for i, name in enumerate(passages)}
        titles = [title for title, _ in passages.values()]
        self._titles = [encoding.ids for encoding in self._tokenizer.encode([f"{title}\n" for title in titles])]
        self._texts = [encoding.ids for encoding in self._tokenizer.encode([text for _, text in passages.values()])]
        held = held_out(titles, holdout, seed)

        def group_of(row: Any) -> _Group:
            positive = self._number[row["positive"]]
            wrong = tuple(self._number[name] for name in row["negatives"][:hardest])
            return _Group(row["question"], positive, wrong, titles[positive])

        expected = '{"question", "positive", "negatives"} with passages of the data set'
        groups = [group for group in read_lines(negatives, group_of, expected) if group.negatives]
        self._train = [group for group in groups if group.title not in held]
        self._held = [group for group in groups if group.title in held][:max_held]
        self._questions = [encoding.ids[:64] for encoding in self._tokenizer.encode([g.question for g in self._train])]
        self._name = Path(data).name
        self._measured: list[list[float]] = []  # what `save` calibrates by: the loop evaluates what it saves

    def lengths(self) -> Sequence[int]:
        return [
            len(question) + max(len(self._texts[i]) for i in (group.positive, *group.negatives[: self._group]))
            for question, group in zip(self._questions, self._train, strict=True)
        ]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        rng = random.Random(seed)  # noqa: S311
        pairs = []
        for i in examples:
            group = self._train[i]
            wrong = rng.choices(group.negatives, k=self._group - 1) if len(group.negatives) < self._group - 1 else None
            chosen = wrong or rng.sample(group.negatives, self._group - 1)
            bare = rng.random() < self._title_dropout
            pairs += [self._pair(self._questions[i], passage, bare=bare) for passage in (group.positive, *chosen)]
        return padded_pairs(pairs)

    def _pair(self, question: Sequence[int], passage: int, *, bare: bool = False) -> TokenPair:
        ids = self._texts[passage] if bare else [*self._titles[passage], *self._texts[passage]]
        return self._tokenizer.pair(question, ids[: _MAX_LENGTH - self._tokenizer.n_pair_special - len(question)])

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        lists = _logits(network, batch).view(-1, self._group)  # (questions, group); the right passage is the first
        return nn.functional.cross_entropy(lists, torch.zeros(len(lists), dtype=torch.int64, device=lists.device))

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Mean reciprocal rank and accuracy at 1 of the right passage among the mined ones of held-out articles."""
        if not self._held:
            return {}
        lists = self._measured = self._held_scores(network, device)
        ranks = [1 + sum(score >= scores[0] for score in scores[1:]) for scores in lists]
        return {"rr": sum(1 / rank for rank in ranks) / len(ranks), "top1": sum(r == 1 for r in ranks) / len(ranks)}

    def _held_scores(self, network: nn.Module, device: torch.device) -> list[list[float]]:
        """The logits of each held-out question's passages, the right one first."""
        lists = []
        bfloat16 = resolve_precision("auto", device) == torch.bfloat16
        for group, encoding in zip(
            self._held, self._tokenizer.encode([group.question for group in self._held]), strict=True
        ):
            passages = (group.positive, *group.negatives[:_HELD_DEPTH])
            batch = padded_pairs([self._pair(encoding.ids[:64], passage) for passage in passages])
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                lists.append(_logits(network, {name: tensor.to(device) for name, tensor in batch.items()}).tolist())
        return lists

    def save(self, network: nn.Module, folder: Path) -> None:
        calibrated = deepcopy(network)
        if lists := self._measured:
            scores = [score for scores in lists for score in scores]
            slope, bias = logistic(scores, [i == 0 for scores in lists for i in range(len(scores))])
            with torch.no_grad():
                for name, parameter in calibrated.named_parameters():
                    if "classifier" in name and parameter.requires_grad:
                        parameter.mul_(slope)
                        if name.endswith("bias"):
                            parameter.add_(bias)
        save_adapters(calibrated, folder, base=self.base)

    def facts(self) -> Mapping[str, Any]:
        return {"data": self._name, "base": self.base, "group": self._group, "held-out questions": len(self._held)}


def _logits(network: nn.Module, batch: Batch) -> Tensor:
    """``(B,)`` float32. Passages of one question differ in length, so pairs of like length are run together."""
    token_ids, mask, segments = (batch[name] for name in ("token_ids", "attention_mask", "segment_ids"))
    lengths = mask.sum(dim=1)
    order = lengths.argsort()
    parts = []
    for rows in torch.split(order, _TOGETHER):
        width = int(lengths[rows[-1]])
        parts.append(network(token_ids[rows, :width], mask[rows, :width], segments[rows, :width])[:, 0].float())
    return torch.cat(parts)[order.argsort()]
