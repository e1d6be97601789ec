"""Stores in engines outside: PostgreSQL with pgvector, Qdrant, Milvus. :func:`langbert.open_store` opens them by URL.

Each is a :class:`langbert.store.outside.OutsideStore` over an engine, and keeps what
:class:`langbert.testing.StoreSuite` asks of a store, but for what its suite declares.
"""
