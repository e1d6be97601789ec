"""langchain_langbert as a package: its names, the weight of its import, the examples in its docstrings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

import langchain_langbert
from langchain_langbert import (
    ChatLangBert,
    LangBertEmbeddings,
    LangBertReranker,
    LangBertRetriever,
    LangBertSearchTool,
    LangBertVectorStore,
)

ROOT = Path(langchain_langbert.__file__).parent
NO_EMBEDDING = DeterministicFakeEmbedding(size=2)
EXAMPLE = ROOT.parent.parent / "examples" / "langchain_chain.py"


def test_the_public_names_are_pinned() -> None:
    assert langchain_langbert.__all__ == [
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
    for name in langchain_langbert.__all__:
        assert getattr(langchain_langbert, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        langchain_langbert.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import langchain_langbert", {"torch", "faiss", "langchain_core", "transformers"}),
        ("from langchain_langbert import ChatLangBert, LangBertEmbeddings, LangBertReranker", {"torch", "faiss"}),
        ("from langchain_langbert import LangBertVectorStore, LangBertRetriever, create_rag_chain", {"torch"}),
        ("from langchain_langbert import GroundingMiddleware, LangBertSearchTool", {"torch", "transformers"}),
    ],
)
def test_imports_are_light(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; print(*({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChatLangBert(base_url="http://localhost:1"), "no 'base_url': it runs on this machine"),
        (lambda: ChatLangBert(max_token=3), "no 'max_token': did you mean 'max_tokens'"),
        (lambda: LangBertEmbeddings(poling="cls"), "no 'poling': did you mean 'pooling'"),
        (lambda: LangBertReranker(top_k=3), "LangBertReranker has no 'top_k': did you mean 'top_n'"),
        (lambda: LangBertRetriever(vectorstore=None, filtre={}), "no 'filtre': did you mean 'filter'"),
        (lambda: LangBertSearchTool(store=None, top_k=3), "LangBertSearchTool has no 'top_k': it has"),
        (lambda: LangBertVectorStore.from_texts([], NO_EMBEDDING, pth="x"), "no 'pth': did you mean 'path'"),
        (lambda: LangBertVectorStore.load_local("x", NO_EMBEDDING, index="x"), "no 'index'"),
    ],
)
def test_constructors_name_what_they_do_not_know(make: Callable[[], Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        make()


@pytest.mark.models
def test_the_example_answers_and_cites(tmp_path: Path) -> None:
    text = "Bees\n====\n\nBees make honey from nectar. They live in hives.\n"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bees.rst").write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "normans.md").write_text("The Normans gave their name to Normandy.\n", encoding="utf-8")
    command = [sys.executable, str(EXAMPLE), "What do bees make?", "--documents", "docs", "--store", "store"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[1] bees.rst" in done.stdout
    assert "“Bees make honey from nectar. They live in hives.”" in done.stdout
