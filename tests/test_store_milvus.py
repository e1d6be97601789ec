"""The store in Milvus, by Milvus Lite."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from langbert.testing import StoreSuite

pytest.importorskip("milvus_lite")


class TestMilvus(StoreSuite):
    cannot: ClassVar[dict[Any, str]] = {
        "commits": "Milvus has no transactions",
        "other_processes": "a folder of Milvus Lite is one process's; a server is not",
    }
    filter_examples = 10

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return f"milvus://{tmp_path}/milvus.db"
