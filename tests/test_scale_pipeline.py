"""Indexing on a Ray cluster: the same store as without one, and nothing lost or twice where a host is killed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langbert import Embedder, Store, StoreLike, sync
from langbert.documents import Limits
from langbert.errors import StoreError
from langbert.indexing import Changes
from langbert_scale import pipeline

DOCUMENTS = Path(__file__).parent.parent / "examples" / "documents"
CHINESE = "诺曼人定居在法国北部，那里因此得名诺曼底。"


def made_of(store: StoreLike) -> dict[str, tuple[Any, bytes]]:
    """Every chunk with its vector: what two stores of the same files must agree on."""
    with store.snapshot() as snapshot:  # type: ignore[attr-defined]
        chunks = [chunk for row in store.documents() for chunk in snapshot.states_of_document(row.id)]
        found = snapshot.chunks_by_id(chunks)
    vectors = np.round(store.vectors(list(found)), 3)
    return {id: (chunk, vector.tobytes()) for (id, chunk), vector in zip(found.items(), vectors, strict=True)}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("pep-0020.rst", "pep-0257.rst"):
        (folder / name).write_bytes((DOCUMENTS / name).read_bytes())
    (folder / "诺曼人.txt").write_text(CHINESE, encoding="utf-8")
    (folder / "empty.md").write_text("", encoding="utf-8")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    return folder


class Here:
    """The actors of a cluster in this process: the same work, one after the other, the last file first."""

    def __init__(self, embedder: Embedder) -> None:
        self.made = pipeline.Made(embedder)

    def read(self, tasks: list[Any]) -> Iterator[tuple[int, Any]]:
        space = self.made.space
        reader = pipeline._Reader(space, Limits())
        encoder = pipeline._Encoder(space.model, "texts", "vectors", "document", {**space.options, "space": space})
        for i in reversed(range(len(tasks))):
            batch = {"i": [i], "task": [json.dumps(tasks[i].to_json())]}
            for rows in reader(batch):
                row = {name: column[0] for name, column in encoder(rows).items()}
                yield self.made.taken(row)
        reader.close()


@pytest.mark.models
def test_what_workers_made_is_stored_as_if_it_were_made_here(files: Path, tmp_path: Path, minilm: Embedder) -> None:
    with Store.open(tmp_path / "plain", embedder=minilm) as plain:
        report = sync([files], plain)
        expected = made_of(plain)
    here = Here(minilm)
    with Store.open(tmp_path / "store", embedder=here.made, chunker=here.made) as store:
        with Changes([files], store) as changes:
            changes.elsewhere = here.read
            for batch in changes.batches():
                changes.add(batch, store)
                here.made.forget(batch)
        assert made_of(store) == expected
        assert changes.report.added == report.added == 3
        assert sorted(changes.report.skipped) == sorted(report.skipped)
        assert not here.made.waiting
    with Store.open(tmp_path / "store", embedder=minilm) as store:  # as it would be cut here: nothing is done again
        assert sync([files], store).unchanged == 3


@pytest.mark.models
def test_late_chunking_is_refused_in_words(tmp_path: Path, minilm: Embedder) -> None:
    from langbert.cli.stores import WatchedEmbedder

    with pytest.raises(StoreError, match="index it without Ray"):
        Store.open(tmp_path / "store", embedder=WatchedEmbedder(pipeline.Made(minilm)), late_chunking=True)


def test_an_address_may_be_left_out() -> None:
    from langbert.cli.app import _with_address

    assert _with_address(["index", "a", "--ray"]) == ["index", "a", "--ray", "local"]
    assert _with_address(["index", "--ray", "--store", "s"]) == ["index", "--ray", "local", "--store", "s"]
    assert _with_address(["index", "--ray", "h:1", "a"]) == ["index", "--ray", "h:1", "a"]


def test_a_path_is_not_taken_for_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from langbert.cli import run

    assert run(["index", str(tmp_path), "--ray", "docs", "--store", str(tmp_path / "store")]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


# --- on Ray itself, in processes of its own ---------------------------------------------------------------------------

SETTINGS = {  # the token is a cluster's that lives as long as the test: hosts that do not know it cannot join
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


def environment() -> dict[str, str]:
    return {**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "langbert", "index", *map(str, arguments), "--embedder", "minilm", "--json"]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(job: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = job.communicate()
    assert job.returncode == 0, out + err
    return json.loads(out)


def indexed(*arguments: object) -> dict[str, Any]:
    return report_of(started(*arguments))


def many_files(place: Path, n: int) -> Path:
    folder = place / "files"
    folder.mkdir()
    for path in sorted(DOCUMENTS.glob("*.rst"), key=lambda path: path.stat().st_size)[:n]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(900)
def test_the_command_indexes_on_ray(files: Path, tmp_path: Path, minilm: Embedder) -> None:
    pytest.importorskip("ray")
    with Store.open(tmp_path / "plain", embedder=minilm) as plain:
        sync([files], plain)
        expected = made_of(plain)
    report = indexed(files, "--store", tmp_path / "store", "--ray")
    assert report["added"] == 3
    assert {each["file"] for each in report["skipped"]} == {"broken.pdf", "empty.md"}
    with Store.open(tmp_path / "store", embedder=minilm) as store:
        assert made_of(store) == expected
    assert indexed(files, "--store", tmp_path / "store", "--ray")["unchanged"] == 3


ONE_CORE = """
import sys
import ray
from langbert import Embedder
from langbert_scale import embed, index

