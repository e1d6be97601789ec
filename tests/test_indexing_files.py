"""What a store remembers of files: which are done, which could not be read and why, and when to look again."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ingest_killed
import pytest
from store_tools import HashEmbedder, LineChunker

from langbert import Store, open_store, read_documents, sync
from langbert.documents import formats
from langbert.indexing import Changes, Limits, SyncOptions, SyncReport
from langbert.store.maintenance.doctor import examine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files that can be read, one that is broken and one of a format that nobody reads; times are believed."""
    monkeypatch.setattr("langbert.indexing.sources._TICK", 0)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "fox.txt").write_text("The quick brown fox.\n")
    (folder / "河.md").write_text("# 河\n\n长江很长。\n", encoding="utf-8")
    (folder / "river.md").write_text("# River\n\nThe river is long.\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    (folder / "song.ogg").write_bytes(b"OggS")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", embedder=HashEmbedder(), chunker=LineChunker())


def counts(report: SyncReport) -> tuple[int, int, int, list[str]]:
    return report.added, report.updated, report.unchanged, [name for name, _ in report.skipped]


def states(store: Store) -> dict[str, str]:
    return {record.source: record.state for record in store.files}


def to_read(folder: Path, store: Store) -> set[str]:
    return {file.source for file in Changes(folder, store).changed}


def test_every_file_is_accounted_for(folder: Path, store: Store) -> None:
    report = sync(folder, store)
    assert states(store) == {
        "fox.txt": "done",
        "river.md": "done",
        "河.md": "done",
        "broken.pdf": "failed",
        "song.ogg": "skipped",
    }
    reasons = {record.source: record.reason for record in store.files}
    assert {name: reasons[name] for name, _ in report.skipped} == dict(report.skipped)
    fox = next(record for record in store.files if record.source == "fox.txt")
    assert (fox.path, fox.size, fox.modified) == (
        str(folder / "fox.txt"),
        21,
        (folder / "fox.txt").stat().st_mtime_ns,
    )
    document = store.document(fox.document_id)
    assert document is not None
    assert document.metadata["sha256"] == fox.digest


def test_what_has_not_changed_is_not_opened(folder: Path, store: Store) -> None:
    assert to_read(folder, store) == {"fox.txt", "river.md", "河.md", "broken.pdf"}
    sync(folder, store)
    assert to_read(folder, store) == set()
    assert counts(sync(folder, store)) == (0, 0, 3, ["broken.pdf", "song.ogg"])


