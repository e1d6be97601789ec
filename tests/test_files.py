"""Files and folders that are the old or the new, never half of each."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from langbert.files import install, is_leftover, private_folder, replacing, sha256_of, sweep


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)
    with pytest.raises(UnicodeEncodeError), replacing(path) as fresh:
        fresh.write_text("half \ud800", encoding="utf-8")
    assert (path.read_text() if path.exists() else None) == before
    with replacing(path) as fresh:
        fresh.write_text("new")
        assert (path.read_text() if path.exists() else None) == before
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"], "nothing is left over"


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with replacing(tmp_path / "model") as fresh:
            (fresh / "inner").mkdir(parents=True)
            (fresh / "inner" / content).write_text(content)
    assert names(tmp_path / "model" / "inner") == ["new"]
    assert names(tmp_path) == ["model"]


def test_what_should_not_be_overwritten_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "empty").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(FileExistsError, match=name), replacing(tmp_path / name, overwrite=False) as fresh:
            fresh.write_text("new")
    with replacing(tmp_path / "empty", overwrite=False) as fresh:
        fresh.mkdir()
        (fresh / "now").touch()
    assert ((tmp_path / "file").read_text(), names(tmp_path / "folder"), names(tmp_path / "empty")) == (
        "old",
        ["mine"],
        ["now"],
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_file_is_as_readable_as_its_folder(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with replacing(tmp_path / "file") as fresh:
        fresh.touch(0o600)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode & 0o666


def test_what_was_left_over_is_swept_when_nobody_works_on_it(tmp_path: Path) -> None:
    for name in (".a-one.tmp", ".a-two.tmp", ".a-b-one.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    (tmp_path / "a").touch()
    (tmp_path / ".a.lock").touch()
    os.utime(tmp_path / ".a-one.tmp", (0, 0))
    os.utime(tmp_path / ".a-one.tmp" / "half", (0, 0))
    os.utime(tmp_path / ".a-two.tmp", (0, 0))  # something in it is still written
    sweep(tmp_path)
    assert names(tmp_path) == [".a-b-one.tmp", ".a-two.tmp", ".a.lock", "a"]
    sweep(tmp_path, of="a", idle=0)
    assert names(tmp_path) == [".a-b-one.tmp", ".a.lock", "a"]
    sweep(tmp_path / "missing")
    with private_folder(tmp_path / "a") as folder:
        assert is_leftover(folder)
        assert is_leftover(folder, "a")
        assert not is_leftover(folder, "b")


def test_installing_leaves_what_is_there_when_the_new_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fresh", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()

    def full(handle: int) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        install(tmp_path / "fresh", tmp_path / "target")
    assert names(tmp_path / "target") == ["target"]


def test_digests(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    told: list[int] = []
    assert sha256_of(tmp_path / "file", told.append) == hashlib.sha256(content).hexdigest()
    assert sum(told) == len(content)
    assert len(told) > 1
    stream = io.BytesIO(content)
    stream.seek(10)
    assert sha256_of(stream) == hashlib.sha256(content[10:]).hexdigest()
