"""Text → vectors: the Embedder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError, TextTooLong, require_choice
from ..models import resolve
from ..models.configured import Configured
from ..models.encoder import load_encoder
from ..models.files.digests import remembered
from ..models.files.sentence_folder import read_sentence_folder, write_sentence_folder
from ..models.files.tokenizer import TextTokenizer
from ..models.files.weights import tensors_sha256
from ..models.hardware import EncoderPrecision, encoder_dtype, planned_threads, resolve_device
from ..models.layers.pooling import Pooling
from ..models.runner import Runner, Window, checked_texts
from ..records import EmbeddingSpace, Progress, Role
from .cache import Cached, EmbeddingCache, cache_keys
from .head import SentenceHead
from .long_texts import ONE_TOKEN, OVERLAP, SPAN_POOLINGS, TextReader, checked_spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("langbert")

OnOverflow = Literal["split", "truncate", "error"]
"""What happens to a text over the length limit: it is read in windows (:mod:`langbert.embedding.long_texts`), its end
is dropped, or :class:`TextTooLong` is raised."""

_SLAB = 2048
"""Texts tokenised at a time: enough to find neighbours of one length, little enough to hold."""

_DOCUMENTS = 64
"""Documents tokenised at a time, which are longer than texts are."""


class Embedder(Configured):
    """Turns texts into vectors that lie close where the meanings do.

    A text has the same vector alone and in any batch. ``None`` means what the checkpoint says.

    Args:
        model: a catalogue name, a folder, or a name on the hub.
        pooling: how token vectors become one vector: see :class:`Pooling`. Mean if the checkpoint is silent too.
        normalize: whether vectors have length 1. True if the checkpoint is silent too.
        precision: ``"float32"``, ``"bfloat16"``, or ``"int8"``, for a BERT on a CPU. ``"auto"`` is int8 if that keeps a
            mean cosine of about 0.998 to float32 and 0.99 at least; else bfloat16 where the hardware multiplies it.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        max_length: tokens the encoder reads at once, special tokens included.
        on_overflow: what happens to longer texts: see :data:`OnOverflow`.
        dimensions: keep only the first so many, for models trained to allow it (Kusupati et al. 2022, Matryoshka).
        query_prompt, document_prompt: put before each text of that role.
        offline: touch no network; None asks the environment.
        trust_remote_code: let transformers run the code a checkpoint brings along. Read that code first.
        cache: keep vectors on disk, so that no text is ever embedded twice: a folder, an :class:`EmbeddingCache`, or
            True for the user's cache folder. Vectors are kept apart by embedding space, precision, limit and role.

    Attributes:
        precision: what it computes in.
        overflowed: how many texts so far were over the limit.
        tokens: how many tokens the encoder has been given so far, special ones and overlaps included.

    Raises:
        ModelNotFound, DownloadError, ChecksumError: the model cannot be had.
        CheckpointError: it cannot be loaded, or lacks what the pooling needs.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        model: str | Path = "e5-small",
        *,
        pooling: Pooling | str | None = None,
        normalize: bool | None = None,
        precision: EncoderPrecision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        on_overflow: OnOverflow = "split",
        dimensions: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        offline: bool | None = None,
        trust_remote_code: bool = False,
        cache: EmbeddingCache | str | Path | bool | None = None,
    ) -> None:
        require_choice("on_overflow", on_overflow, get_args(OnOverflow))
        chosen = None if pooling is None else Pooling(pooling)
        self.name, self.on_overflow = str(model), on_overflow
        self.overflowed = self.tokens = 0
        self._device, self._path = resolve_device(device), resolve(model, offline=offline)
        self._folder = read_sentence_folder(self._path, pooling_needed=chosen is None)
        self._encoder = load_encoder(
            self._folder.encoder,
            dtype=encoder_dtype(precision, self._device),
            device=self._device,
            trust_remote_code=trust_remote_code,
        )
        self.precision = self._encoder.dtype
        self._runner = Runner(self._encoder, self._device, planned_threads(threads))
        self._tokenizer = TextTokenizer.from_folder(
            self._folder.encoder, lowercase=self._folder.lowercase, trust_remote_code=trust_remote_code
        )
        self.pooling = self._chosen_pooling(chosen)
        self.normalize = normalize if normalize is not None else self._folder.normalize is not False
        prompts: dict[Role, str] = {
            "query": self._folder.query_prompt if query_prompt is None else query_prompt,
            "document": self._folder.document_prompt if document_prompt is None else document_prompt,
        }
        self._readers = {
            role: TextReader(self._tokenizer, prompt, include_prompt=self._folder.include_prompt)
            for role, prompt in prompts.items()
        }
        self.max_length = self._chosen_length(max_length)
        self._head = SentenceHead(
            self.pooling,
            self._encoder.pooler,
            None if self._folder.attention is None else self._folder.attention.to(self._device),
            nn.Sequential(*self._folder.dense).to(self._device),
            self._chosen_dimensions(dimensions),
            self.normalize,
        )
        self._cache = EmbeddingCache.opened(cache)

    def _chosen_pooling(self, chosen: Pooling | None) -> Pooling:
        theirs = self._folder.pooling
        pooling = chosen or theirs or Pooling.MEAN
        if chosen is not None and theirs not in (None, chosen):
            log.warning("%s was trained with %s pooling; using %s, as asked", self.name, theirs, chosen)
        if pooling is Pooling.POOLER and self._encoder.pooler is None:
            raise CheckpointError(f"{self.name} has no trained pooler; choose another pooling, e.g. 'mean' or 'cls'")
        if pooling is Pooling.ATTENTION and self._folder.attention is None:
            raise CheckpointError(f"{self.name} has no trained attention pooling; choose another, e.g. 'mean' or 'cls'")
        return pooling

    def _chosen_length(self, asked: int | None) -> int:
        most = self._encoder.max_length
        said = self._folder.max_length or self._tokenizer.model_max_length
        length = asked if asked is not None else min(n for n in (said, most, 1 << 30) if n is not None)
        least = max(reader.n_around for reader in self._readers.values()) + 1
        if length < least or (most is not None and length > most):
            message = (
                f"max_length {length} is out of range: {self.name} takes {least} to {most or 'any number of'} tokens "
                f"(special tokens, the longer prompt and one token of text at least)"
            )
            raise CheckpointError(message) if asked is None else ValueError(message)
        return length

    def _chosen_dimensions(self, asked: int | None) -> int | None:
        width = self._folder.dense[-1].linear.out_features if self._folder.dense else self._encoder.hidden_size
        dimensions = self._folder.dimensions if asked is None else asked
        if dimensions is not None and not 1 <= dimensions <= width:
            message = f"dimensions {dimensions} is out of range: {self.name} has 1 to {width}"
            raise CheckpointError(message) if asked is None else ValueError(message)
        self._width = width
        return None if dimensions == width else dimensions

    @property
    def dimension(self) -> int:
        """The width of a vector."""
        return self._head.dimensions or self._width

    @cached_property
    def space(self) -> EmbeddingSpace:
        """What decides whether vectors may be compared; the same for a model before and after :meth:`save`."""
        return EmbeddingSpace(
            model=self.name,
            weights=remembered(f"weights for {self.pooling}", self._path, self._weights_sha256),
            tokenizer=remembered(
                f"tokenizer, lowercase {self._folder.lowercase}", self._path, lambda: self._tokenizer.sha256
            ),
            pooling=self.pooling.value,
            normalize=self.normalize,
            dimension=self.dimension,
            query_prompt=self._readers["query"].prompt,
            document_prompt=self._readers["document"].prompt,
        )

    def _weights_sha256(self) -> str:
        return tensors_sha256({**self._encoder.weights(), **self._head.weights()})

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """One vector per text.

        Args:
            texts: any number, of any length; an empty text is a text too.
            role: decides the prompt: questions are ``"query"``, what they are asked of is ``"document"``.
            progress: called with how many more texts are done.

        Returns:
            ``(n, dimension)`` float32, in the order of ``texts``.

        Raises:
            TypeError: ``texts`` is not a sequence of strings.
            TextTooLong: a text is over the limit and ``on_overflow="error"``.
        """
        texts = checked_texts(texts)
        require_choice("role", role, self._readers)
        first: dict[str, int] = {}  # each different text is embedded once, and known by where it came first
        for i, text in enumerate(texts):
            first.setdefault(text, i)
        different, places = list(first), list(first.values())
        if progress is not None and len(different) < len(texts):
            progress(len(texts) - len(different))
        vectors = np.empty((len(different), self.dimension), dtype=np.float32)
        too_long = np.zeros(len(different), dtype=bool)
        for start in range(0, len(different), _SLAB):
            slab = slice(start, start + _SLAB)
            vectors[slab], too_long[slab] = self._remembered(different[slab], places[slab], role, progress)
        if len(different) < len(texts):
            row = {text: i for i, text in enumerate(different)}
            rows = [row[text] for text in texts]
            vectors, too_long = vectors[rows], too_long[rows]
        overflowed = int(too_long.sum())
        if overflowed:
            self.overflowed += overflowed
            done = "read in windows" if self.on_overflow == "split" else "cut off"
            log.warning("%d of %d texts were over %d tokens: %s", overflowed, len(texts), self.max_length, done)
        return vectors

    def embed_iter(
        self,
        texts: Iterable[str],
        role: Role = "document",
        *,
        size: int = _SLAB,
        progress: Progress | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """:meth:`embed` for a stream that need not fit in memory: vectors of ``size`` texts at a time, in their order.

        Args:
            texts: read as the vectors are asked for, never more than ``size`` ahead. Duplicates are found within each
                ``size``; a cache finds them all.
            role, progress: as in :meth:`embed`.
            size: texts in a block. The larger, the more neighbours of one length there are, which is quicker.

        Yields:
            ``(size, dimension)`` float32; the last block may be smaller.

        Raises:
            TypeError, TextTooLong: as in :meth:`embed`; a text's number counts within its block.
            ValueError: ``size`` is not at least 1.
        """
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"expected texts, got one {type(texts).__name__}; put it in a list")
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        left = iter(texts)
        blocks = iter(lambda: list(islice(left, size)), [])
        return (self.embed(block, role, progress=progress) for block in blocks)

    def embed_spans(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], *, progress: Progress | None = None
    ) -> list[NDArray[np.float32]]:
        """Vectors of stretches of documents, each from its own tokens' states after the network has read the document.

        Late chunking (Günther et al. 2024). A text is read whole, or in overlapping windows of ``max_length`` tokens,
        whatever ``on_overflow`` says. A span over all of a text that fits gives the text's own vector. The cache has
        no part in it.

        Args:
            texts: documents.
            spans: for each text any number of ``(start, end)``, characters, end exclusive; they may overlap.
            progress: called with how many more spans are done.

        Returns:
            For each text ``(n_spans, dimension)`` float32, comparable with ``embed``'s vectors of questions.

        Raises:
            TypeError: ``texts`` is not a sequence of strings.
            ValueError: a span does not lie in its text, or the pooling is not one of ``SPAN_POOLINGS``.
        """
        texts = checked_texts(texts)
        wanted = checked_spans(texts, spans)
        self._check_spans()
        vectors: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), _DOCUMENTS):
            slab = slice(start, start + _DOCUMENTS)
            vectors += self._in_context(texts[slab], wanted[slab], progress)
        return vectors

    @property
    def span_space(self) -> EmbeddingSpace:
        """The space of what :meth:`embed_spans` returns; ValueError where the pooling gives spans no vectors."""
        self._check_spans()
        return replace(self.space, late_chunking=self.max_length)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Where in ``text`` each of its tokens stands: all of them, no special ones, characters, end exclusive."""
        return self._tokenizer.offsets(checked_texts([text])[0])

    def room(self, role: Role = "document") -> int:
        """How many tokens of text fit beside the special tokens and the role's prompt."""
        require_choice("role", role, self._readers)
        return self.max_length - self._readers[role].n_around

    def save(self, folder: str | Path) -> None:
        """Write a folder that sentence-transformers loads and that gives it the same vectors.

        With attention pooling, which sentence-transformers does not have, only langbert loads it.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._encoder.save(folder)
        self._tokenizer.save(folder, max_length=self.max_length)
        write_sentence_folder(
            folder,
            hidden_size=self._encoder.hidden_size,
            pooling=self.pooling,
            include_prompt=self._folder.include_prompt,
            attention=self._head.attention,
            pooler=self._encoder.pooler,
            dense=self._folder.dense,
            dimensions=self._head.dimensions,
            normalize=self.normalize,
            max_length=self.max_length,
            prompts={
                **self._folder.prompts,
                "query": self._readers["query"].prompt,
                "document": self._readers["document"].prompt,
            },
        )

    def __repr__(self) -> str:
        return (
            f"Embedder({self.name!r}, pooling={self.pooling.value!r}, normalize={self.normalize}, "
            f"dimension={self.dimension}, max_length={self.max_length}, precision={str(self.precision)[6:]!r}, "
            f"device={str(self._device)!r})"
        )

    def _check_spans(self) -> None:
        if self.pooling not in SPAN_POOLINGS:
            raise ValueError(
                f"late chunking needs a pooling that takes the tokens of a part of a text as it takes all of them "
                f"({', '.join(SPAN_POOLINGS)}); {self.name} pools by {self.pooling}"
            )

    def _remembered(
        self, texts: Sequence[str], places: Sequence[int], role: Role, progress: Progress | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors from the cache where it has them; the others are made, and kept."""
        if self._cache is None:
            return self._made(texts, places, role, progress)
        keys = cache_keys([*self._cache_parts, role], texts)
        known = {key: item for key, item in self._cache.get(keys).items() if len(item.vector) == self.dimension}
        if known and progress is not None:
            progress(len(known))
        missing = [i for i, key in enumerate(keys) if key not in known]
        if missing:
            made = self._made([texts[i] for i in missing], [places[i] for i in missing], role, progress)
            new = {keys[i]: Cached(vector, bool(long)) for i, vector, long in zip(missing, *made, strict=True)}
            self._cache.put(new)
            known |= new
        found = [known[key] for key in keys]
        return np.stack([item.vector for item in found]), np.array([item.too_long for item in found])

    @cached_property
    def _cache_parts(self) -> list[str]:
        """What decides, beside the role, how a text becomes its vector."""
        limits = (self.max_length, self.on_overflow, OVERLAP, self._folder.include_prompt)
        return [self.space.fingerprint, str(self.precision), *map(str, limits)]

    def _made(
        self, texts: Sequence[str], places: Sequence[int], role: Role, progress: Progress | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors ``(n, dimension)``, and which texts, ``(n,)``, were over the limit.

        ``places`` are what an error calls the texts: where they stood in what the caller gave.
        """
        reader = self._readers[role]
        limit = self.max_length - self._tokenizer.n_special
        found: list[list[Window]] = []
        too_long = np.zeros(len(texts), dtype=bool)
        for read, n_tokens in reader.read(texts, self.max_length, split=self.on_overflow == "split"):
            place = len(found)
            too_long[place] = n_tokens > limit
            if n_tokens > limit and self.on_overflow == "error":
                raise TextTooLong(
                    f"text {places[place]} has {n_tokens} tokens, {self.name} takes {limit} beside its special ones; "
                    f'split it first, or choose on_overflow="split" or "truncate"'
                )
            found.append(reader.one_token(read, self.pooling) if self.pooling in ONE_TOKEN else read)

        def head(states: Tensor, batch: Sequence[int]) -> Sequence[NDArray[np.float32]]:
            return list(self._head(states, [_n_rows(found[i]) for i in batch], reader.skip))

        self._count(found)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for i, vector in self._runner.run(found, head, progress=progress):
            vectors[i] = vector
        return vectors, too_long

    def _in_context(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], progress: Progress | None
    ) -> list[NDArray[np.float32]]:
        """Vectors ``(n_spans, dimension)`` of each text's spans."""
        vectors = [np.empty((0, self.dimension), dtype=np.float32)] * len(texts)
        read = list(self._readers["document"].read_for_spans(texts, self.max_length))
        texts_windows, places = [own for own, _ in read], [own for _, own in read]

        def head(states: Tensor, batch: Sequence[int]) -> list[NDArray[np.float32]]:
            pooled = []
            for i, own in zip(batch, torch.split(states, [_n_rows(texts_windows[i]) for i in batch]), strict=True):
                rows = [places[i].rows(*span) for span in spans[i]]
                picked = own[torch.tensor([row for some in rows for row in some], dtype=torch.int64)]
                pooled.append(self._head(picked, [len(some) for some in rows]))
            return pooled

        self._count(texts_windows)
        for i, own in self._runner.run(texts_windows, head):
            vectors[i] = own
            if progress is not None:
                progress(len(own))
        return vectors

    def _count(self, texts: Sequence[Sequence[Window]]) -> None:
        self.tokens += sum(len(window.ids) for text in texts for window in text)


def _n_rows(text: Sequence[Window]) -> int:
    return sum(len(window.rows) for window in text)
