"""Where an Embedder's time goes, by the kind of work."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch.profiler import ProfilerActivity, profile

from ..embedding.embedder import Embedder
from ..records import Role
from .embedding import text_reader

Kind = Literal["linear", "attention", "activation", "norm and residual", "copies", "tokenising", "rest"]
"""What time is spent on. ``rest`` is Python, waiting, and operators none of the others is made of."""

_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("attention", ("scaled_dot_product", "attention", "softmax", "bmm", "attn")),
    ("activation", ("gelu", "relu", "silu", "tanh", "erf")),
    ("linear", ("linear", "addmm", "aten::mm", "matmul", "_int_mm", "quantize")),
    ("norm and residual", ("layer_norm", "aten::add", "rms_norm")),
    ("copies", ("copy", "aten::to", "cat", "pad", "contiguous", "clone", "zeros", "fill_", "repeat", "aten::empty")),
    ("copies", ("index", "embedding", "gather", "scatter", "split")),
)
"""Parts of operators' names, in the order they are looked for. A product with a fused activation counts as linear."""

_FUSED = ("mkldnn::_linear_pointwise", "onednn::qlinear")


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds by kind of work.

    Attributes:
        seconds: of one embedding of all texts, from start to end.
        threads: how many threads worked at once; ``by_kind`` sums to about ``threads * seconds``.
        by_kind: seconds of each :data:`Kind`. Tokenising is measured by itself: where it runs ahead in a thread of its
            own it does not add to ``seconds``, and ``rest`` is not less for it.
        operators: the ten operators that took the most, and their seconds.
    """

    seconds: float
    threads: int
    by_kind: dict[Kind, float]
    operators: dict[str, float]

    @property
    def shares(self) -> dict[Kind, float]:
        """Parts of the whole, which sum to 1."""
        total = sum(self.by_kind.values())
        return {kind: seconds / total for kind, seconds in self.by_kind.items()}

    def to_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "threads": self.threads,
            "shares": self.shares,
            "by_kind": self.by_kind,
            "operators": self.operators,
        }


def profile_embedder(embedder: Embedder, texts: Sequence[str], role: Role = "document") -> Profile:
    """Embed ``texts`` under torch's profiler; once before, without it.

    The profiler itself takes time with every operator, so that shares of small batches are a little off.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler remarks on stderr that it has started
    embedder.embed(texts, role)
    reader = text_reader(embedder, role)
    start = time.perf_counter()
    list(reader.read(texts, embedder.max_length, split=embedder.on_overflow == "split"))
    tokenising = time.perf_counter() - start

    with profile(activities=[ProfilerActivity.CPU], experimental_config=_all_threads()) as profiler:
        start = time.perf_counter()
        embedder.embed(texts, role)
        seconds = time.perf_counter() - start
    return _sorted_out(profiler.events() or [], seconds, tokenising)


def kind_of(operator: str) -> Kind | None:
    """The kind of work that an operator's name says it does; None for what only calls others."""
    if operator.startswith(_FUSED):
        return "linear"
    for kind, parts in _KINDS:
        if any(part in operator for part in parts):
            return kind
    return None


def _all_threads() -> Any:
    """Threads of Python's are profiled too, where torch can."""
    from torch._C._profiler import _ExperimentalConfig

    try:
        return _ExperimentalConfig(profile_all_threads=True)
    except TypeError:  # torch before 2.7
        return _ExperimentalConfig()


def _sorted_out(events: Iterable[Any], seconds: float, tokenising: float) -> Profile:
    by_kind: dict[Kind, float] = dict.fromkeys(get_args(Kind), 0.0)
    operators: dict[str, float] = defaultdict(float)
    busy: dict[int, float] = defaultdict(float)
    for event in events:
        own = max(0.0, event.self_cpu_time_total) / 1e6
        operators[event.name] += own
        busy[event.thread] += own
        # What an operator calls is part of it: the products inside attention are attention.
        kind, outer = kind_of(event.name), event.cpu_parent
        while outer is not None:
            kind, outer = kind_of(outer.name) or kind, outer.cpu_parent
        if kind is not None:
            by_kind[kind] += own
    n_threads = max(1, sum(own > 0.1 * seconds for own in busy.values()))  # not one that only waits for others
    by_kind["tokenising"] = tokenising
    by_kind["rest"] = max(0.0, n_threads * seconds - sum(by_kind.values()))
    most = sorted(operators.items(), key=lambda item: -item[1])[:10]
    return Profile(seconds, n_threads, by_kind, dict(most))
