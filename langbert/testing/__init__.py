"""For whoever tests a store, or what stands over one: the suite that every store passes, and small parts to test with.

Needs pytest and hypothesis, which langbert itself does not::

    from langbert.testing import StoreSuite


    class TestMyStore(StoreSuite):
        @pytest.fixture
        def place(self, tmp_path):
            return f"my-engine://{tmp_path}"
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(f"{__name__}.store_suite")

from .small import HashEmbedder, LineChunker  # noqa: E402
from .store_suite import StoreSuite  # noqa: E402

__all__ = ["HashEmbedder", "LineChunker", "StoreSuite"]
