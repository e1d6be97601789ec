"""LangBertTextSplitter: token-exact passages that never alter the text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_text_splitters import TextSplitter

from langbert import read_documents
from langchain_langbert import LangBertEmbeddings, LangBertTextSplitter

pytestmark = pytest.mark.models

PIECES = ["Bees make honey. ", "蜜蜂酿蜜。", "Naïve café — ", "\n\n", "  ", "A heading\n=========\n", "🙂", "word "]


@pytest.fixture(scope="module")
def embeddings() -> LangBertEmbeddings:
    return LangBertEmbeddings()


@settings(max_examples=25)
@given(text=st.lists(st.sampled_from(PIECES), max_size=80).map("".join))
def test_passages_are_cut_not_rewritten(embeddings: LangBertEmbeddings, text: str) -> None:
    splitter = LangBertTextSplitter(embeddings, chunk_size=24)
    for passage in splitter.split_documents([Document(page_content=text)]):
        start = passage.metadata["start_index"]
        assert text[start : start + len(passage.page_content)] == passage.page_content
        assert len(embeddings.embedder.token_offsets(passage.page_content)) <= 24


def test_every_word_is_in_some_passage(embeddings: LangBertEmbeddings) -> None:
    text = " ".join(f"word{n}" for n in range(500))
    passages = LangBertTextSplitter(embeddings, chunk_size=32).split_text(text)
    assert len(passages) > 10
    assert " ".join(passages).split() == text.split()


def test_metadata_is_copied_and_ids_are_stable(embeddings: LangBertEmbeddings) -> None:
    document = Document(id="a", page_content="Bees make honey. " * 40, metadata={"source": "bees.txt", "page": 3})
    before = document.model_copy(deep=True)
    splitter = LangBertTextSplitter(embeddings, chunk_size=40, chunk_overlap=8)
    assert isinstance(splitter, BaseDocumentTransformer)
    assert isinstance(splitter, TextSplitter)
    first, second = splitter.split_documents([document]), splitter.transform_documents([document])
    assert first == second
    assert document == before
    assert len({passage.id for passage in first}) == len(first) > 1
    assert all(passage.metadata["source"] == "bees.txt" and passage.metadata["page"] == 3 for passage in first)
    starts = [passage.metadata["start_index"] for passage in first]
    ends = [start + len(passage.page_content) for start, passage in zip(starts, first, strict=True)]
    assert any(end > start for end, start in zip(ends, starts[1:], strict=False)), "no overlap"


def test_create_documents(embeddings: LangBertEmbeddings) -> None:
    splitter = LangBertTextSplitter(embeddings)
    made = splitter.create_documents(["One.", "Two."], [{"n": 1}, {"n": 2}])
    assert [(document.page_content, document.metadata["n"], document.id) for document in made] == [
        ("One.", 1, None),
        ("Two.", 2, None),
    ]
    with pytest.raises(ValueError, match="1 metadatas came for 2 texts"):
        splitter.create_documents(["One.", "Two."], [{}])


def test_nested_metadata_is_nobodys_but_the_passages(embeddings: LangBertEmbeddings) -> None:
    document = Document(page_content="Bees make honey. " * 40, metadata={"headings": ["Bees", "Honey"], "page": 3})
    first, second, *_ = LangBertTextSplitter(embeddings, chunk_size=40).split_documents([document])
    first.metadata["headings"].append("mine")
    assert document.metadata["headings"] == second.metadata["headings"] == ["Bees", "Honey"]


def test_splitting_twice_keeps_offsets_in_the_whole_text(embeddings: LangBertEmbeddings) -> None:
    text = "".join(f"Sentence number {n} is about bees. " for n in range(100))
    coarse = LangBertTextSplitter(embeddings, chunk_size=120).split_documents([Document(page_content=text)])
    fine = LangBertTextSplitter(embeddings, chunk_size=30).split_documents(coarse)
    assert len(fine) > len(coarse) > 2
    for passage in fine:
        start = passage.metadata["start_index"]
        assert text[start : start + len(passage.page_content)] == passage.page_content


async def test_files_keep_page_and_headings(embeddings: LangBertEmbeddings, documents_folder: Path) -> None:
    splitter = LangBertTextSplitter(embeddings, chunk_size=100)
    files = [sorted(documents_folder.glob(f"*.{kind}"))[0] for kind in ("pdf", "html", "rst")]
    for document in read_documents(files):
        passages = splitter.split_documents([document])
        assert len(passages) > 3
        for passage in passages:
            start = passage.metadata["start_index"]
            assert document.text[start : start + len(passage.page_content)] == passage.page_content
            assert passage.metadata["document_id"] == document.id
            assert passage.metadata["source"] == document.source
        if document.page_starts:
            assert {passage.metadata["page"] for passage in passages} <= set(range(1, len(document.page_starts) + 1))
            assert passages[-1].metadata["page"] > 1
        if document.headings:
            assert any(passage.metadata.get("headings") for passage in passages)
    plain = [Document(page_content="Bees make honey.")]
    assert await splitter.atransform_documents(plain) == splitter.transform_documents(plain)


def test_it_is_a_text_splitter_wherever_langchain_asks_for_one(embeddings: LangBertEmbeddings, tmp_path: Path) -> None:
    from langchain_classic.retrievers import ParentDocumentRetriever
    from langchain_core.stores import InMemoryStore

    from langchain_langbert import LangBertVectorStore

    retriever = ParentDocumentRetriever(
        vectorstore=LangBertVectorStore(embeddings),
        docstore=InMemoryStore(),
        child_splitter=LangBertTextSplitter(embeddings, chunk_size=24),
        parent_splitter=LangBertTextSplitter(embeddings, chunk_size=96),
    )
    retriever.add_documents([Document(page_content="Bees make honey. " * 40 + "Wasps make paper. " * 3)])
    assert "Wasps" in retriever.invoke("paper of wasps")[0].page_content


def test_texts_may_come_from_a_generator() -> None:
    splitter = LangBertTextSplitter()
    texts, metadatas = (text for text in ("One.", "Two.")), ({"row": row} for row in range(2))
    assert [passage.metadata["row"] for passage in splitter.create_documents(texts, metadatas)] == [0, 1]
