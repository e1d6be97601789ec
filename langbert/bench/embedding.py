"""How fast an Embedder is: texts, tokens and arithmetic a second, and how near that comes to the machine's roof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..embedding.embedder import Embedder
from ..embedding.long_texts import TextReader
from ..models import resolve
from ..models.bert.checkpoint import is_bert, parse_config
from ..models.files.json_files import read_json
from ..models.files.sentence_folder import read_sentence_folder
from ..models.files.tokenizer import TextTokenizer
from ..records import Progress, Role
from .flops import bert_flops
from .roof import MatrixProducts, Roof
from .timing import Timing, interleaved

_ROOF = "roof of "


@dataclass(frozen=True, slots=True)
class Workload:
    """What there is to compute for some texts.

    Attributes:
        texts: how many.
        tokens: that the encoder reads, special ones included; of a text in windows, those of all windows.
        flops: floating-point operations of its matrix products; None for networks that are not ours to count.
    """

    texts: int
    tokens: int
    flops: int | None

    @classmethod
    def of(cls, embedder: Embedder, texts: Sequence[str], role: Role = "document") -> Workload:
        """What ``embedder.embed(texts, role)`` has to compute."""
        lengths = sequence_lengths(embedder, texts, role)
        config = read_json(read_sentence_folder(resolve(embedder.name), pooling_needed=False).encoder / "config.json")
        flops = bert_flops(parse_config(config), lengths) if is_bert(config) else None
        return cls(len(texts), sum(lengths), flops)


@dataclass(frozen=True, slots=True)
class EmbeddingSpeed:
    """One embedder's figures over one workload.

    Attributes:
        timing: of embedding all of it, once a round.
        roof: the fastest matrix product in the same run; None where none is comparable.
    """

    workload: Workload
    timing: Timing
    roof: Roof | None

    @property
    def tokens_per_second(self) -> float:
        return self.workload.tokens / self.timing.median

    @property
    def gflops(self) -> float | None:
        """Billions of operations a second, of those that real tokens need."""
        return None if self.workload.flops is None else self.workload.flops / self.timing.median / 1e9

    @property
    def percent_of_roof(self) -> float | None:
        return None if self.gflops is None or self.roof is None else 100 * self.gflops / self.roof.gflops

    def to_dict(self) -> dict[str, Any]:
        middle, least, most = self.timing.rates(self.workload.texts)
        return {
            "texts": self.workload.texts,
            "tokens": self.workload.tokens,
            "flops": self.workload.flops,
            "seconds": list(self.timing.seconds),
            "texts_per_second": middle,
            "texts_per_second_range": [least, most],
            "tokens_per_second": self.tokens_per_second,
            "gflops": self.gflops,
            "roof": None if self.roof is None else self.roof.to_dict(),
            "percent_of_roof": self.percent_of_roof,
        }


def measure_embedders(
    embedders: Mapping[str, Embedder],
    texts: Sequence[str],
    *,
    role: Role = "document",
    repeats: int = 3,
    device: str | torch.device = "auto",
    threads: int | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> dict[str, EmbeddingSpeed]:
    """Embed the texts with each embedder in turns, and multiply matrices between them.

    Args:
        embedders: by the name they go by. One that keeps vectors in a cache would be timed at reading them.
        repeats: rounds that count; one before them does not.
        device, threads: for the roof, as for the embedders.
        progress: for an embedder's name, what hears how many more texts are done.

    Raises:
        ValueError: there are no texts.
    """
    if not texts:
        raise ValueError("expected texts to embed, got none")
    precisions = {name: embedder.precision for name, embedder in embedders.items()}
    products = {
        dtype: MatrixProducts(dtype, device=device, threads=threads)
        for dtype in dict.fromkeys(precisions.values())
        if dtype in (torch.float32, torch.bfloat16)
    }
    roofs: dict[torch.dtype, list[Roof]] = {dtype: [] for dtype in products}
    calls: dict[str, Callable[[], object]] = {}
    for name, embedder in embedders.items():
        calls[name] = _embedding(embedder, texts, role, progress(name) if progress is not None else None)
    for dtype, multiplied in products.items():
        calls[_ROOF + str(dtype)] = _multiplying(multiplied, roofs[dtype])
    timings = interleaved(calls, repeats)
    speeds = {}
    for name, embedder in embedders.items():
        own = roofs.get(precisions[name])
        roof = max(own, key=lambda roof: roof.gflops) if own else None
        speeds[name] = EmbeddingSpeed(Workload.of(embedder, texts, role), timings[name], roof)
    return speeds


def sequence_lengths(embedder: Embedder, texts: Sequence[str], role: Role = "document") -> list[int]:
    """How many tokens each sequence has that the encoder reads for these texts, special tokens included."""
    reader = text_reader(embedder, role)
    split = embedder.on_overflow == "split"
    return [
        len(window.ids) for windows, _ in reader.read(texts, embedder.max_length, split=split) for window in windows
    ]


def text_reader(embedder: Embedder, role: Role = "document") -> TextReader:
    """What tokenises for the embedder, by itself."""
    folder = read_sentence_folder(resolve(embedder.name), pooling_needed=False)
    tokenizer = TextTokenizer.from_folder(folder.encoder, lowercase=folder.lowercase)
    space = embedder.space
    prompt = space.query_prompt if role == "query" else space.document_prompt
    return TextReader(tokenizer, prompt, include_prompt=folder.include_prompt)


def _embedding(embedder: Embedder, texts: Sequence[str], role: Role, progress: Progress | None) -> Callable[[], object]:
    return lambda: embedder.embed(texts, role, progress=progress)


def _multiplying(products: MatrixProducts, found: list[Roof]) -> Callable[[], object]:
    return lambda: found.append(products.best())
