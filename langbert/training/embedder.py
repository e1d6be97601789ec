"""Embedders: vectors that lie close where meanings do, learned from questions, scored pairs or documents alone."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn

from ..embedding.embedder import Embedder
from ..errors import CheckpointError, DataError, require_choice
from ..generation.generator import Generator
from ..models import resolve
from ..models.bert.heads import SentenceEncoder
from ..models.bert.network import Bert
from ..models.files.sentence_folder import Dense, SentenceFolder, read_sentence_folder, write_sentence_folder
from ..models.layers.pooling import AttentionPooling, Pooling
from ..records import Role
from .architectures import (
    NEW_LENGTH,
    Architecture,
    Sizes,
    TextEncoder,
    base_encoder,
    new_encoder,
    save_encoder,
    settings_for,
)
from .contrastive import cosent_loss, cosine_loss
from .embedder_data import (
    ObjectiveName,
    RankingData,
    every_text,
    is_documents,
    objective_for,
    question_set,
    read_pairs,
    read_passages,
    read_ranking,
    read_texts,
    with_mined,
)
from .linear import SETTINGS, LinearRanking, Projected
from .mining import mine_negatives
from .objectives import Distillation, Objective, Ranking, Similarity, Teacher
from .questions import make_questions
from .settings import Bounds, Count, Holdout, LoraSettings, Share, TrainSettings
from .task import SCRATCH, Batch, Task, seeded
from .text_vectors import TextVectors
from .tsdae import Decoder, Denoiser, Tsdae

log = logging.getLogger("langbert")

_SCALE, _SCALE_LINEAR = 20.0, 50.0


class EmbedderTask(Task):
    """Learn to place texts.

    ``data`` is one of the forms of :mod:`~langbert.training.embedder_data`, and decides the objective where none is
    named:

    - ``ranking``: a question finds its passage among the others of the batch. For questions with passages.
    - ``linear``: the same by one layer behind the embedder, which itself stays as it is. For some fifty pairs, from
      which everything else would learn nothing or the wrong things; never chosen unless named.
    - ``distill``: a question's passages are scored as a cross-encoder scores them. For the same data, with a teacher
      (or its scores) and negatives.
    - ``similarity``: two texts are as near as their score says. For scored pairs, or pairs with a teacher.
    - ``tsdae``: a text is written again from the vector of what is left of it. For texts alone.

    Documents can be ranked, too: name a file for ``questions``, and the decoder asks them (GPL), hard negatives are
    mined, and both files are kept for the next time. That takes some seconds a passage, and adapts an embedder that is
    good already; ``tsdae`` is for encoders that are none yet.

    Args:
        data: a SQuAD file, JSON lines, or documents.
        base: the embedder, or any BERT, to start from. With an ``architecture``: whose tokenizer and word vectors the
            new network begins with; ``"scratch"`` makes a vocabulary of ``data``.
        architecture: a new network instead of the base's.
        objective: ``ranking``, ``linear``, ``distill``, ``similarity`` or ``tsdae``; by default what the data is
            made for.
        negatives: hard negatives mined from ``data`` by :func:`~langbert.training.mining.mine_negatives`.
        hard: negatives of its own that each question brings into a batch.
        hardest: from how many of the nearest they are drawn.
        questions: for documents: where the questions made of them are kept.
        generator: the decoder that asks them.
        teacher: a reranker whose scores are learned.
        distillation: ``margin`` (MarginMSE) or ``listwise`` (KL divergence).
        similarity: ``cosine`` (squared error against the score) or ``cosent`` (their order only).
        matryoshka: dimensions, e.g. ``384,256,128,64``, each of which is to be a good vector by itself; the full width
            is always among them.
        scale: what cosines are multiplied by before a softmax, or to compare them with a teacher's logits; by default
            20, and 50 for ``linear``.
        mini_batch: texts encoded at a time, so that memory does not grow with the batch; 0 encodes all at once.
        title_dropout: how often passages are read without their titles.
        delete: the share of words that ``tsdae`` deletes.
        decoder_layers: of the decoder that writes them again.
        pooling: ``cls``, ``mean``, ``max`` or another :class:`~langbert.models.layers.pooling.Pooling`; by default
            as the base has it, or mean.
        max_length: tokens of a text; by default as the base has it, or 256 for a new network.
        n_layers: of a new network: by default one for recurrent networks, two for a Transformer.
        hidden_size: of a new network: by default 256, or the base's for a Transformer that takes its words.
        n_heads: of a new Transformer.
        vocab_size: from scratch: pieces in the vocabulary.
        query_prompt: put before questions; by default as the base has it.
        document_prompt: put before passages; by default as the base has it.
        holdout: the share of titles, passages, pairs or texts kept for evaluation.
        max_held: at most so many questions, pairs or texts are evaluated.

    Raises:
        DataError: the data cannot be used for the objective.
        CheckpointError: the base is neither a BERT nor a recurrent network that langbert trained.
        ValueError: an option is out of its range.
    """

    name = "embedder"
    metric = "ndcg@10"
    heads = ("pooler", "token_weights", "projection", "decoder")
    defaults: ClassVar[TrainSettings] = TrainSettings(
        batch_size=64, learning_rate=2e-4, warmup=0.1, dropout=0.0, lora=LoraSettings(rank=16, alpha=32, dropout=0.0)
    )

    def __init__(
        self,
        data: str | Path,
        *,
        base: str | Path = "minilm",
        architecture: Architecture | None = None,
        objective: ObjectiveName | None = None,
        negatives: str | Path | None = None,
        hard: Annotated[int, Bounds(0)] = 1,
        hardest: Count = 16,
        questions: str | Path | None = None,
        generator: str = "smollm2-135m-instruct",
        teacher: str | None = None,
        distillation: Literal["margin", "listwise"] = "margin",
        similarity: Literal["cosine", "cosent"] = "cosine",
        matryoshka: str = "",
        scale: float | None = None,
        mini_batch: Annotated[int, Bounds(0)] = 0,
        title_dropout: Share = 0.3,
        delete: Share = 0.6,
        decoder_layers: Count = 1,
        pooling: str | None = None,
        max_length: Count | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        holdout: Holdout = 0.05,
        max_held: Count = 500,
        n_layers: Count | None = None,
        hidden_size: Count | None = None,
        n_heads: Count = 4,
        vocab_size: Annotated[int, Bounds(100)] = 8000,
        seed: int = 0,
    ) -> None:
        chosen = objective or objective_for(data, teacher=teacher is not None, questions=questions is not None)
        require_choice("objective", chosen, get_args(ObjectiveName))
        require_choice("distillation", distillation, ("margin", "listwise"))
        require_choice("similarity", similarity, ("cosine", "cosent"))
        self.objective, self.base, self._data = chosen, str(base), Path(data).name
        self.architecture, self._seed = architecture, seed
        sizes = Sizes(n_layers, hidden_size, n_heads, vocab_size)
        with seeded(seed):  # the layers a checkpoint does not have
            encoder = self._encoder(data, sizes, pooling, max_length)
            self._load(encoder, pooling, max_length, query_prompt, document_prompt, mini_batch)
            sentence = cast(SentenceEncoder, self.network)
            if chosen == "tsdae":
                self.network = Denoiser(sentence, self._decoder(decoder_layers))
        teaching = Teacher(teacher) if teacher else None
        held: dict[str, Any] = {"holdout": holdout, "max_held": max_held, "seed": seed}
        dimensions = _dimensions(matryoshka, self._width)
        if chosen == "tsdae":
            self._objective: Objective = Tsdae(read_texts(data), self._texts, delete=delete, **held)
        elif chosen == "similarity":
            compare = cosent_loss if similarity == "cosent" else cosine_loss
            pairs = read_pairs(data, scored=teaching is None)
            self._objective = Similarity(
                pairs, self._texts, compare=compare, teacher=teaching, dimensions=dimensions, **held
            )
        else:
            rows = self._ranking_data(Path(data), negatives, hardest, questions, generator)
            options = {
                "hard": hard,
                "title_dropout": title_dropout,
                "scale": scale or (_SCALE_LINEAR if chosen == "linear" else _SCALE),
                "dimensions": dimensions,
                **held,
            }
            if chosen == "linear":
                self.network = Projected(sentence, self._width)
                self._objective = LinearRanking(rows, self._texts, self.network, **options)
            elif chosen == "distill":
                listwise = distillation == "listwise"
                self._objective = Distillation(rows, self._texts, teacher=teaching, listwise=listwise, **options)
            else:
                self._objective = Ranking(rows, self._texts, **options)
        self.metric, self.higher_is_better = self._objective.metric, self._objective.higher_is_better
        self._told = {"matryoshka": matryoshka, "teacher": teacher} if matryoshka or teacher else {}

    @classmethod
    def settings_for(cls, options: Mapping[str, Any]) -> TrainSettings:
        return SETTINGS if options.get("objective") == "linear" else settings_for(options, cls.defaults)

    def _encoder(self, data: str | Path, sizes: Sizes, pooling: str | None, max_length: int | None) -> TextEncoder:
        """The network, and beside it ``_tokenizer`` and ``_folder``: what the base says of making vectors."""
        if self.architecture is None:
            if self.base == SCRATCH:
                raise ValueError(f"base {SCRATCH!r} needs an architecture: {', '.join(get_args(Architecture))}")
            self._folder = read_sentence_folder(resolve(self.base), pooling_needed=pooling is None)
            encoder, self._tokenizer = base_encoder(self.base)
        else:
            self._folder = SentenceFolder(Path(), normalize=True, max_length=NEW_LENGTH)
            encoder, self._tokenizer = new_encoder(
                self.architecture, self.base, lambda: every_text(data), sizes, max_length=max_length, seed=self._seed
            )
        return encoder

    def _load(
        self,
        encoder: TextEncoder,
        pooling: str | None,
        max_length: int | None,
        query_prompt: str | None,
        document_prompt: str | None,
        mini_batch: int,
    ) -> None:
        """The encoder made ready to learn, with what was asked for in place of what the base's folder says."""
        said, tokenizer = self._folder, self._tokenizer
        self._pooler: nn.Module | None = None
        if isinstance(encoder, Bert):
            self._pooler = encoder.pooler  # saved again even where the pooling does without
            encoder.pooler = None
        self.network = _sentence_encoder(encoder, self._pooler, said, pooling, self.base)
        self._width = said.dense[-1].linear.out_features if said.dense else encoder.config.hidden_size
        most = encoder.config.max_positions or sys.maxsize
        length = max_length or min(said.max_length or tokenizer.model_max_length or NEW_LENGTH, most)
        if not tokenizer.n_special < length <= most:
            takes = "any number of" if most == sys.maxsize else f"up to {most}"
            raise ValueError(
                f"max_length {length} is out of range: {self.base} takes {takes} tokens, {tokenizer.n_special} of them "
                "special"
            )
        prompts: dict[Role, str] = {
            "query": said.query_prompt if query_prompt is None else query_prompt,
            "document": said.document_prompt if document_prompt is None else document_prompt,
        }
        self._texts = TextVectors(
            tokenizer,
            max_length=length,
            prompts=prompts,
            include_prompt=said.include_prompt,
            mini_batch=mini_batch,
        )

    def _decoder(self, n_layers: int) -> Decoder:
        encoder = cast(SentenceEncoder, self.network).encoder
        if not isinstance(encoder, Bert):
            raise ValueError(
                "tsdae writes with a BERT's table of tokens, which recurrent networks lack: choose ranking"
            )
        config = encoder.config
        return Decoder(config.hidden_size, self._width, config.vocab_size, self._texts.max_length, n_layers=n_layers)

    def _ranking_data(
        self, data: Path, negatives: str | Path | None, hardest: int, questions: str | Path | None, generator: str
    ) -> RankingData:
        if is_documents(data):
            if questions is None:
                raise DataError(
                    f"{data} has no questions to rank passages by: name a file to keep made ones in (questions=…), "
                    "or take objective='tsdae'"
                )
            data, negatives = self._asked(data, Path(questions), generator, negatives)
        found = read_ranking(data)
        return found if negatives is None else with_mined(found, negatives, hardest)

    def _asked(
        self, documents: Path, questions: Path, generator: str, negatives: str | Path | None
    ) -> tuple[Path, Path]:
        """Files of questions about the documents and of mined negatives; made, or gone on with, where need be."""
        passages = read_passages(documents, self._texts.tokenizer, self._texts.room)
        log.info("asking questions of %d passages into %s", len(passages), questions)
        make_questions(passages, Generator(generator), questions)
        near = "minilm" if self.base == SCRATCH else self.base
        mined = questions.with_suffix(".negatives.jsonl") if negatives is None else Path(negatives)
        mine_negatives(question_set(read_ranking(questions)), Embedder(near), mined, seed=self._seed)
        return questions, mined

    def lengths(self) -> Sequence[int]:
        return self._objective.lengths()

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        return self._objective.collate(examples, random.Random(seed))  # noqa: S311

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self._objective.loss(network, batch)

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """nDCG@10 and RR@10 of held-out questions over held-out passages; Spearman's correlation for ``similarity``;
        the loss for ``tsdae``."""
        return self._objective.evaluate(network, device)

    def save(self, network: nn.Module, folder: Path) -> None:
        """A sentence-transformers folder, adapters merged; only langbert reads one with a recurrent network in it."""
        whole = deepcopy(network)
        if hasattr(whole, "merge_and_unload"):
            whole = cast(nn.Module, cast(Any, whole).merge_and_unload())
        if isinstance(whole, Projected):
            whole = whole.whole()
        sentence = cast(SentenceEncoder, whole.sentence if isinstance(whole, Denoiser) else whole).cpu()
        encoder = cast(TextEncoder, sentence.encoder)
        pooler = sentence.pooler or self._pooler
        if isinstance(encoder, Bert):
            encoder.pooler = cast(Any, pooler)
        save_encoder(encoder, folder)
        self._texts.tokenizer.save(folder, max_length=self._texts.max_length)
        write_sentence_folder(
            folder,
            hidden_size=encoder.config.hidden_size,
            pooling=sentence.pooling,
            include_prompt=self._texts.include_prompt,
            attention=sentence.token_weights,
            pooler=pooler,
            dense=[cast(Dense, layer) for layer in cast(nn.Sequential, sentence.projection or nn.Sequential())],
            dimensions=self._folder.dimensions,
            normalize=self._folder.normalize is not False,
            max_length=self._texts.max_length,
            prompts={**self._folder.prompts, **{str(role): prompt for role, prompt in self._texts.prompts.items()}},
        )

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._data,
            "base": self.base,
            **({} if self.architecture is None else {"architecture": self.architecture}),
            "objective": self.objective,
            **self._told,
            "held-out examples": self._objective.n_held,
        }


