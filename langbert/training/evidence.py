"""One cross-encoder for all that an answer needs: which passage, which words, and whether a claim follows.

Every reading of a question and a passage trains two heads at once: whether the passage answers (the plain probability,
and that the right one is above the wrong one), and where (Devlin et al. 2019, §4.2, §4.3: the first token where
nowhere). What is read is a long stretch of a passage or, since answers are put together from such, a sentence or two:
then those that stand beside the answer's are the wrong ones. Pairs of premise and hypothesis train the third (§4.1).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import DataError
from ..evaluation.datasets import read_questions
from ..evaluation.estimates import auroc
from ..evaluation.lines import read_lines
from ..models.bert.evidence import HEADS, EvidenceEncoder, EvidenceLogits
from ..models.bert.heads import span_loss
from ..models.bert.loading import load_bert
from ..models.files.json_files import write_json
from ..models.files.tokenizer import TextTokenizer, TokenPair
from ..models.hardware import resolve_precision
from .adapters import save_adapters, starting_point
from .calibration import logistic
from .claims import Claim, made_claims
from .data import documents_in, held_out
from .evidence_rows import MOST_TOKENS, NOT_SAID, Asked, ReadingRows, Row, batch_of
from .headings import write_heading_questions
from .mining import read_negatives
from .settings import Bounds, Count, Holdout, LoraSettings, Share, TrainSettings
from .task import Batch, Task, seeded

_BUNDLE = 360  # tokens of the claims that make one example, about as many as a question with its passages has
_TOKENS = 2048  # that go through the network at a time


def reading_sets(folder: str | Path) -> dict[Path, Path]:
    """The reading sets of a folder, each with the file of its hard negatives, which may not be there yet.

    Folders of documents in it become reading sets first, where that was not done before.

    Raises:
        DataError: there are none.
    """
    for documents in sorted(path for path in Path(folder).glob("*") if path.is_dir() and not path.suffix):
        if not (made := documents.with_suffix(".json")).is_file():
            write_heading_questions(documents_in(documents), made)
    sets = {path: path.with_suffix(".negatives.jsonl") for path in sorted(Path(folder).glob("*.json"))}
    if not sets:
        raise DataError(
            f"{folder}: expected a folder with reading sets in SQuAD's form, NAME.json, or documents, NAME/"
        )
    return sets


class EvidenceTask(Task):
    """Learn relevance, answer spans and entailment with one network, in as many languages as there is data.

    Args:
        data: a folder. In it, reading sets in SQuAD's form (``NAME.json``; a question whose answer is its whole
            paragraph teaches what is relevant, and no span), for each its hard negatives (``NAME.negatives.jsonl``,
            mined where there are none yet), folders of documents (``NAME/``), whose headings ask and whose sections
            answer (see :func:`.headings.write_heading_questions`; ``NAME.json`` is made of them), and pairs for the
            entailment head (``NAME.pairs.jsonl``: ``{"premise", "hypothesis", "label"}``, the labels as SNLI has them).
        base: the encoder to start from, or adapters of an earlier run.
        hardest: from how many of the nearest negatives the wrong passage is drawn.
        unanswerable: for how many questions an edited, unanswerable one is read too.
        made: how many claims are made from the reading sets, too.
        pair_epochs: how often the pairs are among the examples of an epoch.
        pieces: how often an answerable question is read with sentences instead of passages.
        title_dropout: how often passages are read without their titles.
        holdout: the share of articles, and of premises, kept for evaluation.
        max_held: at most so many questions, and as many pairs, are evaluated.
    """

    name = "evidence"
    metric = "mean"
    heads = HEADS
    defaults = TrainSettings(
        batch_size=12, learning_rate=8e-4, dropout=0.0, lora=LoraSettings(dropout=0.0, first_layer=4)
    )

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "e5-small",
        hardest: Count = 8,
        unanswerable: Share = 0.35,
        pair_epochs: Count = 1,
        made: Annotated[int, Bounds(0)] = 9000,
        pieces: Share = 0.5,
        title_dropout: Share = 0.5,
        holdout: Holdout = 0.02,
        max_held: Count = 200,
        seed: int = 0,
    ) -> None:
        sets = reading_sets(data)
        pairs = sorted(Path(data).glob("*.pairs.jsonl"))
        self.base, folder, self.start = starting_point(base)
        with seeded(seed):
            self.network: nn.Module = EvidenceEncoder(load_bert(folder, pooler=False, low_bit=True))
        self._tokenizer = TextTokenizer.from_folder(folder)
        self._rows = ReadingRows(self._tokenizer, hardest=hardest, pieces=pieces, title_dropout=title_dropout)
        self._names = [Path(path).name for path in (*sets, *pairs)]
        rng = random.Random(seed)  # noqa: S311
        asked: list[Asked] = []
        held: list[Asked] = []
        claims: list[Claim] = []
        for path, mined in sets.items():
            questions = read_questions(path)
            near = read_negatives(mined)
            titles = held_out({question.title for question in questions.questions}, holdout, seed)
            learned = [question for question in questions.questions if question.title not in titles]
            rows = self._rows.add(questions, near, unanswerable, rng)
            for question, row in zip(questions.questions, rows, strict=True):
                if row is not None:
                    (held if question.title in titles else asked).append(row)
            claims += made_claims(questions, learned, rng)
        self._asked_rows, self._held = asked, rng.sample(held, min(max_held, len(held)))
        given = [claim for path in pairs for claim in read_lines(path, _pair, '{"premise", "hypothesis", "label"}')]
        premises = held_out({claim.premise for claim in given}, holdout, seed)
        self._held_claims = self._encoded([claim for claim in given if claim.premise in premises][:max_held])
        learned_pairs = [claim for claim in given if claim.premise not in premises]
        self._bundles = self._bundled(self._encoded(rng.sample(claims, min(made, len(claims)))), rng)
        for _ in range(pair_epochs):
            self._bundles += self._bundled(self._encoded(learned_pairs), rng)
        self._calibration: dict[str, float] = {}

    def _encoded(self, claims: Sequence[Claim]) -> list[tuple[TokenPair, int]]:
        premises = self._tokenizer.encode([claim.premise for claim in claims])
        hypotheses = self._tokenizer.encode([claim.hypothesis for claim in claims])
        return [
            (self._tokenizer.pair(premise.ids[:MOST_TOKENS], hypothesis.ids[:MOST_TOKENS]), claim.label)
            for premise, hypothesis, claim in zip(premises, hypotheses, claims, strict=True)
        ]

    @staticmethod
    def _bundled(claims: Sequence[tuple[TokenPair, int]], rng: random.Random) -> list[list[tuple[TokenPair, int]]]:
        """Claims of like length together, as many as make the length of an example."""
        bundles: list[list[tuple[TokenPair, int]]] = []
        for pool in _pools(rng.sample(claims, len(claims)), 500):
            room = 0
            for claim in sorted(pool, key=lambda claim: len(claim[0].ids)):
                if room < len(claim[0].ids) or not bundles:
                    bundles.append([])
                    room = _BUNDLE
                bundles[-1].append(claim)
                room -= len(claim[0].ids)
        return bundles

    def __len__(self) -> int:
        return len(self._asked_rows) + len(self._bundles)

    def lengths(self) -> Sequence[int]:
        groups = map(self._rows.length, self._asked_rows)
        return [*groups, *(sum(len(pair.ids) for pair, _ in bundle) for bundle in self._bundles)]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        rng = random.Random(seed)  # noqa: S311
        rows: list[Row] = []
        for group, i in enumerate(examples):
            if i < len(self._asked_rows):
                rows += self._rows.group(self._asked_rows[i], group, rng)
            else:
                bundle = self._bundles[i - len(self._asked_rows)]
                rows += [Row(pair, 0, -1, -1, NOT_SAID, label, group) for pair, label in bundle]
        return batch_of(rows)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        found = _forward(network, batch)
        reads, says, claims = batch["starts"] >= 0, batch["relevant"] >= 0, batch["labels"] >= 0
        loss = found.relevance.new_zeros(())
        if reads.any():
            loss = loss + span_loss(
                found.spans[reads], batch["starts"][reads], batch["ends"][reads], batch["allowed"][reads]
            )
        if says.any():
            loss = loss + F.binary_cross_entropy_with_logits(found.relevance[says], batch["relevant"][says].float())
            margins = _margins(found.relevance, batch)
            if len(margins):
                loss = loss + F.softplus(-margins).mean()
        if claims.any():
            loss = loss + F.cross_entropy(found.entailment[claims], batch["labels"][claims])
        return loss

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """On held-out articles: spans hit exactly, AUROC of "answerable" and of relevance; accuracy on pairs."""
        rng = random.Random(0)  # noqa: S311
        rows = [row for i, asked in enumerate(self._held) for row in self._rows.group(asked, i, rng)]
        rows += [Row(pair, 0, -1, -1, NOT_SAID, label, -1) for pair, label in self._held_claims]
        if not rows:
            return {}
        hits, margins, answered, relevance, relevant, right = [], [], [], [], [], []
        bfloat16 = resolve_precision("auto", device) == torch.bfloat16
        for some in _pools(rows, 32):
            batch = {name: tensor.to(device) for name, tensor in batch_of(some).items()}
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                found = _forward(network, batch)
            for i, row in enumerate(some):
                if row.label >= 0:
                    right.append(int(found.entailment[i].argmax()) == row.label)
                    continue
                if row.start >= 0:
                    margin, start, end = _best_span(found.spans[i], row)
                    margins.append(margin)
                    answered.append(row.start > 0)
                    if row.start > 0:
                        hits.append((start, end) == (row.start, row.end))
                if row.relevant >= 0:
                    relevance.append(float(found.relevance[i]))
                    relevant.append(bool(row.relevant))
        scores: dict[str, float] = {}
        if hits:
            scores["exact"] = sum(hits) / len(hits)
            scores["answerable_auroc"] = auroc(answered, margins) or 0.0
            scores["relevance_auroc"] = auroc(relevant, relevance) or 0.0
            self._calibration = {}
            for name, values, truth in (("span", margins, answered), ("relevance", relevance, relevant)):
                self._calibration[f"{name}_slope"], self._calibration[f"{name}_bias"] = logistic(values, truth)
        if right:
            scores["entailment_accuracy"] = sum(right) / len(right)
        return {"mean": sum(scores.values()) / len(scores), **scores}

    def save(self, network: nn.Module, folder: Path) -> None:
        save_adapters(network, folder, base=self.base)
        write_json(self._calibration, folder / "calibration.json")

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": ", ".join(self._names),
            "base": self.base,
            "questions": len(self._asked_rows),
            "bundles of claims": len(self._bundles),
            "held-out questions": len(self._held),
            "held-out pairs": len(self._held_claims),
        }


def _forward(network: nn.Module, batch: Batch) -> EvidenceLogits:
    """All logits in float32; sequences of like length are run together, since claims are short and passages long."""
    token_ids, mask, segments = (batch[name] for name in ("token_ids", "attention_mask", "segment_ids"))
    lengths = mask.sum(dim=1)
    order = lengths.argsort(descending=True)
    spans: list[Tensor] = []
    relevance: list[Tensor] = []
    entailment: list[Tensor] = []
    done = 0
    while done < len(order):
        width = int(lengths[order[done]])
        rows = order[done : done + max(1, _TOKENS // width)]
        found: EvidenceLogits = network(token_ids[rows, :width], mask[rows, :width], segments[rows, :width])
        spans.append(F.pad(found.spans.float(), (0, 0, 0, token_ids.shape[1] - width)))
        relevance.append(found.relevance.float())
        entailment.append(found.entailment.float())
        done += len(rows)
    back = order.argsort()
    return EvidenceLogits(torch.cat(spans)[back], torch.cat(relevance)[back], torch.cat(entailment)[back])


def _margins(relevance: Tensor, batch: Batch) -> Tensor:
    """How far each group's relevant passage is above its irrelevant one: ``(n,)``."""
    right, wrong = batch["relevant"] == 1, batch["relevant"] == 0
    same = batch["groups"][:, None] == batch["groups"][None, :]
    first, second = (right[:, None] & wrong[None, :] & same).nonzero(as_tuple=True)
    return relevance[first] - relevance[second]


def _best_span(logits: Tensor, row: Row) -> tuple[float, int, int]:
    """The best span of a sequence's passage: how far above "no answer" it is, and its first and last token."""
    stop = len(row.pair.ids) - 1
    sums = logits[row.passage : stop, 0][:, None] + logits[row.passage : stop, 1][None, :]
    sums = sums.triu().masked_fill(torch.ones_like(sums).tril(-1).bool(), -torch.inf)
    best = int(sums.argmax())
    n = stop - row.passage
    margin = float(sums.flatten()[best] - logits[0].sum())
    return margin, row.passage + best // n, row.passage + best % n


def _pools(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


_LABELS = {"entailment": 0, "neutral": 1, "contradiction": 2}


def _pair(row: Any) -> Claim:
    return Claim(row["premise"], row["hypothesis"], _LABELS[row["label"]])
