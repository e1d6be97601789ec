"""Who answers: langbert in its modes, and the stack a LangChain user builds today, all from the same models.

Everyone gets the same paragraphs, each under the title of its article, the same threads, and 128 tokens at most for an
answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from langbert import Answer, Citation, Rag, Store
from langbert.evaluation import QuestionSet
from langbert.evaluation.datasets import squad_as_retrieval
from langbert.evaluation.retrieval import corpus_chunks
from langbert.models import resolve
from langbert.records import Chunk

EMBEDDER, DECODER = "minilm", "smollm2-135m-instruct"
MAX_TOKENS = 128
BASE = "langchain"
"""The one that ratios are to."""

_PASSAGES, _CONTEXT = 3, 4096
_PROMPT = (  # of LangChain's own tutorial, rlm/rag-prompt
    "You are an assistant for question-answering tasks. Use the following pieces of retrieved context to answer the "
    "question. If you don't know the answer, just say that you don't know. Use three sentences maximum and keep the "
    "answer concise.\nQuestion: {question} \nContext: {context} \nAnswer:"
)
_UNKNOWN = re.compile(
    r"\bI (?:do not|don't|don’t|cannot|can't|can’t)\b|\bnot (?:mentioned|specified|provided|stated|given|available)\b"
    r"|\bno (?:information|mention)\b|\b(?:does|do) not (?:mention|provide|say|state|specify|contain)\b|\bunknown\b",
    re.IGNORECASE,
)


class Answerer(Protocol):
    """A contender with its models in memory and the corpus indexed."""

    def ask(self, question: str, without: str | None = None) -> Answer:
        """Answer it; ``without`` is a title whose paragraphs are left out."""


class Langbert:
    """``Rag`` with its defaults, in one of its modes."""

    def __init__(self, rag: Rag, mode: Any) -> None:
        self._rag = rag
        self._mode = mode

    def ask(self, question: str, without: str | None = None) -> Answer:
        where = None if without is None else {"source": {"$ne": without}}
        return self._rag.ask(question, mode=self._mode, where=where)


class LangChain:
    """HuggingFaceEmbeddings, FAISS, the three nearest passages stuffed into a prompt, llama.cpp.

    It has no citations: what counts as one is the nearest passage, which a program can show as the source. It has no
    confidence either: what counts as one is the cosine of that passage. It refuses where it says that it does not know.
    """

    def __init__(self, chunks: Sequence[Chunk], threads: int) -> None:
        from langchain_classic.chains.combine_documents import create_stuff_documents_chain
        from langchain_community.chat_models import ChatLlamaCpp
        from langchain_community.vectorstores import FAISS
        from langchain_community.vectorstores.utils import DistanceStrategy
        from langchain_core.documents import Document
        from langchain_core.prompts import ChatPromptTemplate
        from langchain_huggingface import HuggingFaceEmbeddings

        self._n = len(chunks)
        self._store = FAISS.from_documents(
            [
                Document(chunk.contextual_text, metadata={"source": chunk.source, "id": chunk.id, "text": chunk.text})
                for chunk in chunks
            ],
            HuggingFaceEmbeddings(model_name=str(resolve(EMBEDDER))),
            distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT,
        )
        model = ChatLlamaCpp(
            model_path=str(resolve(DECODER)),
            n_ctx=_CONTEXT,
            n_batch=512,
            n_threads=threads,
            temperature=0.0,
            max_tokens=MAX_TOKENS,
            verbose=False,
        )
        self._chain = create_stuff_documents_chain(model, ChatPromptTemplate.from_messages([("human", _PROMPT)]))

    def ask(self, question: str, without: str | None = None) -> Answer:
        start = time.perf_counter()
        left_out: dict[str, Any] = {}
        if without is not None:  # a filter looks at the fetch_k nearest: at all of them, so that three are left
            left_out = {"filter": lambda metadata: metadata["source"] != without, "fetch_k": self._n}
        found = self._store.similarity_search_with_score(question, _PASSAGES, **left_out)
        retrieved = time.perf_counter()
        text = self._chain.invoke({"question": question, "context": [document for document, _ in found]}).strip()
        done = time.perf_counter()
        refused = not text or says_unknown(text)
        nearest, cosine = found[0]
        quote = nearest.metadata["text"]
        cited = Citation(nearest.metadata["source"], nearest.metadata["id"], None, 0, len(quote), quote, float(cosine))
        return Answer(
            text=text,
            citations=() if refused else (cited,),
            refused=refused,
            confidence=min(max(float(cosine), 0.0), 1.0),
            timings={"retrieve": retrieved - start, "generate": done - retrieved, "total": done - start},
            question=question,
        )


def says_unknown(text: str) -> bool:
    """Whether an answer in words is a refusal."""
    return bool(_UNKNOWN.search(text))


def contenders(data: QuestionSet, threads: int) -> Mapping[str, tuple[str, Callable[[], Answerer]]]:
    """Name → how it is shown, and what loads it; langbert's modes share one store and one :class:`Rag`."""
    chunks = corpus_chunks(squad_as_retrieval(data))
    shared: list[Rag] = []

    def langbert(mode: str) -> Callable[[], Answerer]:
        def load() -> Answerer:
            if not shared:
                from langbert import Embedder, Generator

                store = Store.open(embedder=Embedder(EMBEDDER, threads=threads))
                store.add(chunks)
                generator = Generator(DECODER, threads=threads)
                shared.append(Rag(store, generator=generator, max_tokens=MAX_TOKENS))
            return Langbert(shared[0], mode)

        return load

    return {
        "langbert": ("langbert, auto", langbert("auto")),
        "langbert-extract": ("langbert, extract", langbert("extract")),
        "langbert-generate": ("langbert, generate", langbert("generate")),
        BASE: ("HuggingFaceEmbeddings + FAISS + llama.cpp", lambda: LangChain(chunks, threads)),
    }
