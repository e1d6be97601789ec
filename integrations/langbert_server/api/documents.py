"""``/api/documents``: the list, uploads, texts, drawn pages and where on them a quote stands; ``/api/stores``."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from pydantic import StringConstraints
from starlette.responses import Response

from langbert import Document
from langbert.documents import CHANGED, Look, Seen, supported_suffixes
from langbert.errors import DocumentError

from ..access import NoSuchDocument, View
from ..engine import Loaded
from ..uploads import Upload
from .common import ERRORS, BadRequest, EngineOf, ViewOf, computed

if TYPE_CHECKING:
    from langbert.store import StoredDocument

router = APIRouter(prefix="/api", tags=["documents"], responses=ERRORS)

Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]
_AROUND = 100_000  # characters of a text that are sent at most at a time
_WIDEST = 2400


@router.get("/stores", summary="What is served, as far as this key sees it")
async def stores(view: ViewOf, engine: EngineOf) -> dict[str, Any]:
    """The store, its models, and what may be uploaded."""
    loaded = await engine.loaded()
    documents, chunks = await asyncio.to_thread(view.counts)
    store, space = loaded.store, loaded.store.space
    about: dict[str, Any] = {
        "name": store.path.name if store.path is not None else "memory",
        "documents": documents,
        "chunks": chunks,
        "embedder": space.model if space is not None else None,
        "dimension": store.dimension,
        "pooling": space.pooling if space is not None else None,
    }
    if view.sees_everything:
        info = await asyncio.to_thread(store.info)
        about |= {"bytes": info["bytes"], "dense_index": info["dense_index"], "format": info["format"]}
    return {
        "stores": [about],
        "who": view.key.name,
        "rights": sorted(view.key.rights) if not store.read_only else ["read"],
        "upload": {"suffixes": list(supported_suffixes()), "bytes": engine.settings.upload_bytes},
    }


@router.get("/documents", summary="List documents and uploads")
async def documents(
    view: ViewOf,
    engine: EngineOf,
    after: Annotated[str, Query(max_length=512, description="The id that the page before ended with.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    contains: Annotated[str, Query(max_length=200, description="Only sources that hold these words.")] = "",
) -> dict[str, Any]:
    """Documents by id, with their state: ``indexed``, ``queued``, or ``skipped`` and why."""
    loaded = await engine.loaded()

    def listed() -> dict[str, Any]:
        uploads = {upload.id: upload for upload in loaded.uploads.of(view.key)}
        wanted = contains.casefold()
        found = (row for row in view.documents() if row.id > after and (not wanted or wanted in row.source.casefold()))
        page = list(islice(found, limit))
        there = {row.id for row in page}
        waiting = [
            _of_upload(upload)
            for upload in uploads.values()
            if not after and upload.state != "indexed" and upload.id not in there and wanted in upload.name.casefold()
        ]
        rows = [_of_row(row, uploads.get(row.id)) for row in page]
        return {"documents": [*waiting, *rows], "next": page[-1].id if len(page) == limit else None}

    return await asyncio.to_thread(listed)


def _of_row(row: StoredDocument, upload: Upload | None) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.source,
        "state": "indexed" if upload is None else upload.state,
        "reason": row.metadata.get("remarks", "") if upload is None else upload.reason,
        "chunks": row.chunks,
        "metadata": _shown(row.metadata),
        "uploaded": upload is not None,
    }


def _of_upload(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "source": upload.name,
        "state": upload.state,
        "reason": upload.reason,
        "chunks": 0,
        "metadata": _shown({**upload.metadata, "uploaded": upload.uploaded}),
        "uploaded": True,
    }


def _shown(metadata: Any) -> dict[str, Any]:
    """Without where it lies on the server's disk."""
    return {name: value for name, value in metadata.items() if name != "path"}


@router.post("/documents", status_code=202, summary="Upload a file")
async def upload(
    view: ViewOf,
    engine: EngineOf,
    file: Annotated[UploadFile, File(description="One of the types that /api/stores names.")],
    metadata: Annotated[str, Form(max_length=20_000, description="A JSON object, to filter by.")] = "{}",
    wait: Annotated[
        bool, Query(description="Answer when it is stored; 422, with the reason, where it cannot be read.")
    ] = False,
) -> dict[str, Any]:
    """Keep a file for good and store it soon: when this is answered, it outlives the server. A file of the same name
    takes the place of the former one."""
    view.require("write")
    loaded = await engine.loaded()
    try:
        given = json.loads(metadata)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadRequest('metadata is no JSON object, expected something like {"department": "hr"}')
    kept, folder = await asyncio.to_thread(loaded.uploads.receive, view.key, file.filename, file.file, given)
    stored = loaded.uploads.enqueue(view, folder)
    if wait:
        became = await asyncio.to_thread(stored.result)
        kept = became if became is not None else kept
        if kept.state == "skipped":
            raise BadRequest(kept.reason, "unreadable", 422)
    return _of_upload(kept)


@router.delete("/documents/{document_id}", summary="Remove a document")
async def delete(document_id: Name, view: ViewOf, engine: EngineOf) -> dict[str, Any]:
    """Remove a document and, where it was uploaded, its file; a file that was indexed where it lies stays there."""
    view.require("write")
    loaded = await engine.loaded()

    def removed() -> int:
        found = loaded.uploads.find(document_id)
        mine = found is not None and view.key.sees(found[0].id, found[0].name, found[0].metadata)
        try:
            count = view.delete(document_id)
        except NoSuchDocument:
            if not mine:  # one that waits, or was skipped
                raise
            count = 0
        if mine:
            loaded.uploads.remove(document_id)
        return count

    return {"id": document_id, "chunks": await asyncio.to_thread(removed)}


