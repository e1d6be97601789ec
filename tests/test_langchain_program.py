"""A program written for HuggingFaceEmbeddings, FAISS and CrossEncoderReranker moves here by changing names alone."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

BEFORE = """\
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_community.cross_encoders import HuggingFaceCrossEncoder
from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings

documents = [Document(page_content=text, metadata={"source": name}) for name, text in texts.items()]
embeddings = HuggingFaceEmbeddings(
    model_name="sentence-transformers/all-MiniLM-L6-v2",
    model_kwargs={"device": "cpu"},
    encode_kwargs={"normalize_embeddings": True},
)
store = FAISS.from_documents(documents, embeddings)
nearest = store.similarity_search_with_score("Who makes honey?", k=1)
cross_encoder = HuggingFaceCrossEncoder(model_name=cross_encoder_name)
compressor = CrossEncoderReranker(model=cross_encoder, top_n=2)
retriever = ContextualCompressionRetriever(
    base_compressor=compressor, base_retriever=store.as_retriever(search_kwargs={"k": 3})
)
found = retriever.invoke("Who makes honey?")
sources = [document.metadata["source"] for document in found]
"""

AFTER = """\
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_langbert import LangBertReranker
from langchain_langbert import LangBertVectorStore
from langchain_core.documents import Document
from langchain_langbert import LangBertEmbeddings

documents = [Document(page_content=text, metadata={"source": name}) for name, text in texts.items()]
embeddings = LangBertEmbeddings(
    model_name="sentence-transformers/all-MiniLM-L6-v2",
    model_kwargs={"device": "cpu"},
    encode_kwargs={"normalize_embeddings": True},
)
store = LangBertVectorStore.from_documents(documents, embeddings)
nearest = store.similarity_search_with_score("Who makes honey?", k=1)
cross_encoder = LangBertReranker(model_name=cross_encoder_name)
compressor = LangBertReranker(model=cross_encoder, top_n=2)
retriever = ContextualCompressionRetriever(
    base_compressor=compressor, base_retriever=store.as_retriever(search_kwargs={"k": 3})
)
found = retriever.invoke("Who makes honey?")
sources = [document.metadata["source"] for document in found]
"""

NAMES = {
    "HuggingFaceEmbeddings": "LangBertEmbeddings",
    "HuggingFaceCrossEncoder": "LangBertReranker",
    "CrossEncoderReranker": "LangBertReranker",
    "FAISS": "LangBertVectorStore",
}
TEXTS = {
    "bees": "Bees make honey from nectar.",
    "normans": "The Normans came from Normandy.",
    "bears": "Bears like to eat honey.",
    "pep8": "Limit all lines to a maximum of 79 characters.",
}


def test_only_imports_and_constructor_names_differ() -> None:
    assert 20 <= len(BEFORE.splitlines()) <= 25
    changes = [line for line in difflib.ndiff(BEFORE.splitlines(), AFTER.splitlines()) if line[0] in "-+"]
    gone = [line[2:] for line in changes if line[0] == "-" and not line.startswith("- from ")]
    new = [line[2:] for line in changes if line[0] == "+" and not line.startswith("+ from ")]
    assert len(gone) == len(NAMES)
    renamed = [re.sub(r"\b(" + "|".join(NAMES) + r")\b", lambda name: NAMES[name.group()], line) for line in gone]
    assert renamed == new
    for line in gone:
        assert re.search(r"= (" + "|".join(NAMES) + r")(\(|\.from_documents\()", line), line


@pytest.mark.models
def test_the_moved_program_runs(tmp_path: Path, minilm_folder: Path) -> None:
    torch.manual_seed(0)
    vocabulary = (minilm_folder / "vocab.txt").read_text(encoding="utf-8")
    (tmp_path / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    config = BertConfig(
        vocab_size=len(vocabulary.splitlines()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    names: dict[str, Any] = {"texts": TEXTS, "cross_encoder_name": str(tmp_path)}
    exec(AFTER, names)
    ((nearest, score),) = names["nearest"]
    assert nearest.metadata["source"] == "bees"
    assert 0.5 < score <= 1
    assert len(names["sources"]) == 2
    assert {"bees", "bears"} & set(names["sources"])
    scores = [document.metadata["relevance_score"] for document in names["found"]]
    assert scores == sorted(scores, reverse=True)