def _sentence_encoder(
    encoder: TextEncoder, pooler: nn.Module | None, said: SentenceFolder, pooling: str | None, base: str
) -> SentenceEncoder:
    chosen = Pooling(pooling) if pooling is not None else said.pooling or Pooling.MEAN
    if chosen is Pooling.POOLER and pooler is None:
        raise CheckpointError(f"{base} has no trained pooler; choose another pooling, e.g. 'mean' or 'cls'")
    weights = (said.attention or AttentionPooling(encoder.config.hidden_size)) if chosen is Pooling.ATTENTION else None
    return SentenceEncoder(
        encoder,
        chosen,
        pooler=pooler if chosen is Pooling.POOLER else None,
        token_weights=weights,
        projection=nn.Sequential(*said.dense) if said.dense else None,
    )


def _dimensions(listed: str, width: int) -> tuple[int, ...]:
    """The dimensions of ``"256,128"``, the full width first; none if nothing is listed."""
    if not listed.strip():
        return ()
    try:
        sizes = {int(size) for size in listed.split(",")}
    except ValueError:
        raise ValueError(f"matryoshka {listed!r}: expected whole numbers and commas, e.g. '256,128,64'") from None
    if not all(1 <= size <= width for size in sizes):
        raise ValueError(f"matryoshka {listed!r} is out of range: vectors have 1 to {width} dimensions")
    return tuple(sorted(sizes | {width}, reverse=True))
