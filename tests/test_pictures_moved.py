"""What becomes of pictures when a store is exported, imported, migrated, moved, compacted, damaged or rescued."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import HashEmbedder, LineChunker
from test_pictures import BLUE, RED, clip, made_clip, png  # noqa: F401 - one is a fixture

from langbert import Document, ImageEmbedder, Store, open_store
from langbert.cli import run
from langbert.documents import Picture
from langbert.errors import StoreError
from langbert.store.maintenance.doctor import examine
from langbert.store.maintenance.migration import migrate
from langbert.store.maintenance.moving import move
from langbert.store.maintenance.portable import export_store, import_store
from langbert.store.maintenance.rescue import rescue

# ruff: noqa: F811 - the fixture

TEXT = "Figure 1: Honey.\nProse.\n图 2：河流穿过山谷"
HONEY = Picture("d:honey", "d", png(RED), "Figure 1: Honey.", 0, 16, 3)
RIVER = Picture("d:river", "d", png(BLUE), "图 2：河流穿过山谷", 24, 34)


@pytest.fixture
def store(tmp_path: Path, clip: ImageEmbedder) -> Path:
    """Two pictures that count, and one of a document that is another now."""
    with opened(tmp_path / "s", clip) as made:
        made.add([Document("d", TEXT), Document("gone", "Wax.")])
        made.pictures.add([HONEY, RIVER, Picture("gone:0", "gone", png(RED), "Wax", 0, 3)])
        made.add([Document("gone", "Wax and more.")])
    return tmp_path / "s"


def opened(folder: Path, images: ImageEmbedder | None = None, **more: Any) -> Store:
    return Store.open(folder, embedder=HashEmbedder(), chunker=LineChunker(), image_embedder=images, **more)


def content(store: Store) -> tuple[list[Picture], list[tuple[Any, ...]], Any]:
    with store.snapshot() as state:
        query = "SELECT id, vector, checksum FROM pictures WHERE id <> 'gone:0' ORDER BY id"
        return store.pictures.get(["d:honey", "d:river"]), state.sql.execute(query).fetchall(), store.pictures.space


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_exported_and_imported(tmp_path: Path, store: Path, clip: ImageEmbedder, format: Any) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    with opened(store, clip) as old:
        out = export_store(old, tmp_path / "out", format=format)
        back = import_store(tmp_path / "out", tmp_path / "new", format=format)
        assert (out, out.pictures) == (back, 2)
        with opened(tmp_path / "new", clip) as new:
            assert content(new) == content(old)
            assert new.pictures.search(RIVER.png) == old.pictures.search(RIVER.png)
            assert new.pictures.passages(RIVER.png)[0].text == RIVER.caption
    assert examine(tmp_path / "new").findings == []


def lines(tmp_path: Path, store: Path) -> list[dict[str, Any]]:
    with opened(store) as old:
        export_store(old, tmp_path / "out.jsonl")
    return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_what_holds_no_pictures_is_what_older_versions_read(tmp_path: Path, store: Path) -> None:
    assert lines(tmp_path, store)[0]["store"]["format"] == 2
    with opened(tmp_path / "plain") as plain:
        plain.add([Document("d", TEXT)])
        export_store(plain, tmp_path / "plain.jsonl")
    header = json.loads((tmp_path / "plain.jsonl").read_text().splitlines()[0])["store"]
    assert (header["format"], "pictures" in header) == (1, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"png": "%%%"}, "d:honey"),
        ({"png": "PHN2Zy8+"}, "its png is none"),
        ({"png": 3}, "its png is none"),
        ({"caption": "Wax"}, "its caption is not characters 0 to 16"),
        ({"document_id": "none"}, "add the document first"),
        ({"vector": [1.0]}, "its vector has 1 dimensions"),
        ({"vector": None}, "d:honey"),
        ({"start": "0"}, "expected a whole number"),
        ({"id": None}, "expected a text"),
    ],
)
def test_what_is_not_in_order_is_named(tmp_path: Path, store: Path, change: dict[str, Any], said: str) -> None:
    given = lines(tmp_path, store)
    next(line for line in given if "picture" in line)["picture"].update(change)
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    with pytest.raises(StoreError, match=said):
        import_store(tmp_path / "bad.jsonl", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_export_that_was_cut_short(tmp_path: Path, store: Path) -> None:
    given = lines(tmp_path, store)[:-1]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    with pytest.raises(StoreError, match="says 2 pictures and holds 1"):
        import_store(tmp_path / "bad.jsonl", tmp_path / "new")


def test_migrated_to_another_embedder(store: Path, clip: ImageEmbedder) -> None:
    with opened(store, clip) as old:
        before = content(old)
    assert migrate(store, HashEmbedder(24), chunker=LineChunker()).changed
    with Store.open(store, embedder=HashEmbedder(24), chunker=LineChunker(), image_embedder=clip) as new:
        assert content(new) == before
        assert new.pictures.search("honey")


def test_moved_to_another_folder(tmp_path: Path, store: Path, clip: ImageEmbedder) -> None:
    with opened(store, clip) as old, opened(tmp_path / "new", clip) as new:
        moved = move(old, new)
        assert (moved.pictures, moved.left) == (2, 0)
        assert content(new) == content(old)
        with opened(tmp_path / "third", clip) as third:
            assert move(new, third).checksum == moved.checksum


@pytest.mark.parametrize("kind", ["qdrant", "shards"])
def test_what_holds_no_pictures_leaves_them_behind(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    if kind == "qdrant":
        pytest.importorskip("qdrant_client")
    place = [f"qdrant://{tmp_path}/q"] if kind == "qdrant" else [str(tmp_path / "new"), "--shards", "2"]
    assert run(["store", "migrate", "--store", str(store), "--to", *place, "--json"]) == 0
    said = capsys.readouterr()
    moved = json.loads(said.out)
    assert (moved["documents"], moved["pictures"], moved["left"]) == (2, 0, 2)
    assert "2 pictures stay behind: only a store in one folder holds any" in said.err
    with open_store(place[0]) as new:
        assert (new.n_documents, new.document("d").text) == (2, TEXT)
    with opened(store) as old:
        assert len(old.pictures) == 2


def test_pictures_get_the_vectors_of_another_model(
    tmp_path: Path, store: Path, clip: ImageEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    other = made_clip(tmp_path / "other", 1)
    assert run(["store", "migrate", "--store", str(store), "--image-embedder", str(other), "--json", "--offline"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 2
    images = ImageEmbedder(other, device="cpu")
    with opened(store, images) as new:
        assert content(new)[0] == [HONEY, RIVER]
        assert new.pictures.search(RIVER.png)[0].picture == RIVER
        with new.snapshot() as state:
            (blob,) = state.sql.execute("SELECT vector FROM pictures WHERE id = 'd:river'").fetchone()
        np.testing.assert_allclose(np.frombuffer(blob, "<f4"), images.embed_images([RIVER.png])[0], atol=1e-5)
    for more in (["--to", "x"], ["--shards", "2"]):
        assert run(["store", "migrate", "--store", str(store), "--image-embedder", str(other), *more]) == 2


def test_what_changes_before_and_while_pictures_are_embedded_anew(
    tmp_path: Path, store: Path, clip: ImageEmbedder
) -> None:
    """What was gone by then comes back, and another process has put another picture in the place of one."""
    images = ImageEmbedder(made_clip(tmp_path / "other", 1), device="cpu")

    class Interrupted:
        space = images.space

        def embed_images(self, pngs: Any) -> Any:
            vectors = images.embed_images(pngs)
            with opened(store, images) as other:
                if len(pngs) == 2:
                    other.pictures.add([replace(HONEY, png=png(BLUE))])
            return vectors

    with opened(store, images) as new:
        new.pictures.embed_anew()
        new.add([Document("gone", "Wax.")])
        assert [picture.id for picture in new.pictures.get(["d:honey", "gone:0"])] == ["d:honey"]
    with opened(store, Interrupted()) as new:
        assert new.pictures.embed_anew() == 2
        honey, river = (np.frombuffer(row[1], "<f4") for row in content(new)[1])
        np.testing.assert_allclose(honey, river, atol=1e-5)


def test_compacting_forgets_pictures_of_what_is_gone(store: Path) -> None:
    def held(folder: Path) -> int:
        with opened(folder) as some, some.snapshot() as state:
            return int(state.sql.execute("SELECT count(*) FROM pictures").fetchone()[0])

    with opened(store) as old:
        assert (held(store), len(old.pictures), old.info()["pictures"]) == (3, 2, 2)
        old.compact()
    assert held(store) == 2


def test_damage_is_found_and_told(tmp_path: Path, store: Path) -> None:
    assert examine(store).counts["pictures"] == 3
    sql = sqlite3.connect(store / "store.sqlite")
    sql.execute("UPDATE pictures SET vector = zeroblob(length(vector)) WHERE id = 'd:river'")
    sql.commit()
    sql.close()
    (finding,) = examine(store).found("primary")
    assert (finding.where, finding.items) == ("table pictures", ("d:river",))


@pytest.mark.parametrize(
    "damage", ["vector = zeroblob(length(vector))", "png = substr(png, 1, 60)", "caption = 'no such'", "\"end\" = 'x'"]
)
def test_a_damaged_picture_costs_itself_alone(tmp_path: Path, store: Path, clip: ImageEmbedder, damage: str) -> None:
    with opened(store, clip) as old:
        pictures, vectors, space = content(old)
    sql = sqlite3.connect(store / "store.sqlite")
    sql.execute(f"UPDATE pictures SET {damage} WHERE id = 'd:river'")
    sql.commit()
    sql.close()
    saved = rescue(store, tmp_path / "saved")
    assert (saved.pictures, saved.lost_pictures, saved.remarks) == (1, ["d:river"], [])
    assert saved.to_dict()["lost_pictures"] == ["d:river"]
    with opened(tmp_path / "saved", clip) as new:
        assert content(new) == (pictures[:1], vectors[:1], space)
        new.pictures.add([RIVER])
        assert new.pictures.get(["d:honey", "d:river"]) == pictures


def test_pictures_of_an_unknown_model_are_not_saved(tmp_path: Path, store: Path) -> None:
    sql = sqlite3.connect(store / "store.sqlite")
    sql.execute("UPDATE meta SET value = 'x' WHERE key = 'image_space'")
    sql.commit()
    sql.close()
    remarks = rescue(store, tmp_path / "saved").remarks
    assert any("pictures are not saved" in remark for remark in remarks)


def test_a_caption_is_checked_wherever_a_picture_comes_from(store: Path, clip: ImageEmbedder) -> None:
    with opened(store, clip) as some, pytest.raises(StoreError, match="its caption is not characters"):
        some.pictures.add([replace(HONEY, start=1)])
