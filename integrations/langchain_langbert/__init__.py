"""langbert for LangChain: embeddings, vector store, retriever, reranker, chat model, splitter, a cited RAG chain;
a search tool for agents, a middleware that checks what they answer, and entities and relations for graphs.

The names below load their modules on first use, so that ``import langchain_langbert`` imports neither torch nor faiss.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chains import create_rag_chain
    from .chat_models import ChatLangBert
    from .embeddings import LangBertEmbeddings
    from .extraction import LangBertExtractor
    from .middleware import GroundingMiddleware
    from .record_manager import LangBertRecordManager
    from .reranker import LangBertReranker
    from .text_splitter import LangBertTextSplitter
    from .tool import LangBertSearchTool
    from .vectorstores import LangBertRetriever, LangBertVectorStore

_HOME = {
    "ChatLangBert": "chat_models",
    "GroundingMiddleware": "middleware",
    "LangBertEmbeddings": "embeddings",
    "LangBertExtractor": "extraction",
    "LangBertRecordManager": "record_manager",
    "LangBertReranker": "reranker",
    "LangBertRetriever": "vectorstores",
    "LangBertSearchTool": "tool",
    "LangBertTextSplitter": "text_splitter",
    "LangBertVectorStore": "vectorstores",
    "create_rag_chain": "chains",
}

__all__ = [
    "ChatLangBert",
    "GroundingMiddleware",
    "LangBertEmbeddings",
    "LangBertExtractor",
    "LangBertRecordManager",
    "LangBertReranker",
    "LangBertRetriever",
    "LangBertSearchTool",
    "LangBertTextSplitter",
    "LangBertVectorStore",
    "create_rag_chain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'langchain_langbert' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
