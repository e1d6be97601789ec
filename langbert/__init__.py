"""Questions answered from your own documents, on your own machine.

The names below load their modules on first use, so that ``import langbert`` stays quick.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answering.rag import Rag
    from .checking import Checker
    from .chunking import Chunker
    from .documents import read_documents
    from .embedding.cache import EmbeddingCache
    from .embedding.embedder import Embedder
    from .embedding.images import ImageEmbedder
    from .errors import LangbertError
    from .generation.generator import Generator
    from .generation.remote import RemoteGenerator
    from .indexing import sync
    from .labels.classifier import Classifier
    from .labels.extractor import Extraction, Extractor, Triple
    from .labels.few_shot import FewShotClassifier
    from .labels.tagger import Tagger
    from .models.layers.pooling import Pooling
    from .reading import Reader
    from .records import Answer, AnswerMode, Candidate, Chunk, Citation, Document, Entailment, Message, Span
    from .reranking import Reranker
    from .retrieval import Retriever
    from .store import Store, StoreLike, open_store

__version__ = _version("langbert")

# OpenMP asks for it once, when torch loads it. Its threads would spin while they wait for each other: beside another
# busy process, on the very core that the one they wait for needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOME = {
    "Answer": "records",
    "AnswerMode": "records",
    "Candidate": "records",
    "Checker": "checking",
    "Chunk": "records",
    "Chunker": "chunking",
    "Citation": "records",
    "Classifier": "labels.classifier",
    "Document": "records",
    "Entailment": "records",
    "Embedder": "embedding.embedder",
    "EmbeddingCache": "embedding.cache",
    "Extraction": "labels.extractor",
    "Extractor": "labels.extractor",
    "FewShotClassifier": "labels.few_shot",
    "Generator": "generation.generator",
    "ImageEmbedder": "embedding.images",
    "LangbertError": "errors",
    "Message": "records",
    "Pooling": "models.layers.pooling",
    "Rag": "answering.rag",
    "Reader": "reading",
    "RemoteGenerator": "generation.remote",
    "Reranker": "reranking",
    "Retriever": "retrieval",
    "Span": "records",
    "Store": "store",
    "StoreLike": "store",
    "Tagger": "labels.tagger",
    "Triple": "labels.extractor",
    "open_store": "store",
    "read_documents": "documents",
    "sync": "indexing",
}

__all__ = [
    "Answer",
    "AnswerMode",
    "Candidate",
    "Checker",
    "Chunk",
    "Chunker",
    "Citation",
    "Classifier",
    "Document",
    "Embedder",
    "EmbeddingCache",
    "Entailment",
    "Extraction",
    "Extractor",
    "FewShotClassifier",
    "Generator",
    "ImageEmbedder",
    "LangbertError",
    "Message",
    "Pooling",
    "Rag",
    "Reader",
    "RemoteGenerator",
    "Reranker",
    "Retriever",
    "Span",
    "Store",
    "StoreLike",
    "Tagger",
    "Triple",
    "__version__",
    "open_store",
    "read_documents",
    "sync",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'langbert' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
