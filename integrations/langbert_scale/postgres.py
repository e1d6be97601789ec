"""Stores in PostgreSQL with pgvector: one schema a store, one transaction a commit.

Written with PostgreSQL ≥ 15 and pgvector ≥ 0.8 in mind, which scans an HNSW index on until enough rows pass a filter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from langbert.errors import LangbertError, StoreError, StoreLocked
from langbert.store.outside import FIRST_META, OutsideDatabase

from ._postgres_state import PostgresReading, PostgresWriting
from ._sql import TABLES

_SCHEMA = "langbert"
_OLDEST_SERVER, _OLDEST_PGVECTOR = 15, (0, 8)


class PostgresDatabase(OutsideDatabase):
    """A pool of connections to one store.

    Args:
        url: as libpq takes it, and ``schema=NAME`` among its parameters; by default ``langbert``.
        lock_timeout: seconds to wait for another client that is writing.
        index_from: how many chunks the store has when it gets its HNSW index; fewer are all compared, exactly.
        connections: the most that are open at a time.

    Raises:
        StoreError: the server cannot be reached, is too old or has no pgvector, or there is no store.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool,
        read_only: bool,
        lock_timeout: float = 30.0,
        index_from: int = 10_000,
        connections: int = 8,
    ) -> None:
        conninfo, self._schema = _split(url)
        self.read_only = read_only
        self._timeout = lock_timeout
        self._index_from = index_from
        shown = psycopg.conninfo.conninfo_to_dict(conninfo)
        self.name = f"postgresql://{shown.get('host', '')}/{shown.get('dbname', '')} (schema {self._schema})"
        with self._errors(), psycopg.connect(conninfo, autocommit=True) as connection:
            self._prepare(connection, create=create)
        self._pool = ConnectionPool(
            conninfo,
            min_size=0,
            max_size=connections,
            kwargs={"autocommit": True},
            configure=self._configure,
            check=ConnectionPool.check_connection,
            open=True,
        )

    def close(self) -> None:
        self._pool.close()

    def _prepare(self, connection: psycopg.Connection[Any], *, create: bool) -> None:
        if connection.info.server_version < _OLDEST_SERVER * 10_000:
            raise StoreError(f"{self.name} is PostgreSQL {connection.info.server_version // 10_000}; 15 is needed")
        if not self._is_there(connection):
            if not create:
                raise StoreError(f"there is no store in {self.name}: make one with `langbert index`")
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('langbert', 0))")
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                if not self._is_there(connection):
                    self._lay_out(connection)
        row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        version = row[0] if row else "none"
        if row is None or tuple(map(int, version.split(".")[:2])) < _OLDEST_PGVECTOR:
            raise StoreError(f"{self.name} has pgvector {version}; 0.8 is needed: ALTER EXTENSION vector UPDATE")

    def _is_there(self, connection: psycopg.Connection[Any]) -> bool:
        found = connection.execute(
            "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'chunks'", [self._schema]
        )
        return found.fetchone() is not None

    def _lay_out(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self._schema)))
        self._search_path(connection)
        connection.execute(TABLES)
        for key, value in FIRST_META.items():
            connection.execute("INSERT INTO meta VALUES (%s, %s)", [key, value])

    def _search_path(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute(
            "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
        ).fetchone()
        path = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys([self._schema, row[0] if row else "public"])))
        connection.execute(sql.SQL("SET search_path TO {}").format(path))

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        self._search_path(connection)
        register_vector(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[PostgresReading]:
        """One snapshot of all tables (REPEATABLE READ)."""
        with self._errors(), self._pool.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield PostgresReading(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[PostgresWriting]:
        """One transaction; one client writes at a time, whose lock the server lets go when the client dies."""
        if self.read_only:
            raise StoreError(f"{self.name} was opened with read_only=True: open it without to change it")
        with self._errors(), self._pool.connection() as connection, connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, TRUE)", [f"{int(1000 * self._timeout)}ms"])
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"langbert {self._schema}"])
            transaction = PostgresWriting(connection)
            yield transaction
            transaction.finish(self._index_from)

    def describe(self) -> dict[str, Any]:
        with self._errors(), self._pool.connection() as connection:
            found = connection.execute(
                "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n "
                "ON n.oid = relnamespace WHERE nspname = %s AND relkind = 'r'",
                [self._schema],
            ).fetchone()
            has_index = PostgresReading(connection).has_index()
        return {
            "dense_index": {"kind": "hnsw" if has_index else "exact"},
            "bytes": int(found[0] or 0) if found else 0,
        }

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever psycopg raises, in our words."""
        try:
            yield
        except LangbertError:
            raise
        except psycopg.errors.LockNotAvailable as error:
            raise StoreLocked(
                f"another client has been writing to {self.name} for more than {self._timeout:g} s: try again"
            ) from error
        except psycopg.DataError as error:
            raise StoreError(f"PostgreSQL cannot hold this: {_first_line(error)}; nothing of it was stored") from error
        except (psycopg.Error, PoolTimeout) as error:
            raise StoreError(f"{self.name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _split(url: str) -> tuple[str, str]:
    """The URL without ``schema``, and the schema."""
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    schema = next((value for key, value in given if key == "schema"), _SCHEMA)
    query = urlencode([pair for pair in given if pair[0] != "schema"], safe="/")
    return urlunsplit(parts._replace(query=query.replace("+", "%20"))), schema
