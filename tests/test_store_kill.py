"""A writer is killed at random moments; what it was told was done is there, whole, and the doctor finds nothing.

Twenty kills at random and at some thirty failpoints in the usual run; ``pytest -m slow tests/test_store_kill.py`` does
600 and at every failpoint, and ``LANGBERT_KILLS=5000`` more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kill_tools import SNAPSHOT, Model, held, replay
from store_tools import DIMENSION, HashEmbedder, LineChunker

from langbert.errors import StoreError
from langbert.store import Store
from langbert.store.maintenance.doctor import examine

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start a writer in a millisecond")

LONGEST = 0.12  # seconds a writer lives


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_tools.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def kill_and_compare(nursery: subprocess.Popen[str], folder: Path, kills: int, seed: int) -> Counter[str]:
    """How often each kind of step was cut short."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    rng, model, copied = random.Random(seed), Model(), None
    cut: Counter[str] = Counter()
    store_folder = folder / "störe 库"
    for kill in range(kills):
        log = folder / f"{kill}.log"
        start = {"documents": model.documents, "chunks": model.chunks}
        nursery.stdin.write(json.dumps([str(store_folder), seed + kill, str(log), start]) + "\n")
        nursery.stdin.flush()
        pid = int(nursery.stdout.readline())
        time.sleep(rng.random() ** 2 * LONGEST)
        os.kill(pid, signal.SIGKILL)
        assert int(nursery.stdout.readline()) == -signal.SIGKILL  # it did not end by itself, with an error
        said = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        cut[json.loads(said[-1].partition(" ")[2])["do"] if said and said[-1].startswith("doing") else "between"] += 1
        models, copies = replay(log, model, copied)
        model = compare(store_folder, models, f"kill {kill}")
        copied = compare_snapshot(store_folder.with_name(SNAPSHOT), copies, f"kill {kill}")
    return cut


def compare(folder: Path, models: list[Model], when: str) -> Model:
    """The one of ``models`` that the store holds, in its truth and in both indexes."""
    if (folder / "store.sqlite").exists():
        checkup = examine(folder)  # an index may have been left half made; the truth may not
        assert checkup.state in ("sound", "derived"), (when, checkup.findings)
    else:  # killed before there was a store, so before anything was acknowledged
        assert models[0] == Model(), when
        with pytest.raises(StoreError, match="no store"):
            examine(folder)
    with Store.open(folder, embedder=HashEmbedder(), chunker=LineChunker()) as store:
        found = held(store, models)
        assert found in models, when
        count = len(store)
        if count:
            assert len(store.search("common", count, mode="lexical", repeats=True)) == count, when
            assert len(store.search_vector(np.ones(DIMENSION), count)) == count, when
            id, text = next(iter(found.texts().items()))
            assert any(hit.chunk.id == id for hit in store.search(text, count, mode="dense")), when
    checkup = examine(folder)
    assert checkup.state == "sound", (when, checkup.findings)
    return found


def compare_snapshot(folder: Path, copies: list[Model | None], when: str) -> Model | None:
    if not folder.exists():
        assert copies[0] is None, when
        return None
    with Store.open(folder) as store:
        known = [model for model in copies if model is not None] or [Model()]
        found = held(store, known)
    if found == Model() and copies[0] is None:  # cut short before anything was copied: there, and empty
        return None
    assert found in copies, when
    return found


def test_nothing_acknowledged_is_lost(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    kill_and_compare(nursery, tmp_path, kills=20, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost_in_hundreds_of_kills(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    kills = int(os.environ.get("LANGBERT_KILLS", "600"))
    cut = kill_and_compare(nursery, tmp_path, kills, seed=1_000_000)
    assert cut.total() == kills
    assert {"chunks", "documents", "delete", "copy"} <= set(cut)


def killed_at(nursery: subprocess.Popen[str], folder: Path, at: int) -> tuple[int, Path, Path]:
    """How the writer ended, its store and its log."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    store, log = folder / f"{at}" / "störe 库", folder / f"{at}.log"
    store.parent.mkdir()
    nursery.stdin.write(json.dumps([str(store), 0, str(log), {}, at]) + "\n")
    nursery.stdin.flush()
    nursery.stdout.readline()
    return int(nursery.stdout.readline()), store, log


def kill_at_failpoints(nursery: subprocess.Popen[str], folder: Path, most: int | None) -> list[str]:
    """Which failpoints there are; the writer was killed at ``most`` of them, spread evenly, or at all."""
    ended, _, log = killed_at(nursery, folder, -1)
    assert ended == 0
    points: list[str] = json.loads(log.with_suffix(".points").read_text(encoding="utf-8"))
    step = 1 if most is None else -(-len(points) // most)
    for at in range(0, len(points), step):
        ended, store, log = killed_at(nursery, folder, at)
        when = f"killed at failpoint {at}, {points[at]}"
        assert ended == -signal.SIGKILL, when
        models, copies = replay(log, Model(), None)
        compare(store, models, when)
        compare_snapshot(store.with_name(SNAPSHOT), copies, when)
        shutil.rmtree(store.parent)
    return points


def test_killed_at_some_failpoints(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    points = kill_at_failpoints(nursery, tmp_path, most=30)
    expected = {"link", "fsync", "replace", "COMMIT", "VACUUM", "backup", "tantivy commit", "INSERT INTO vectors"}
    assert {f"{when} {name}" for name in expected for when in ("before", "after")} <= set(points)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_every_failpoint(nursery: subprocess.Popen[str], tmp_path: Path) -> None:
    kill_at_failpoints(nursery, tmp_path, most=None)