def test_a_change_is_seen_though_size_and_time_are_as_before(folder: Path, store: Store) -> None:
    sync(folder, store)
    before = (folder / "fox.txt").stat()
    (folder / "fox.txt").write_text("The quick brown dog.\n")
    os.utime(folder / "fox.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(sync(folder, store))[:3] == (0, 1, 2)


def test_a_file_that_was_only_touched_is_read_and_found_the_same(folder: Path, store: Store) -> None:
    sync(folder, store)
    (folder / "fox.txt").touch()
    assert to_read(folder, store) == {"fox.txt"}
    assert counts(sync(folder, store))[:3] == (0, 0, 3)
    assert to_read(folder, store) == set()


def test_a_failed_file_is_tried_again_when_asked_or_changed_or_its_reader_was(
    folder: Path, store: Store, documents_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(folder, store)
    with Changes(folder, store, SyncOptions(retry_failed=True)) as again:
        assert [file.source for file in again.changed] == ["broken.pdf"]
    pdf = formats._BY_SUFFIX[".pdf"]
    with monkeypatch.context() as later:
        later.setitem(formats._BY_SUFFIX, ".pdf", replace(pdf, version=pdf.version + 1))
        assert to_read(folder, store) == {"broken.pdf"}
    (folder / "broken.pdf").write_bytes((documents_folder / "pep-0572.pdf").read_bytes())
    assert counts(sync(folder, store)) == (1, 0, 3, ["song.ogg"])
    assert states(store)["broken.pdf"] == "done"


def test_a_reader_that_reads_otherwise_reads_again_and_embeds_what_is_new(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(folder, store)
    assert isinstance(store.embedder, HashEmbedder)
    embedded = len(store.embedder.embedded)
    entry = formats._BY_SUFFIX[".md"]
    monkeypatch.setitem(formats._BY_SUFFIX, ".md", replace(entry, version=entry.version + 1))
    assert to_read(folder, store) == {"river.md", "河.md"}
    sync(folder, store)
    assert len(store.embedder.embedded) == embedded


def test_another_chunker_cuts_unchanged_files_anew(folder: Path, store: Store, tmp_path: Path) -> None:
    sync(folder, store)
    before = len(store)
    store.close()

    class Whole(LineChunker):
        def split(self, document):
            return super().split(replace(document, text=document.text.replace("\n", " ")))

    with Store.open(tmp_path / "store", embedder=HashEmbedder(), chunker=Whole("whole")) as other:
        assert counts(sync(folder, other))[:3] == (0, 3, 0)
        assert len(other) < before
        assert counts(sync(folder, other))[:3] == (0, 0, 3)


def test_a_file_whose_document_was_deleted_is_read_again(folder: Path, store: Store) -> None:
    sync(folder, store)
    fox = next(record for record in store.files if record.source == "fox.txt")
    store.delete([fox.document_id])
    assert "fox.txt" not in states(store)
    assert counts(sync(folder, store))[:3] == (1, 0, 2)


def test_a_store_made_before_there_were_records_gets_them(folder: Path, store: Store) -> None:
    sync(folder, store)
    with store.transaction() as transaction:
        transaction.sql.execute("DROP TABLE files")
    assert list(store.files) == []
    assert isinstance(store.embedder, HashEmbedder)
    embedded = len(store.embedder.embedded)
    assert counts(sync(folder, store))[:3] == (0, 3, 0)
    assert len(store.embedder.embedded) == embedded
    assert states(store)["fox.txt"] == "done"


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_file_may_unfold_to_is_an_option(tmp_path: Path, store: Store, workers: int) -> None:
    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "词语 " * 200_000)
    report = sync(tmp_path / "large.zip", store, workers=workers, limits=Limits(unfolded=100_000))
    assert "max_unfolded" in report.skipped[0][1]
    report = sync(tmp_path / "large.zip", store, workers=workers, retry_failed=True)
    assert (report.added, report.skipped) == (1, [])


def test_a_record_that_was_tampered_with_is_no_record(folder: Path, store: Store) -> None:
    sync(folder, store)
    with store.transaction() as transaction:
        transaction.sql.execute("UPDATE files SET at = 'soon', size = x'00' WHERE source = 'fox.txt'")
    assert "fox.txt" not in states(store)
    assert to_read(folder, store) == {"fox.txt"}


def test_pruning_forgets_files_that_are_gone(folder: Path, store: Store) -> None:
    sync(folder, store)
    for name in ("broken.pdf", "song.ogg", "fox.txt"):
        (folder / name).unlink()
    assert sync(folder, store, prune=True).removed == 1
    assert states(store) == {"river.md": "done", "河.md": "done"}


def test_pruning_removes_what_is_left_out_now(folder: Path, store: Store) -> None:
    outside = folder.with_name("outside.txt")
    outside.write_text("Elsewhere.\n")
    (folder / "link.txt").symlink_to(outside)
    (folder / "again.txt").symlink_to(folder / "river.md")
    sync(folder, store, follow_links=True)
    assert sync(folder, store).removed == 0
    report = sync(folder, store, prune=True, exclude=["fox.*"])
    assert report.removed == 1
    assert {row.source for row in store.documents()} == {"again.txt", "link.txt", "河.md"}, "a link out costs nothing"
    assert "fox.txt" not in states(store)
    (folder / ".langbertignore").write_text("*.md\n")
    assert sync(folder, store, prune=True).removed == 1
    assert {row.source for row in store.documents()} == {"again.txt", "link.txt", "fox.txt"}


def test_a_moved_folder_keeps_one_record_for_each_file(folder: Path, store: Store) -> None:
    sync(folder, store)
    moved = folder.rename(folder.with_name("moved"))
    sync(moved, store, prune=True)
    assert [record.path for record in store.files if record.state == "done"] == [
        str(moved / name) for name in ("fox.txt", "river.md", "河.md")
    ]


def test_files_of_one_name_are_told_apart_by_the_folders_above(folder: Path, store: Store) -> None:
    for name in ("2023/north", "2024/north"):
        (folder.parent / name).mkdir(parents=True)
        (folder.parent / name / "report.txt").write_text(f"The turnover of {name}.\n")
        (folder.parent / name / f"{name[:4]}.txt").write_text("Minutes.\n")
    first, second = folder.parent / "2023/north", folder.parent / "2024/north"
    sync(first, store)
    sync(second, store, metadata_from_path=["{stem}.txt"])
    sources = {"report.txt", "2023.txt", "north/report.txt", "2024.txt"}
    assert {row.source for row in store.documents()} == sources
    assert {row.metadata.get("stem") for row in store.documents()} == {None, "report", 2024}
    assert counts(sync(first, store)) == counts(sync(second, store, metadata_from_path=["{stem}.txt"])) == (0, 0, 2, [])
    sync([first, second], store)
    sources = {"2023/north/report.txt", "2023.txt", "2024/north/report.txt", "2024.txt"}
    assert {row.source for row in store.documents()} == sources
    assert {document.source for document in read_documents([first, second])} == sources
    assert {chunk.source for chunk in store.sample(len(store))} == sources
    (second / "report.txt").unlink()
    sync([first, second], store, prune=True)
    assert {row.source for row in store.documents()} == {"report.txt", "2023.txt", "2024.txt"}


def held(store: Store) -> tuple[list[tuple[str, str]], Counter[tuple[str, str]]]:
    """Documents, and the texts of chunks, by their sources."""
    documents = sorted((row.source, row.content_hash) for row in store.documents())
    chunks = Counter((chunk.source, chunk.text) for chunk in store.sample(len(store)))
    return documents, chunks


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_five_times_nothing_is_twice_and_nothing_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "documents.workers._READER",
        "indexing.changes._BATCH_FILES",
    ):  # undone at the end, when ``run`` set them
        monkeypatch.setattr(f"langbert.{name}", None)
    folder, log = tmp_path / "docs", tmp_path / "embedded"
    folder.mkdir()
    for i in range(120):
        (folder / f"{i:03}.txt").write_text(f"File {i} says {i * i}.\n第{i}个文件。\n", encoding="utf-8")
    (folder / "030.txt").write_text("CRASH")
    (folder / "090.txt").write_text("HANG")
    command = [sys.executable, ingest_killed.__file__, str(folder), str(tmp_path / "store"), str(log)]
    rng, kills = random.Random(7), 0
    while kills < 5:
        before = log.read_text(encoding="utf-8").count("\n") if log.exists() else 0
        running = subprocess.Popen(command)
        while running.poll() is None and (not log.exists() or log.read_text(encoding="utf-8").count("\n") == before):
            time.sleep(0.005)
        time.sleep(rng.random() * 0.02)
        if running.poll() is not None:  # it came to the end: begin with what is left to be found anew
            break
        running.kill()
        running.wait()
        kills += 1
    assert kills >= 3
    report = ingest_killed.run(folder, tmp_path / "store", log)
    assert {name for name, _ in report.skipped} == {"030.txt", "090.txt"}
    again = ingest_killed.run(folder, tmp_path / "store", log)
    assert counts(again)[:3] == (0, 0, 118)
    with Store.open(tmp_path / "whole", embedder=HashEmbedder(), chunker=LineChunker()) as whole:
        texts = [file for file in sorted(folder.iterdir()) if file.name not in ("030.txt", "090.txt")]
        sync(texts, whole, workers=0)
        with Store.open(tmp_path / "store", embedder=HashEmbedder(), chunker=LineChunker()) as store:
            assert held(store) == held(whole)
            assert Counter(states(store).values()) == {"done": 118, "failed": 2}
    # a batch that was embedded and not yet stored is lost with the process, and no more
    embedded = Counter(log.read_text(encoding="utf-8").splitlines())
    assert len(embedded) == 236
    assert sum(embedded.values()) <= 236 + kills * 2 * ingest_killed.FEW
    assert examine(tmp_path / "store").state == "sound"


@pytest.mark.parametrize("shards", [None, 2])
def test_another_store_among_the_files_is_passed_over_as_a_whole(
    folder: Path, store: Store, shards: int | None
) -> None:
    inner = folder / "older" / "index"
    with open_store(inner, embedder=HashEmbedder(), chunker=LineChunker(), shards=shards) as other:
        sync(folder / "fox.txt", other)
    (folder / "older" / "notes.txt").write_text("Kept beside the store.\n")
    report = sync(folder, store)
    assert counts(report) == (4, 0, 0, [str(inner), "song.ogg", "broken.pdf"])
    assert "store of langbert" in dict(report.skipped)[str(inner)]
    assert not any("index" in record.path for record in store.files)


def test_a_folder_with_a_database_of_that_name_is_none(folder: Path, store: Store) -> None:
    sqlite3.connect(folder / "store.sqlite").execute("CREATE TABLE shop (id)").connection.close()
    report = sync(folder, store)
    assert counts(report)[0] == 3
    assert "store.sqlite" in dict(report.skipped)


def test_the_store_itself_is_passed_over_by_whichever_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with Store.open(tmp_path / "link" / "store", embedder=HashEmbedder(), chunker=LineChunker()) as own:
        sync(folder, own)
        assert counts(sync(folder, own))[:3] == (0, 0, 3)
