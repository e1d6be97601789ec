"""The store in Qdrant, by the client's local mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from langbert.testing import StoreSuite

pytest.importorskip("qdrant_client")


class TestQdrant(StoreSuite):
    cannot: ClassVar[dict[Any, str]] = {
        "commits": "Qdrant has no transactions",
        "other_processes": "a folder of the client's local mode is one process's; a server is not",
    }
    filter_examples = 20

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return f"qdrant://{tmp_path}/qdrant"