@router.post("/documents/{document_id}/index", status_code=202, summary="Read an upload again")
async def index_again(document_id: Name, view: ViewOf, engine: EngineOf) -> dict[str, Any]:
    """Read and store an uploaded file anew."""
    view.require("write")
    loaded = await engine.loaded()

    def again() -> Upload:
        found = loaded.uploads.find(document_id)
        if found is None or not view.key.sees(found[0].id, found[0].name, found[0].metadata):
            view.document(document_id)
            raise BadRequest("this document was not uploaded: `langbert index` reads it again", None, 409)
        queued = loaded.uploads.again(view, document_id)
        if queued is None:
            raise NoSuchDocument(document_id)
        return queued

    return _of_upload(await asyncio.to_thread(again))


@router.get("/documents/{document_id}", summary="A document's text")
async def text(
    document_id: Name,
    view: ViewOf,
    start: Annotated[int, Query(ge=0, le=2**53)] = 0,
    end: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> dict[str, Any]:
    """Characters ``start`` to ``end`` of the text (100,000 at most), and the headings and pages in it."""
    document = await asyncio.to_thread(view.document, document_id)
    length = len(document.text)
    first = min(start, length)
    last = min(length, first + _AROUND, length if end is None else max(end, first))
    return {
        "id": document.id,
        "source": document.source,
        "text": document.text[first:last],
        "start": first,
        "end": last,
        "length": length,
        "headings": [asdict(heading) for heading in document.headings if first <= heading.start < last],
        "pages": len(document.page_starts),
        "page_starts": [at for at in document.page_starts if first <= at < last],
        "page": document.page_at(first),
        "metadata": _shown(document.metadata),
        "drawable": document.metadata.get("format") == "pdf",
    }


@router.get(
    "/documents/{document_id}/pages/{page}",
    summary="A drawn page of a PDF",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def page(
    request: Request,
    document_id: Name,
    page: int,
    view: ViewOf,
    engine: EngineOf,
    width: Annotated[int, Query(ge=100, le=_WIDEST)] = 1200,
) -> Response:
    """A page as PNG; 409 where the file is gone or has changed since it was indexed."""
    loaded = await engine.loaded()

    def drawn() -> bytes:
        return _seen(loaded, *_pdf(view, loaded, document_id), page=page, width=width).picture

    return Response(await computed(request, engine, drawn), media_type="image/png")


@router.get("/documents/{document_id}/boxes", summary="Where on its page a quote stands")
async def boxes(
    request: Request,
    document_id: Name,
    view: ViewOf,
    engine: EngineOf,
    start: Annotated[int, Query(ge=0, le=2**53)],
    end: Annotated[int, Query(ge=0, le=2**53)],
) -> dict[str, Any]:
    """For characters ``start`` to ``end``, on each page they stand on: rectangles in parts of the page's width and
    height, from its upper left corner."""
    loaded = await engine.loaded()
    return await computed(request, engine, lambda: _boxes(view, loaded, document_id, start, end))


def _boxes(view: View, loaded: Loaded, document_id: str, start: int, end: int) -> dict[str, Any]:
    document, file = _pdf(view, loaded, document_id)
    if not start < end <= len(document.text):
        raise BadRequest(f"characters {start} to {end} are not in the text, which has {len(document.text)}")
    first, last = document.page_at(start) or 1, document.page_at(end - 1) or 1
    if last - first > 3:
        raise BadRequest(f"characters {start} to {end} go over {last - first + 1} pages, expected at most 4")
    pages = []
    for number in range(first, last + 1):
        begin = document.page_starts[number - 1]
        stop = document.page_starts[number] if number < len(document.page_starts) else len(document.text)
        inside = max(start, begin) - begin, min(end, stop) - begin
        quote = {"text": document.text[begin:stop], "start": inside[0], "end": inside[1]}
        seen = _seen(loaded, document, file, page=number, **quote)
        found = seen.boxes or document.boxes(max(start, begin), min(end, stop)).get(number, [])
        pages.append({"page": number, "boxes": [asdict(box) for box in found]})
    return {"id": document_id, "pages": pages}


def _seen(loaded: Loaded, document: Document, file: Path, **asked: Any) -> Seen:
    """A page, looked at by a process that may crash, hang or swell over it.

    Raises:
        BadRequest: the file has other bytes than when it was indexed.
        DocumentError: there is no such page, or looking at it failed.
    """
    look = Look(str(file.absolute()), str(document.metadata.get("sha256")), **asked)
    seen = loaded.pages.submit(look).result()
    if seen.reason == CHANGED:
        raise BadRequest(seen.reason, None, 409)
    if seen.reason:
        raise DocumentError(seen.reason)
    return seen


def _pdf(view: View, loaded: Loaded, document_id: str) -> tuple[Document, Path]:
    """A PDF that was indexed, as text and where it lies.

    Raises:
        NoSuchDocument, BadRequest
    """
    document = view.document(document_id)
    if document.metadata.get("format") != "pdf" or not document.page_starts:
        raise BadRequest("this document is no PDF, so that its pages cannot be drawn", None, 409)
    if found := loaded.uploads.find(document_id):
        path = found[1] / found[0].file
    else:
        path = Path(str(document.metadata.get("path", "")))
    if not os.path.isfile(path):
        raise BadRequest("the file this document was read from is gone: its text is left", None, 409)
    return document, path
