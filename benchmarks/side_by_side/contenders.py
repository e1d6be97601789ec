"""Who embeds: langbert in its precisions, and what people use today, all with the same weights.

Everyone gets the same texts in one call, the same threads, 256 tokens at most with the rest cut off, and returns
vectors of length 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from langbert.models import cache_dir, resolve
from langbert.models.files.sentence_folder import read_sentence_folder

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
    def __init__(self, model: str, precision: str, threads: int) -> None:
        from langbert import Embedder

        options: dict[str, Any] = {"max_length": MAX_LENGTH, "on_overflow": "truncate", "threads": threads}
        self._embedder = Embedder(model, precision=precision, **options)  # type: ignore[arg-type]

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)

    def query(self, text: str) -> Vectors:
        return self._embedder.embed([text], role="query")[0]


class _Prompted:
    """A contender that knows nothing of prompts, given every text with the one that the model was trained with."""

    def __init__(self, model: str, loaded: Loaded) -> None:
        folder = read_sentence_folder(resolve(model), pooling_needed=False)
        self._loaded, self._document, self._query = loaded, folder.document_prompt, folder.query_prompt

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._loaded.embed([self._document + text for text in texts])

    def query(self, text: str) -> Vectors:
        return self._loaded.query(self._query + text)


class _HuggingFace:
    """``langchain_huggingface.HuggingFaceEmbeddings``, which is sentence-transformers; vectors come as lists."""

    def __init__(self, model: str, dtype: str | None) -> None:
        from langchain_huggingface import HuggingFaceEmbeddings

        options: dict[str, Any] = {"model_kwargs": {"dtype": dtype}} if dtype else {}
        self._embeddings = HuggingFaceEmbeddings(model_name=str(peer_folder(model)), model_kwargs=options)
        self._embeddings._client.max_seq_length = MAX_LENGTH

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(self._embeddings.embed_documents(list(texts)), dtype=np.float32)

    def query(self, text: str) -> Vectors:
        return np.asarray(self._embeddings.embed_query(text), dtype=np.float32)


def _huggingface(model: str, dtype: str | None) -> Callable[[int], Loaded]:
    return lambda _: _Prompted(model, _HuggingFace(model, dtype))


def _onnx(model: str, kind: str) -> Callable[[int], Loaded]:
    def load(threads: int) -> Loaded:
        from .onnx import OnnxEmbeddings

        return _Prompted(model, OnnxEmbeddings(model, kind, max_length=MAX_LENGTH, threads=threads))

    return load


_LANGBERT = "from langbert import Embedder; Embedder({model!r}, precision={precision!r}, offline=True).embed(['one'])"
_HUGGINGFACE = (
    "from langchain_huggingface import HuggingFaceEmbeddings as E; E(model_name={path!r}).embed_documents(['one'])"
)
_ONNX = (
    "from side_by_side.onnx import OnnxEmbeddings; "
    "OnnxEmbeddings({model!r}, {precision!r}, max_length=256, threads={threads}).embed(['one'])"
)


def contenders(model: str) -> dict[str, Contender]:
    """All of them by name, with the weights of ``model``."""
    found = [Contender("langbert", "langbert (auto)", None, _langbert(model, "auto"), _LANGBERT)]
    for precision, roof in (("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", None)):
        load = _langbert(model, precision)
        found.append(Contender(f"langbert-{precision}", f"langbert {precision}", roof, load, _LANGBERT))
    theirs = {BASE: ("float32", None), "huggingface-bf16": ("bfloat16", "bfloat16")}
    for name, (precision, dtype) in theirs.items():
        label = f"HuggingFaceEmbeddings, {precision}"
        found.append(Contender(name, label, precision, _huggingface(model, dtype), _HUGGINGFACE))
    found += [
        Contender("onnx", "ONNX Runtime float32", "float32", _onnx(model, "float32"), _ONNX),
        Contender("onnx-int8", "ONNX Runtime dynamic int8", None, _onnx(model, "int8"), _ONNX),
    ]
    return {contender.name: contender for contender in found}


def cold_start_code(contender: Contender, model: str, threads: int) -> str:
    """The program whose run time is the cold start."""
    _, _, precision = contender.name.partition("-")
    default = "float32" if contender.name == "onnx" else "auto"
    return contender.code.format(
        model=model, path=str(peer_folder(model)), precision=precision or default, threads=threads
    )


def peer_folder(model: str) -> Path:
    """The model as sentence-transformers and others read it: what is stored in another form is written out once."""
    folder = resolve(model)
    if (folder / "model.safetensors").is_file():
        return folder
    written = cache_dir() / "benchmarks" / model
    if not (written / "model.safetensors").is_file():
        from langbert import Embedder

        Embedder(model, precision="float32").save(written)
    return written


def _langbert(model: str, precision: str) -> Callable[[int], Loaded]:
    return lambda threads: _Langbert(model, precision, threads)
