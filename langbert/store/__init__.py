"""The store: SQLite is the truth, FAISS and Tantivy are derived from it.

One direction: ``schema``, ``encoding``, ``filters`` → ``snapshot`` (the queries) → ``truth`` (connections, locks) and
what is derived: ``dense`` (made of ``codec``, ``partition``, ``segment``, ``view``), ``lexical``, ``columns`` →
``ingest``, ``ranking``, ``selection`` → ``store`` (what users call).
"""

from __future__ import annotations

from .database import Durability
from .filters import matches
from .fusion import Fusion
from .snapshot import StoredDocument
from .store import Store

__all__ = ["Durability", "Fusion", "Store", "StoredDocument", "matches"]