ray.init("local", num_cpus=1, include_dashboard=False)
rows = ray.data.from_items([{"text": "a"}, {"text": "b"}]).map(lambda row: {"text": row["text"] + "!"})
print(sorted(row["text"] for row in embed(rows, model="minilm").iter_rows()))
index(sys.argv[1], sys.argv[2], embedder=Embedder("minilm", precision="float32"), precision="int8")
"""


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(900)
def test_one_core_is_enough_and_computes_in_the_precision_asked_for(tmp_path: Path, minilm: Embedder) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-c", ONE_CORE, many_files(tmp_path, 2), tmp_path / "store"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "['a!', 'b!']" in done.stdout
    with Store.open(tmp_path / "store", embedder=minilm) as store, store.snapshot() as snapshot:
        chunks = snapshot.chunks_by_id(row.id for row, _ in snapshot.stored_chunks())
        vectors = store.vectors(list(chunks))
    texts = [chunk.contextual_text for chunk in chunks.values()]
    off = {p: np.abs(Embedder("minilm", precision=p).embed(texts) - vectors).max() for p in ("int8", "float32")}
    assert off["int8"] < 0.001 < off["float32"]


class Hosts:
    """A Ray cluster whose hosts are processes of this machine, a core each."""

    def __init__(self, n: int) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self.raylets: list[int] = []
        try:
            self.raylets.append(self._start("--head", "--include-dashboard=false", f"--port={port}"))
            for _ in range(n - 1):
                self.raylets.append(self._start(f"--address={self.address}"))
        except BaseException:
            self.stop()
            raise

    def _start(self, *arguments: str) -> int:
        """The process id of the host's own daemon."""
        before = raylets()
        ports = [f"--{name}-port={free_port()}" for name in ("node-manager", "object-manager", "runtime-env-agent")]
        ports += [f"--dashboard-agent-{name}-port={free_port()}" for name in ("listen", "grpc")]
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        done = subprocess.run(
            [*ray, "start", *arguments, "--node-ip-address=127.0.0.1", "--num-cpus=1", *ports],
            env=environment(),
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        (started,) = raylets() - before
        return started

    def stop(self) -> None:
        for pid in self.raylets:
            for each in descendants(pid):
                kill(each)
        kill(*(pid for pid in servers() if self.address.rpartition(":")[2] in command_of(pid)))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def raylets() -> set[int]:
    return {pid for pid in processes() if "/raylet/raylet " in command_of(pid)}


def servers() -> set[int]:
    return {pid for pid in processes() if "gcs_server" in command_of(pid)}


def descendants(pid: int) -> list[int]:
    parents = {}
    for each in processes():
        with suppress(OSError):
            parents[each] = int(Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def to_be_indexed(place: Path, n: int, embedder: Embedder) -> tuple[Path, dict[str, tuple[Any, bytes]]]:
    """A folder of ``n`` files for hosts that are going to be killed, and what is to be made of it."""
    pytest.importorskip("ray")
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("finds the hosts' processes in /proc")
    folder = many_files(place, n)
    with Store.open(place / "plain", embedder=embedder) as plain:
        sync([folder], plain)
        return folder, made_of(plain)


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(1800)
def test_a_host_is_killed_in_the_middle(tmp_path: Path, minilm: Embedder) -> None:
    folder, expected = to_be_indexed(tmp_path, 24, minilm)
    hosts = Hosts(3)
    try:
        job = started(folder, "--store", tmp_path / "store", "--ray", hosts.address)
        wait_for_documents(tmp_path / "store", job)
        kill(*descendants(hosts.raylets[-1]))
        report = report_of(job)
    finally:
        hosts.stop()
    assert report["added"] == report["documents"] == len(list(folder.iterdir()))
    with Store.open(tmp_path / "store", embedder=minilm) as store:
        assert made_of(store) == expected


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(900)
def test_a_killed_driver_is_started_again_and_does_what_is_missing(tmp_path: Path, minilm: Embedder) -> None:
    folder, expected = to_be_indexed(tmp_path, 20, minilm)
    hosts = Hosts(1)  # one core, wherever it runs: the last files come seconds after the first are stored
    try:
        job = started(folder, "--store", tmp_path / "store", "--ray", hosts.address)
        wait_for_documents(tmp_path / "store", job)
        kill(job.pid)
        job.communicate()
        with Store.open(tmp_path / "store", create=False, read_only=True) as store:
            stored = store.n_documents
        assert 0 < stored < 20
        again = indexed(folder, "--store", tmp_path / "store", "--ray", hosts.address)
    finally:
        hosts.stop()
    assert (again["unchanged"], again["added"]) == (stored, 20 - stored)
    with Store.open(tmp_path / "store", embedder=minilm) as store:
        assert made_of(store) == expected


def wait_for_documents(store: Path, job: subprocess.Popen[str]) -> None:
    """Until the first are stored: the cluster is in the middle of the rest."""
    while job.poll() is None:
        with suppress(StoreError), Store.open(store, create=False, read_only=True) as opened:
            if opened.n_documents:
                return
        time.sleep(0.2)
