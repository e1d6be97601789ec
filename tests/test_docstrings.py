"""The examples in docstrings are run: they are what a reader of the code believes first."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [
    ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
    for base, package in ((ROOT, "langbert"), (ROOT / "integrations", ""))
    for path in sorted((base / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0
