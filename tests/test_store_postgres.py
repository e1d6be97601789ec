"""The store in PostgreSQL with pgvector, on a real server."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from langbert.testing import StoreSuite

pytest.importorskip("psycopg")


class TestPostgres(StoreSuite):
    cannot: ClassVar[dict[Any, str]] = {"nul": "PostgreSQL's text holds no NUL character; what has one is refused"}
    indexed: ClassVar[dict[str, Any]] = {"index_from": 500}

    @pytest.fixture
    def place(self, postgres_place: str) -> str:
        return postgres_place

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_ten_thousand_filters(self, place: str) -> None:
        self.check_filters(place, 700)
