"""Files read by other processes: the same documents in the same order, and a file that does harm costs itself only."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from langbert.documents.pdf_page import CHANGED, Look, Seen, draw_page, quote_boxes
from langbert.documents.reading import Reading, Task, read_one
from langbert.documents.workers import Limits, Workers, read_in_order, workers_for
from langbert.errors import DocumentError
from langbert.models.cores import _cgroup_quota

needs_signals = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


def tasks_of(files: list[Path]) -> list[tuple[Task, int]]:
    return [(Task(str(file), file.name), file.stat().st_size) for file in files]


def written(folder: Path, texts: dict[str, str]) -> list[Path]:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def read_all(files: list[Path], n: int, limits: Limits | None = None) -> list[Reading]:
    workers = Workers(n, limits)
    try:
        return list(read_in_order(tasks_of(files), workers))
    finally:
        workers.close()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langbert.documents.workers._READER", "hostile_reader")


def test_workers_read_what_is_read_here_in_the_same_order(documents_folder: Path, tmp_path: Path) -> None:
    files = [*sorted(documents_folder.glob("pep-05*")), documents_folder / "missing.txt"]
    files += written(tmp_path, {"河流.md": "# 河流\n\n长江是亚洲最长的河流。\n", "empty.txt": "", "a.png": "picture"})
    tasks = [(Task(str(file), file.name), 1) for file in files]
    here = list(read_in_order(tasks, None))
    workers = Workers(2)
    try:
        assert list(read_in_order(tasks, workers)) == here
    finally:
        workers.close()
    assert sum(reading.document is not None for reading in here) == len(files) - 3
    assert here[-3].document is not None
    assert here[-3].document.headings[0].text == "河流"


def test_bytes_that_are_known_are_not_parsed_again(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"fox.txt": "The fox sleeps."})
    first = read_one(Task(str(file), "fox.txt"))
    again = read_one(Task(str(file), "fox.txt", known=first.digest))
    assert first.document is not None
    assert again == Reading(None, "", first.digest, first.stamp)


@needs_signals
@pytest.mark.usefixtures("hostile")
def test_a_file_that_crashes_or_hangs_costs_itself_only(tmp_path: Path) -> None:
    texts = {f"{i}.txt": f"Sentence {i} is fine. 第{i}句。" for i in range(12)}
    texts |= {"2.txt": "CRASH", "5.txt": "HANG", "8.txt": "EXIT"}
    readings = read_all(written(tmp_path, texts), 2, Limits(seconds=3))
    reasons = {i: reading.reason for i, reading in enumerate(readings) if reading.document is None}
    assert reasons == {
        2: "its reader crashed (SIGSEGV); is it damaged?",
        5: "reading it took longer than 3 s",
        8: "its reader crashed (exit code 3); is it damaged?",
    }
    assert [reading.document.text for i, reading in enumerate(readings) if reading.document] == [
        text for i, text in enumerate(texts.values()) if i not in reasons
    ]
    assert all(reading.stamp is not None for reading in readings)


@needs_signals
@pytest.mark.usefixtures("hostile")
def test_a_killed_reader_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    read_all(written(tmp_path, {"a.txt": "LITTER", "b.txt": "LITTER"}), 1)
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("hostile")
def test_long_work_that_says_it_goes_on_is_not_ended(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"scan.txt": "STEPS of work that take longer together than any may."})
    (reading,) = read_all([file], 1, Limits(seconds=2.5))
    assert reading.document is not None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps the limit")
def test_a_file_that_swells_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    large, small = written(tmp_path, {"large.txt": "words and words\n" * 4_000_000, "small.txt": "词语。"})
    swollen, fine = read_all([large, small], 1, Limits(memory=100 << 20))
    assert "more memory" in swollen.reason
    assert swollen.digest
    assert fine.document is not None


@pytest.mark.usefixtures("hostile")
def test_what_a_parser_prints_is_no_reply(tmp_path: Path) -> None:
    (file,) = written(tmp_path, {"a.txt": "PRINT and read"})
    (reading,) = read_all([file], 1)
    assert reading.document is not None
    assert reading.document.text == "PRINT and read"


@needs_signals
@pytest.mark.usefixtures("hostile")
def test_a_file_is_not_blamed_for_what_was_read_before_it(tmp_path: Path) -> None:
    files = written(
        tmp_path, {"1.txt": "One.", "2.txt": "FRAGILE in a process that has read others", "3.txt": "Three."}
    )
    assert [reading.reason for reading in read_all(files, 1)] == ["", "", ""]


@needs_signals
@pytest.mark.usefixtures("hostile")
def test_closing_ends_the_processes_whatever_they_are_at(tmp_path: Path) -> None:
    files = written(tmp_path, {f"{i}.txt": "HANG" for i in range(4)})
    before = set(psutil.Process().children())
    workers = Workers(2)
    futures = [workers.submit(task) for task, _ in tasks_of(files)]
    while not any(future.running() for future in futures):
        time.sleep(0.01)
    workers.close()
    assert set(psutil.Process().children()) == before
    assert all(future.done() for future in futures)


@needs_signals
def test_workers_end_with_the_process_that_started_them() -> None:
    code = "import sys; from langbert.documents.workers import Workers; w = Workers(1); w.start(); print(1, flush=True)"
    parent = subprocess.Popen(
        [sys.executable, "-c", code + "; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"1\n"
    children = psutil.Process(parent.pid).children()
    assert len(children) == 1
    parent.kill()
    parent.communicate()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (1, [])


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "docs").mkdir()
    written(tmp_path / "docs", {f"{i}.md": f"# 第{i}章\n\nChapter {i}." for i in range(3)})
    script.write_text(
        textwrap.dedent(
            """
            from langbert import Store, sync
            from store_tools import HashEmbedder
            print("once")
            with Store.open(None, embedder=HashEmbedder()) as store:
                print(sync("docs", store, workers=1).added)
            """
        )
    )
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["once", "3"]


def test_a_worker_that_does_not_come_up_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langbert.documents.workers._READER", "no_such_module")
    workers = Workers(1)
    try:
        with pytest.raises(DocumentError, match=r"No module named 'no_such_module'[\s\S]*workers=0"):
            workers.start()
    finally:
        workers.close()


def test_limits_and_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        Limits(seconds=0)
    with pytest.raises(ValueError, match="64 MiB"):
        Limits(memory=1000)
    with pytest.raises(ValueError, match="at least 1"):
        Workers(0)
    assert workers_for(2) == 0
    assert workers_for(1000) >= 1


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "250000 100000"}, 2.5),
        ({"cpu.max": "max 100000"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_a_container_may_grant_fewer_processors_than_there_are(
    tmp_path: Path, files: dict[str, str], cpus: float
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _cgroup_quota(tmp_path) == cpus


def look_at(file: Path, workers: Workers, page: int = 1, **asked: object) -> Seen:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return workers.submit(Look(str(file), digest, page, **asked)).result()  # type: ignore[arg-type]


def test_a_page_is_looked_at_by_a_worker_as_it_would_be_here(documents_folder: Path) -> None:
    file = documents_folder / "pep-0572.pdf"
    data, quote = file.read_bytes(), {"text": "PEP 572 – Assignment Expressions", "start": 0, "end": 7}
    workers = Workers(1)
    try:
        assert look_at(file, workers, width=200) == Seen(draw_page(data, 1, width=200))
        boxes = look_at(file, workers, **quote).boxes
        assert boxes == tuple(quote_boxes(data, 1, **quote))  # type: ignore[arg-type]
        assert boxes
        assert look_at(file, workers, page=99, width=200).reason == "there is no page 99; it has 25"
        assert workers.submit(Look(str(file), "0" * 64, 1, 200)).result().reason == CHANGED
        assert (
            workers.submit(Look(str(file) + "x", "0" * 64, 1, 200)).result().reason.startswith("there is no such file")
        )
    finally:
        workers.close()


@needs_signals
@pytest.mark.usefixtures("hostile")
def test_a_page_that_crashes_or_hangs_costs_itself_only(tmp_path: Path, documents_folder: Path) -> None:
    crash, hang = written(tmp_path, {"crash.pdf": "CRASH", "hang.pdf": "HANG"})
    workers = Workers(1, Limits(seconds=3))
    try:
        assert look_at(crash, workers, width=200).reason == "its reader crashed (SIGSEGV); is it damaged?"
        assert look_at(hang, workers, width=200).reason == "reading it took longer than 3 s"
        assert look_at(documents_folder / "pep-0572.pdf", workers, width=200).picture
    finally:
        workers.close()
