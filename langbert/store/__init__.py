"""The store: SQLite holds everything; FAISS and Tantivy are derived from it.

One direction: ``filters``, ``postings`` (the index of the metadata), ``schema``, ``encoding`` → ``snapshot`` (the
queries), ``transaction`` (the changes) → ``database`` (connections, locks) → what is derived: ``dense``, ``lexical``,
``ranking`` of both, ``indexes`` (kept up and searched together) → ``ingest`` (what adding means), ``space`` (what may
be compared), ``base`` (looking up, adding, deleting, searching) → ``pictures`` (a second space), ``store`` (what users
call). ``base`` and what is under it ask no more than ``engine`` says, so ``outside`` keeps the same promises over other
engines, and ``sharded`` over several stores (``shards``); ``opening`` takes a folder or a URL.
"""

from __future__ import annotations

from .database import Durability
from .filters import matches
from .fusion import Fusion
from .opening import is_url, open_store
from .protocol import StoreLike
from .snapshot import StoredDocument
from .store import Store

__all__ = ["Durability", "Fusion", "Store", "StoreLike", "StoredDocument", "is_url", "matches", "open_store"]
