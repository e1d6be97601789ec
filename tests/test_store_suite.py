"""The embedded store keeps what every store keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from langbert.testing import StoreSuite


class TestEmbedded(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "store")
