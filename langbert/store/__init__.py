"""The store: SQLite holds everything; FAISS and Tantivy are derived from it.

One direction: ``filters``, ``postings`` (the index of the metadata), ``schema``, ``encoding`` → ``snapshot`` (the
queries), ``transaction`` (the changes) → ``database`` (connections, locks) → what is derived: ``dense``, ``lexical``,
``ranking`` of both, ``indexes`` (kept up and searched together) → ``ingest`` (what adding means), ``space`` (what may
be compared), ``contents`` (looking up) → ``store`` (what users call).
"""

from __future__ import annotations

from .database import Durability
from .filters import matches
from .fusion import Fusion
from .snapshot import StoredDocument
from .store import Store

__all__ = ["Durability", "Fusion", "Store", "StoredDocument", "matches"]
