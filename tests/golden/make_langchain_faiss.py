"""Writes ``langchain_faiss/``, a folder as LangChain's FAISS store saves it.

Needs what langbert does not: ``pip install langchain-community faiss-cpu``, then
``python tests/golden/make_langchain_faiss.py``. Last made with langchain-community 0.4.2, langchain-core 1.7.2 and
faiss 1.15.1.
"""

from pathlib import Path

from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

DOCUMENTS = [
    Document(id="pep8", page_content="Limit all lines to 79 characters.", metadata={"source": "pep8.pdf", "page": 0}),
    Document(
        id="bees", page_content="Bees make honey from nectar.", metadata={"source": "bees.md", "tags": ["a", "b"]}
    ),
    Document(
        id="zh", page_content="变压器是一种神经网络。", metadata={"source": "网络.txt", "lang": "zh", "year": 2017}
    ),
    Document(id="empty", page_content="", metadata={}),
    Document(id="gone", page_content="This one is deleted again.", metadata={"n": 1.5}),
    Document(page_content="An id was made for this one.", metadata={"ok": True, "none": None, "deep": {"x": [1, 2]}}),
]

store = FAISS.from_documents(DOCUMENTS, DeterministicFakeEmbedding(size=16))
store.delete(["gone"])
store.save_local(str(Path(__file__).parent / "langchain_faiss"))
