"""Who reranks: langbert's Reranker, and LangChain's CrossEncoderReranker over sentence-transformers, same weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from langbert.models import cache_dir, resolve
from langbert.models.bert.loading import load_cross_encoder, save_classifier
from langbert.models.files.adapters import base_of
from langbert.models.files.json_files import read_json, write_json
from langbert.models.files.tokenizer import TextTokenizer

MODEL = "minilm-reranker"
BASE = "crossencoder"


class LoadedReranker(Protocol):
    """Both ways to ask: the passages in order, as a chain does, and the scores, to compare them."""

    def rerank(self, question: str, passages: Sequence[str]) -> list[str]: ...

    def score(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]: ...


class _Langbert:
    def __init__(self, precision: str, threads: int) -> None:
        from langchain_langbert import LangBertReranker

        self._compressor = LangBertReranker(
            model=MODEL,
            top_n=None,
            precision=precision,  # type: ignore[arg-type]
            threads=threads,
        )

    def rerank(self, question: str, passages: Sequence[str]) -> list[str]:
        from langchain_core.documents import Document

        documents = [Document(passage) for passage in passages]
        return [document.page_content for document in self._compressor.compress_documents(documents, question)]

    def score(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]:
        return self._compressor.reranker.score(question, passages)


class _CrossEncoder:
    """The cross-encoder does what ``langchain_community.cross_encoders.HuggingFaceCrossEncoder`` does."""

    def __init__(self, dtype: str | None) -> None:
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
        from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
        from sentence_transformers import CrossEncoder

        client = CrossEncoder(str(merged_reranker()), model_kwargs={"dtype": dtype} if dtype else None)

        class HuggingFaceCrossEncoder(BaseCrossEncoder):
            def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
                return client.predict(text_pairs)

        self._encoder = HuggingFaceCrossEncoder()
        self._compressor_class = CrossEncoderReranker

    def rerank(self, question: str, passages: Sequence[str]) -> list[str]:
        from langchain_core.documents import Document

        compressor = self._compressor_class(model=self._encoder, top_n=len(passages))
        documents = [Document(passage) for passage in passages]
        return [document.page_content for document in compressor.compress_documents(documents, question)]

    def score(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(self._encoder.score([(question, passage) for passage in passages]), dtype=np.float32)


RERANKERS: dict[str, tuple[str, Callable[[int], LoadedReranker]]] = {
    "langbert": ("langbert (auto)", lambda threads: _Langbert("auto", threads)),
    "langbert-float32": ("langbert float32", lambda threads: _Langbert("float32", threads)),
    BASE: ("CrossEncoderReranker (float32)", lambda threads: _CrossEncoder(None)),
    "crossencoder-bf16": ("CrossEncoderReranker, bfloat16", lambda threads: _CrossEncoder("bfloat16")),
}
"""Name → how it is shown, and how it is loaded."""


def compared(scores: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float | int]:
    """The largest difference of a score; how many pairs stand in another order, and how far apart they are at most."""
    higher = np.triu(np.ones((len(scores), len(scores)), dtype=bool), k=1)
    swapped = higher & (np.subtract.outer(scores, scores) * np.subtract.outer(reference, reference) < 0)
    apart = np.abs(np.subtract.outer(reference, reference))[swapped]
    return {
        "difference": float(np.abs(scores - reference).max()),
        "swapped": int(swapped.sum()),
        "pairs": int(higher.sum()),
        "swapped_apart": float(apart.max()) if len(apart) else 0.0,
    }


def merged_reranker() -> Path:
    """Our reranker, which is adapters on MiniLM, as one whole folder that sentence-transformers loads."""
    adapters = resolve(MODEL)
    folder = cache_dir() / "benchmarks" / f"{MODEL}-merged"
    if folder.is_dir():
        return folder
    base = base_of(adapters)
    partial = folder.with_suffix(f".{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        network = load_cross_encoder(adapters, base=base)
        save_classifier(network, ["LABEL_0"], partial)
        config = read_json(partial / "config.json")
        del config["problem_type"]  # transformers takes "single label" to mean more than one
        write_json(config, partial / "config.json")
        tokenizer = TextTokenizer.from_folder(base)
        tokenizer.save(partial, max_length=tokenizer.model_max_length or network.bert.config.max_positions)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
