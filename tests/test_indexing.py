"""sync: a folder and a store kept alike, from Python."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from store_tools import HashEmbedder

from langbert import Store, sync
from langbert.errors import DocumentError
from langbert.indexing import Changes
from langbert.indexing.changes import _ahead


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "fox.txt").write_text("The quick brown fox jumps over the lazy dog.\n")
    (folder / "sub" / "river.md").write_text("# River\n\nThe river is near the mountain.\n")
    return folder


def counts(store: Store, folder: Path, **options: bool) -> tuple[int, int, int, int]:
    report = sync(folder, store, **options)
    return report.added, report.updated, report.unchanged, report.removed


def test_only_what_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        assert counts(store, folder) == (2, 0, 0, 0)
        assert counts(store, folder) == (0, 0, 2, 0)
        (folder / "fox.txt").write_text("The fox sleeps.\n")
        (folder / "new.txt").write_text("A dog.\n")
        assert counts(store, folder) == (1, 1, 1, 0)
        assert counts(store, folder, force=True) == (0, 3, 0, 0)
        (folder / "new.txt").unlink()
        assert counts(store, folder) == (0, 0, 2, 0)
        assert counts(store, folder, prune=True) == (0, 0, 2, 1)
        assert store.n_documents == 2


def test_a_folder_that_was_moved_is_the_same_documents(folder: Path, tmp_path: Path) -> None:
    embedder = HashEmbedder()
    with Store.open(tmp_path / "s", embedder=embedder) as store:
        counts(store, folder)
        before, ids = len(embedder.embedded), {row.id for row in store.documents()}
        moved = folder.rename(tmp_path / "moved")
        assert counts(store, moved, prune=True) == (0, 2, 0, 0)
        assert counts(store, moved, prune=True) == (0, 0, 2, 0)
        assert {row.id for row in store.documents()} == ids
        assert {row.metadata["path"] for row in store.documents()} == {
            str(moved / "fox.txt"),
            str(moved / "sub" / "river.md"),
        }
        assert len(embedder.embedded) == before
        # another file where the first one was: a document of its own
        folder.mkdir()
        (folder / "fox.txt").write_text("Foxes are red.\n")
        assert counts(store, folder) == (1, 0, 0, 0)
        assert counts(store, folder, prune=True) == (0, 0, 1, 0)
        assert store.n_documents == 3
        (folder / "fox.txt").write_text("Foxes are brown.\n")
        assert counts(store, folder) == (0, 1, 0, 0)


def test_a_file_renamed_inside_its_folder_is_the_same_document(folder: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        counts(store, folder)
        (folder / "fox.txt").rename(folder / "vixen.txt")
        assert counts(store, folder, prune=True) == (0, 1, 1, 0)
        assert {row.source for row in store.documents()} == {"vixen.txt", "sub/river.md"}


def test_a_link_leads_to_the_same_documents_and_a_copy_does_not(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        counts(store, folder)
        assert counts(store, tmp_path / "link", prune=True) == (0, 0, 2, 0)
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "fox.txt").write_bytes((folder / "fox.txt").read_bytes())
        assert counts(store, tmp_path / "copy") == (1, 0, 0, 0)
        assert store.n_documents == 3


def test_paths_come_one_or_many_and_progress_counts_files(folder: Path) -> None:
    done: list[int] = []
    with Store.open(None, embedder=HashEmbedder()) as store:
        report = sync([str(folder / "fox.txt"), folder], store, progress=done.append)
    assert (report.added, sum(done)) == (2, 2)


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_stored(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    with Store.open(None, embedder=HashEmbedder()) as store:
        report = sync(folder, store)
    assert report.added == 2
    ((name, reason),) = report.skipped
    assert name == "broken.pdf"
    assert "broken.pdf" not in reason
    assert report.to_dict()["skipped"] == [{"file": name, "reason": reason}]


def test_a_missing_path_changes_nothing(folder: Path) -> None:
    with Store.open(None, embedder=HashEmbedder()) as store:
        with pytest.raises(DocumentError, match="no such file"):
            sync([folder, folder / "nowhere"], store)
        assert len(store) == 0


def test_a_stopped_sync_is_gone_on_with(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langbert.indexing.changes._BATCH_CHARACTERS", 1)  # a batch for each file

    def stop(files: int) -> None:
        raise KeyboardInterrupt

    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        with pytest.raises(KeyboardInterrupt):
            sync(folder, store, progress=stop)
        assert counts(store, folder) == (1, 0, 1, 0)


def test_a_stores_own_folder_is_passed_over(folder: Path) -> None:
    with Store.open(folder / "index", embedder=HashEmbedder()) as store:
        assert counts(store, folder) == (2, 0, 0, 0)
        assert sync(folder, store).skipped == []


def test_looking_for_documents_reads_no_file_twice(folder: Path) -> None:
    with Store.open(None, embedder=HashEmbedder()) as store:
        changes = Changes(folder, store)
        assert changes.has_documents()
        assert changes.has_documents()
        assert [file.source for batch in changes.batches() for file in batch.files] == ["fox.txt", "sub/river.md"]


def test_the_next_item_is_made_while_one_is_in_use() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> object:
        for i, event in enumerate(made):
            event.set()
            yield i

    ahead = _ahead(items())  # type: ignore[arg-type]
    assert next(ahead) == 0
    assert made[1].wait(timeout=30)
    assert list(ahead) == [1, 2]
