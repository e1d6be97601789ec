"""A LangChain (LCEL) chain over a folder of documents: ask, stream the answer, show the words it came from.

    python examples/langchain_chain.py
    python examples/langchain_chain.py "What is a virtual environment?" --documents my/folder --store my-index

The first run reads and embeds the documents; later runs find them in the store.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langbert import read_documents
from langchain_langbert import ChatLangBert, LangBertEmbeddings, LangBertVectorStore, create_rag_chain

QUESTION = "What is the maximum line length that PEP 8 recommends?"
DOCUMENTS = Path(__file__).parent / "documents"


def as_text(pieces: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The answer as it is written, then the words each sentence of it came from."""
    for piece in pieces:
        yield piece.get("answer", "")
        for number, citation in enumerate(piece.get("citations", []), start=1):
            place = f"{citation['source']}, characters {citation['start']}–{citation['end']}"
            yield f"\n\n[{number}] {place}\n    “{' '.join(citation['quote'].split())}”"
    yield "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--documents", type=Path, default=DOCUMENTS)
    parser.add_argument("--store", type=Path, default=Path("demo-store"))
    options = parser.parse_args()

    with LangBertVectorStore(LangBertEmbeddings(), options.store) as vectorstore:
        # LangChain Documents would go in with vectorstore.add_documents(…); files are best read by langbert itself,
        # which knows pages and headings. What the store has already costs nothing.
        vectorstore.store.add(read_documents([options.documents]))

        # Any retriever, chat model or reranker of LangChain can take the place of ours.
        chain = create_rag_chain(vectorstore, ChatLangBert(max_tokens=128)) | as_text

        for text in chain.stream(options.question):
            print(text, end="", flush=True)


if __name__ == "__main__":
    main()
