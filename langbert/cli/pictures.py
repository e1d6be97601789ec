"""Pictures from the command line: the model that embeds them, and looking for them, or with one."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import DocumentError, ModelError, StoreError
from ..text.scripts import one_line
from .output import Output
from .search import hits_of, place, show_passages
from .stores import embedder_of, exists, importing, is_url, label, open_plain, open_store
from .visible import visible

if TYPE_CHECKING:
    from ..embedding.images import ImageEmbedder
    from ..store import Store
    from ..store.base import BaseStore
    from ..store.pictures import FoundPicture

_SHOWN = 200  # characters of a caption
_NAME = 60  # characters of a file's name
_UNUSUAL = re.compile(r"[^\w.-]+")
_OUTSIDE = "engines outside hold no pictures, nor do stores in shards: one folder does, --store FOLDER"


def search_pictures(
    output: Output,
    question: str | None,
    file: Path | None,
    store: str,
    k: int,
    where: dict[str, Any] | None,
    save: Path | None,
    model: str | None,
) -> None:
    """The pictures nearest to words, or to the picture in a file, and then passages, too.

    Args:
        where: a filter on the metadata of their passages.
        save: a folder for the pictures that are found; new, or empty.
        model: what embeds them, where it is not where the store remembers it.
    """
    if save is not None and save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise typer.BadParameter(f"--save {save}: it is not empty, and nothing is ever written over")
    given = None if file is None else _bytes_of(file)
    with open_pictured(store, model, output) as opened:
        started = time.perf_counter()
        try:
            found = opened.pictures.search(question or "" if given is None else given, k, where=where)
            passages = [] if given is None else opened.pictures.passages(given, k, where=where)
        except DocumentError as error:
            raise DocumentError(f"{file}: {error}") from error
        seconds = time.perf_counter() - started
        saved = [] if save is None else _saved(opened, found, save)
        pictures = [_hit(opened, rank, one) for rank, one in enumerate(found, 1)]
        hits, lines = hits_of(opened, passages)
    if output.as_json:
        for picture, path in zip(pictures, saved, strict=False):
            picture["file"] = str(path)
        asked = {"question": question} if given is None else {"picture": str(file)}
        told = {} if given is None else {"hits": hits}
        output.json({**asked, "pictures": pictures, **told, "seconds": round(seconds, 4)})
        return
    if not pictures:
        output.note("Nothing found." + (" Try without --where." if where else ""), "dim")
        return
    _show(output, pictures, saved)
    if passages:
        show_passages(output, pictures[0]["caption"], passages, lines)
    beside = f" and {len(passages)} passages" if passages else ""
    output.note(f"{len(pictures)} pictures{beside} in {1000 * seconds:.0f} ms", "dim")


def embed_anew(output: Output, store: str, model: str) -> None:
    """Give the pictures of a store the vectors of another model."""
    from ..store import Store

    pictured(open_plain(store)).close()  # before a model is loaded
    images = make_image_embedder(model, output)
    with Store.open(store, create=False, image_embedder=images) as opened, output.waiting("embedding"):
        pictures = opened.pictures.embed_anew()
    said = f"{store}: {pictures:,} pictures now have the vectors of {model}"
    output.result({"path": store, "image_embedder": model, "pictures": pictures}, said)


def image_model(store: str, name: str | None, shards: int | None, output: Output) -> str | None:
    """What embeds pictures: what is named, or what the store remembers, if it can still be had.

    Args:
        shards: in how many a store that is not there yet will be.

    Raises:
        StoreError: one is named, and the store lies outside or is in shards.
    """
    from ..store import Store
    from ..store.checks import shards_in

    if name is not None and (is_url(store) or shards is not None or shards_in(Path(store)) is not None):
        raise StoreError(_OUTSIDE)
    if is_url(store) or name is not None or not exists(store):
        return name
    with open_plain(store) as plain:
        made_by = plain.pictures.space if isinstance(plain, Store) else None
    if made_by is None:
        return None
    try:
        output.model(made_by.model)
    except ModelError as error:
        output.note(f"Pictures are left as they are ({error}); --image-embedder says where their model is now.", "dim")
        return None
    return made_by.model


def open_pictured(where: str | Path, name: str | None, output: Output) -> Store:
    """The store there with the embedder it was made with and the one that made the vectors of its pictures.

    Args:
        name: of the latter, where it is not where the store remembers it.

    Raises:
        StoreError: there are no pictures in it, or it lies outside.
        StoreMismatch: another model made their vectors.
    """
    with pictured(open_plain(where)) as plain:
        space, made_by, read_only = plain.space, plain.pictures.space, plain.read_only
    if made_by is None:
        raise StoreError(
            f"there are no pictures in {where}; `langbert index FOLDER --store {where} --image-embedder NAME` takes "
            "those of the files"
        )
    images = make_image_embedder(name or made_by.model, output)
    text = embedder_of(space, output)
    opened = pictured(open_store(where, embedder=text, image_embedder=images, create=False, read_only=read_only))
    opened.pictures.check()
    return opened


def pictured(opened: BaseStore) -> Store:
    """
    Raises:
        StoreError: the store lies outside, and is closed.
    """
    from ..store import Store

    if not isinstance(opened, Store):
        opened.close()
        raise StoreError(_OUTSIDE)
    return opened


def make_image_embedder(name: str, output: Output) -> ImageEmbedder:
    """What embeds pictures, by name; its model is fetched first, before everybody's eyes, if it is not here."""
    output.model(name)
    with output.waiting(f"loading {name}"):
        with importing():
            from ..embedding.images import ImageEmbedder

        return ImageEmbedder(label(name), offline=True)


def _bytes_of(file: Path) -> bytes:
    from ..documents import MAX_BYTES
    from ..documents.loading import load

    try:
        return load(file, MAX_BYTES).data
    except DocumentError as error:
        raise DocumentError(f"{file}: {error}") from error


def _saved(store: Store, found: Sequence[FoundPicture], folder: Path) -> list[Path]:
    """The files that the pictures are in now, named by rank, document and page."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for rank, (picture, _) in enumerate(found, 1):
        name = _UNUSUAL.sub("-", _source(store, picture.document_id).replace("\\", "/").rpartition("/")[2])[:_NAME]
        page = f"-p{picture.page}" if picture.page else ""
        paths.append(folder / f"{rank:02d}-{name}{page}.png")
        paths[-1].write_bytes(picture.png)
    return paths


def _source(store: Store, document_id: str) -> str:
    document = store.document(document_id)
    return document_id if document is None else document.source or document_id


def _hit(store: Store, rank: int, found: FoundPicture) -> dict[str, Any]:
    picture = found.picture
    return {
        "rank": rank,
        "score": round(found.score, 4),
        "source": _source(store, picture.document_id),
        "page": picture.page,
        "caption": picture.caption,
        "start": picture.start,
        "end": picture.end,
        "document_id": picture.document_id,
        "picture_id": picture.id,
    }


def _show(output: Output, pictures: Sequence[dict[str, Any]], saved: Sequence[Path]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    for number, picture in enumerate(pictures):
        head = Text.assemble(
            (f"{picture['rank']:>2}  ", "bold cyan"),
            (visible(place(picture["source"], picture["page"], None)), "bold"),
            (f"  {picture['score']:.2f}", "dim"),
        )
        output.say(head)
        caption = visible(one_line(picture["caption"]))
        lines = [caption[:_SHOWN] + (" …" if len(caption) > _SHOWN else "")] if caption else []
        lines += [visible(str(path)) for path in saved[number : number + 1]]
        output.out.print(Padding(Text("\n".join(lines)), (0, 0, 1, 4)))
