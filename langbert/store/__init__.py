"""The store: SQLite holds everything, FAISS and Tantivy are derived from it.

One direction: ``filters``, ``postings`` (the index of the metadata), ``schema``, ``encoding`` → ``snapshot`` (the
queries), ``transaction`` (the changes) → ``database`` (connections, locks) and what is derived: ``dense`` (made of
``codec``, ``partition``, ``segment``, ``view``), ``lexical`` → ``ingest``, ``ranking`` → ``store`` (what users call).
"""

from __future__ import annotations

from .database import Durability
from .filters import matches
from .fusion import Fusion
from .snapshot import StoredDocument
from .store import Store

__all__ = ["Durability", "Fusion", "Store", "StoredDocument", "matches"]
