"""Who embeds: langbert in its precisions, and what people use today, all with the same weights.

Everyone gets the same texts in one call, the same threads, 256 tokens at most with the rest cut off, and returns
vectors of length 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from langbert.models import resolve
from langbert.models.hardware import resolve_device, resolve_precision

MODEL = "minilm"
MAX_LENGTH = 256
BASE = "huggingface"
"""The one that ratios are to."""

Vectors = NDArray[np.float32]


class Loaded(Protocol):
    """A contender with its weights in memory."""

    def embed(self, texts: Sequence[str]) -> Vectors: ...

    def query(self, text: str) -> Vectors: ...


@dataclass(frozen=True)
class Contender:
    """How a contender is shown and had.

    Attributes:
        precision: whose matrix-product roof it is measured against; None where there is none to compare.
        code: a program that embeds one text and ends, for the cold start.
    """

    name: str
    label: str
    precision: str | None
    load: Callable[[int], Loaded]
    code: str


class _Langbert:
    def __init__(self, precision: str, threads: int) -> None:
        from langbert import Embedder

        options: dict[str, Any] = {"max_length": MAX_LENGTH, "on_overflow": "truncate", "threads": threads}
        self._embedder = Embedder(MODEL, precision=precision, **options)  # type: ignore[arg-type]

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)

    def query(self, text: str) -> Vectors:
        return self._embedder.embed([text], role="query")[0]


class _HuggingFace:
    """``langchain_huggingface.HuggingFaceEmbeddings``, which is sentence-transformers; vectors come as lists."""

    def __init__(self, dtype: str | None) -> None:
        from langchain_huggingface import HuggingFaceEmbeddings

        options: dict[str, Any] = {"model_kwargs": {"dtype": dtype}} if dtype else {}
        self._embeddings = HuggingFaceEmbeddings(model_name=str(resolve(MODEL)), model_kwargs=options)
        self._embeddings._client.max_seq_length = MAX_LENGTH

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(self._embeddings.embed_documents(list(texts)), dtype=np.float32)

    def query(self, text: str) -> Vectors:
        return np.asarray(self._embeddings.embed_query(text), dtype=np.float32)


def _onnx(kind: str) -> Callable[[int], Loaded]:
    def load(threads: int) -> Loaded:
        from .onnx import OnnxEmbeddings

        return OnnxEmbeddings(MODEL, kind, max_length=MAX_LENGTH, threads=threads)

    return load


_LANGBERT = "from langbert import Embedder; Embedder({model!r}, precision={precision!r}, offline=True).embed(['one'])"
_HUGGINGFACE = (
    "from langchain_huggingface import HuggingFaceEmbeddings as E; E(model_name={path!r}).embed_documents(['one'])"
)
_ONNX = (
    "from side_by_side.onnx import OnnxEmbeddings; "
    "OnnxEmbeddings({model!r}, {precision!r}, max_length=256, threads={threads}).embed(['one'])"
)


def contenders() -> dict[str, Contender]:
    """All of them by name."""
    dtype = str(resolve_precision("auto", resolve_device("cpu"))).removeprefix("torch.")
    found = [Contender("langbert", f"langbert (auto: {dtype})", dtype, lambda n: _Langbert("auto", n), _LANGBERT)]
    for precision, roof in (("float32", "float32"), ("int8", None)):
        found.append(Contender(f"langbert-{precision}", f"langbert {precision}", roof, _langbert(precision), _LANGBERT))
    found += [
        Contender(BASE, "HuggingFaceEmbeddings (float32)", "float32", lambda n: _HuggingFace(None), _HUGGINGFACE),
        Contender(
            "huggingface-bf16",
            "HuggingFaceEmbeddings, bfloat16",
            "bfloat16",
            lambda n: _HuggingFace("bfloat16"),
            _HUGGINGFACE,
        ),
        Contender("onnx", "ONNX Runtime float32", "float32", _onnx("float32"), _ONNX),
        Contender("onnx-int8", "ONNX Runtime dynamic int8", None, _onnx("int8"), _ONNX),
    ]
    return {contender.name: contender for contender in found}


def cold_start_code(contender: Contender, threads: int) -> str:
    """The program whose run time is the cold start."""
    _, _, precision = contender.name.partition("-")
    default = "float32" if contender.name == "onnx" else "auto"
    return contender.code.format(model=MODEL, path=str(resolve(MODEL)), precision=precision or default, threads=threads)


def _langbert(precision: str) -> Callable[[int], Loaded]:
    return lambda threads: _Langbert(precision, threads)
