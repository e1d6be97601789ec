"""How fast a Generator is: tokens read and written a second, and how near that comes to the machine's roofs.

Reading a prompt is arithmetic: its roof is the fastest matrix product. A token written is every weight read once: its
roof is how fast this machine reads memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..generation.generator import Generator
from ..models.gpt.decoder import GPTDecoder, PreparedDecoder
from ..models.gpt.network import GPTConfig
from ..models.hardware import planned_threads, using_threads
from ..records import Message
from .flops import gpt_flops
from .roof import MatrixProducts
from .timing import Timing, rotated

_READ_BYTES = 1 << 28
"""Enough that no cache holds it."""


@dataclass(frozen=True, slots=True)
class Network:
    """What there is to compute and to read; of networks that are not ours it is not known.

    Attributes:
        bytes_per_token: of the weights that a single token needs, as they lie in memory.
        dtype: in which prompts are read.
    """

    config: GPTConfig
    bytes_per_token: int
    dtype: torch.dtype

    @classmethod
    def of(cls, generator: Generator) -> Network | None:
        decoder = generator.decoder
        if isinstance(decoder, PreparedDecoder):
            return cls(decoder.model.config, decoder.model.step_bytes, torch.bfloat16)
        if not isinstance(decoder, GPTDecoder):
            return None
        model = decoder.model
        n_bytes = sum(parameter.nbytes for parameter in model.parameters())
        if not model.config.tied_head:  # of the embedding one row is read
            n_bytes -= model.token_embedding.weight.nbytes
        return cls(model.config, n_bytes, model.token_embedding.weight.dtype)


@dataclass(frozen=True, slots=True)
class GenerationSpeed:
    """One generator's figures for one prompt.

    Attributes:
        prompt_tokens, written: tokens read, and tokens written in a round.
        first: seconds to the first piece of text.
        rest: seconds from there to the last.
        reading_gflops: billions of operations a second of the fastest matrix product in the same run.
        memory_gb: billions of bytes a second that were read in the same run.
    """

    prompt_tokens: int
    written: int
    first: Timing
    rest: Timing
    network: Network | None
    reading_gflops: float | None
    memory_gb: float

    @property
    def prefill_tokens_per_second(self) -> float:
        return self.prompt_tokens / self.first.median

    @property
    def decode_tokens_per_second(self) -> float:
        return (self.written - 1) / self.rest.median

    @property
    def percent_of_arithmetic(self) -> float | None:
        """How much of the fastest matrix product reading the prompt comes to."""
        if self.network is None or not self.reading_gflops:
            return None
        flops = gpt_flops(self.network.config, self.prompt_tokens)
        return 100 * flops / self.first.median / 1e9 / self.reading_gflops

    @property
    def percent_of_memory(self) -> float | None:
        """How much of the fastest reading the weights alone come to, a token being written."""
        if self.network is None:
            return None
        return 100 * self.network.bytes_per_token * self.decode_tokens_per_second / 1e9 / self.memory_gb

    def to_dict(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "written_tokens": self.written,
            "first_piece_seconds": list(self.first.seconds),
            "rest_seconds": list(self.rest.seconds),
            "prefill_tokens_per_second": self.prefill_tokens_per_second,
            "decode_tokens_per_second": self.decode_tokens_per_second,
            "bytes_per_token": self.network and self.network.bytes_per_token,
            "matrix_product_gflops": self.reading_gflops,
            "memory_gb_per_second": self.memory_gb,
            "percent_of_matrix_product": self.percent_of_arithmetic,
            "percent_of_memory": self.percent_of_memory,
        }


def rag_messages(texts: Sequence[str], generator: Generator, n_tokens: int) -> list[Message]:
    """A question about as many of the texts as make up a prompt of about ``n_tokens``, one at least.

    Raises:
        ValueError: there are no texts.
    """
    if not texts:
        raise ValueError("expected texts to make a prompt of, got none")

    def messages(n: int) -> list[Message]:
        sources = "\n\n".join(f"[{i}] {text}" for i, text in enumerate(texts[:n], 1))
        question = "Retell all of this in your own words, as fully as you can."
        return [
            Message("system", "Answer the question from the numbered sources and from nothing else."),
            Message("user", f"Sources:\n\n{sources}\n\nQuestion: {question}"),
        ]

    n = 1
    while n < len(texts) and generator.count_tokens(messages(n + 1)) <= n_tokens:
        n += 1
    return messages(n)


def measure_generators(
    generators: Mapping[str, Generator],
    messages: Sequence[Message],
    *,
    max_tokens: int = 64,
    repeats: int = 3,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, GenerationSpeed]:
    """Let each generator answer in turns.

    Args:
        generators: by the name they go by. One with a prefix cache reads a prompt only once.
        repeats: rounds that count; one before them does not.
        threads: for the roofs, as for the generators.
        progress: hears the name of each that has answered.

    Raises:
        ValueError: nothing is to be measured, or an answer had less than two tokens.
    """
    if not generators or repeats < 1 or max_tokens < 2:
        raise ValueError("expected a generator, a round and two tokens at least")
    first: dict[str, list[float]] = {name: [] for name in generators}
    rest: dict[str, list[float]] = {name: [] for name in generators}
    written: dict[str, tuple[int, int]] = {}
    for turn in range(-1, repeats):
        for name in rotated(list(generators), turn):
            seconds, more, counts = _answered(generators[name], messages, max_tokens)
            if turn >= 0:
                first[name].append(seconds)
                rest[name].append(more)
                written[name] = counts
            if progress is not None:
                progress(name)
    memory = measure_reading(threads)
    networks = {name: Network.of(generator) for name, generator in generators.items()}
    dtypes = {network.dtype for network in networks.values() if network is not None}
    roofs = {
        dtype: MatrixProducts(dtype, threads=threads).best().gflops
        for dtype in dtypes
        if dtype in (torch.float32, torch.bfloat16)
    }
    return {
        name: GenerationSpeed(
            *written[name],
            Timing(tuple(first[name])),
            Timing(tuple(rest[name])),
            network,
            None if network is None else roofs.get(network.dtype),
            memory,
        )
        for name, network in networks.items()
    }


def measure_reading(threads: int | None = None, seconds: float = 0.5) -> float:
    """How fast memory is read: billions of bytes a second, the best of what fits the time, thrice at least."""
    numbers = torch.ones(_READ_BYTES // 4)
    best, end, rounds = float("inf"), time.perf_counter() + seconds, 0
    with using_threads(planned_threads(threads)):
        while rounds < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            numbers.sum()
            best, rounds = min(best, time.perf_counter() - start), rounds + 1
    return _READ_BYTES / best / 1e9


def _answered(
    generator: Generator, messages: Sequence[Message], max_tokens: int
) -> tuple[float, float, tuple[int, int]]:
    """Seconds to the first piece, and from there to the end; tokens read and written."""
    start = time.perf_counter()
    stream = generator.stream(messages, max_tokens=max_tokens)
    next(stream, "")
    first = time.perf_counter()
    for _ in stream:
        pass
    end = time.perf_counter()
    found = stream.generation
    if found.completion_tokens < 2:
        raise ValueError(f"{generator.name} answered with {found.completion_tokens} tokens; ask something else")
    return first - start, end - first, (found.prompt_tokens, found.completion_tokens)
