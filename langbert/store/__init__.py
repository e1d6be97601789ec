"""The store: SQLite is the truth, FAISS and Tantivy are derived from it.

One direction: ``schema``, ``encoding``, ``filters`` → ``snapshot`` (the queries) → ``truth`` (connections, locks) and
the derived ``dense`` and ``lexical`` → ``ingest``, ``ranking`` → ``store`` (what users call).
"""

from __future__ import annotations

from .filters import matches
from .fusion import Fusion
from .snapshot import StoredDocument
from .store import Store
from .truth import Durability

__all__ = ["Durability", "Fusion", "Store", "StoredDocument", "matches"]
