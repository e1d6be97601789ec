"""langchain_langbert as a package: its names, the weight of its import, the examples in its docstrings."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_langbert

ROOT = Path(langchain_langbert.__file__).parent
EXAMPLE = ROOT.parent.parent / "examples" / "langchain_chain.py"


def test_the_public_names_are_pinned() -> None:
    assert langchain_langbert.__all__ == [
        "ChatLangBert",
        "LangBertEmbeddings",
        "LangBertRecordManager",
        "LangBertReranker",
        "LangBertRetriever",
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
    ],
)
def test_imports_are_light(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; print(*({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("file", sorted(ROOT.glob("*.py")), ids=lambda file: file.name)
def test_only_public_names_of_langbert_are_used(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "langbert":
            public = importlib.import_module(node.module or "").__all__
            assert {alias.name for alias in node.names} <= set(public), f"{file.name}: {node.module}"


@pytest.mark.parametrize("module", sorted(file.stem for file in ROOT.glob("[a-z]*.py")))
def test_docstring_examples(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"langchain_langbert.{module}"))
    assert not failed


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
    assert "“Bees make honey from nectar.”" in done.stdout
