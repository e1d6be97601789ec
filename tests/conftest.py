"""What many tests share: the real default models (fetched once, then from the cache) and a quiet environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("LANGSMITH_TRACING", "false")

DOCUMENTS = Path(__file__).parent.parent / "examples" / "documents"


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command run in this process takes the package's log for its console: the next test has it back."""
    log = logging.getLogger("langbert")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture(scope="session")
def documents_folder() -> Path:
    """46 real documents: PEPs as rst, one as HTML, one as PDF."""
    return DOCUMENTS


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    from langbert.models import resolve

    return resolve("minilm")


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    from langbert.models import resolve

    return resolve("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def minilm():
    from langbert import Embedder

    return Embedder("minilm")


@pytest.fixture(scope="session")
def smollm2():
    from langbert import Generator

    return Generator("smollm2-135m-instruct")
