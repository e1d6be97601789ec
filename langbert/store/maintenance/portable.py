"""A store as a file that other programs read, and back: JSON Lines (one object a line), or a folder of Parquet tables.

Both hold everything: documents with their texts, chunks with offsets, metadata and vectors, pictures with theirs, the
ledger, and the embedding spaces. What is imported is the store that was exported, bit for bit; only change numbers
start anew.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ...boxes import Illustration
from ...documents import Picture
from ...errors import StoreError, require_choice
from ...files import replacing
from ...records import Calibration, Chunk, Document, EmbeddingSpace, Heading
from ..base import BaseStore, described
from ..checks import checked_vectors
from ..confidence import calibration_from, put_calibration
from ..encoding import ChunkRow, Vector, document_from, encode_chunk, encode_document, vector_to
from ..engine import Reading
from ..pictures import BLOCK, StoredPicture, count, put, set_space, space_of, stored
from ..snapshot import LedgerEntry, Snapshot, StoredChunk, StoredText
from ..store import Store
from .copying import Watch, blocks_of, new_store

Format = Literal["jsonl", "parquet"]
"""``"jsonl"``: one file. ``"parquet"``: a folder of tables; needs the extra ``parquet``."""

VERSION = 2
"""Of both formats. What holds no pictures is of version 1, which they are not part of."""

KINDS = ("document", "chunk", "ledger", "picture")
"""What a line, or a table, can hold; documents come before chunks and pictures."""

_COUNTED = ("documents", "chunks", "ledger", "pictures")
_PNG = b"\x89PNG\r\n\x1a\n"

_LONGEST_LINE = 1 << 30

Record = dict[str, Any]
"""The fields of one document, chunk or ledger entry, as JSON values; a chunk's ``vector`` may be a numpy array."""


@dataclass(slots=True)
class Counts:
    """How much was written or read."""

    documents: int = 0
    chunks: int = 0
    ledger: int = 0
    pictures: int = 0
    dimension: int | None = None


def export_store(
    store: BaseStore, path: str | Path, *, format: Format | None = None, watch: Watch | None = None
) -> Counts:
    """Writes one commit of ``store`` to ``path``, which appears when it is whole.

    Args:
        format: by default ``"jsonl"`` where ``path`` ends in ``.jsonl``, else ``"parquet"``.

    Raises:
        StoreError: there is something at ``path``, or it cannot be written.
        MissingExtra: Parquet is wanted and pyarrow is not installed.
    """
    path = Path(path)
    format = _format(path, format)
    if path.exists():
        raise StoreError(f"{path} exists already, and nothing is ever written over: give another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.snapshot() as snapshot:
            header = _header(snapshot)
            records = _watched(_records(snapshot), header, watch, "exporting")
            if format == "jsonl":
                with replacing(path, overwrite=False) as fresh, fresh.open("wb") as file:
                    for line in ([("store", header)], records):
                        for kind, record in line:
                            file.write(_line(kind, record))
            else:
                from .parquet import write_tables

                write_tables(path, header, records)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; nothing was left there") from error
    return Counts(**{name: header.get(name, 0) for name in _COUNTED}, dimension=header["dimension"])


def import_store(
    path: str | Path, folder: str | Path, *, format: Format | None = None, watch: Watch | None = None
) -> Counts:
    """Makes a store in ``folder`` of what :func:`export_store` wrote; it appears when it is whole.

    Raises:
        StoreError: there is something in ``folder``, or ``path`` cannot be read, is cut short, or is not in order; the
            message names the record.
        MissingExtra: it is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    try:
        with _opened(path, _format(path, format)) as (header, records):
            space, image_space = _check_header(path, header)
            dimension: int | None = header["dimension"]
            counts = Counts(dimension=dimension)
            with new_store(Path(folder)) as store:
                with store.transaction() as transaction:
                    transaction.set_space(dimension, space)
                    put_calibration(transaction, _calibration(path, header))
                    if image_space is not None:
                        set_space(transaction, image_space)
                records = _watched(records, header, watch, "importing")
                for pictured, some in groupby(records, key=lambda record: record[0] == "picture"):
                    for block in blocks_of(some, BLOCK if pictured else 1024):
                        _put(store, block, dimension, image_space, counts, path)
                missing = [name for name in _COUNTED if getattr(counts, name) != header.get(name, 0)]
                if missing:
                    said, found = header.get(missing[0], 0), getattr(counts, missing[0])
                    raise StoreError(f"{path} is not whole: it says {said} {missing[0]} and holds {found}")
                if watch is not None:
                    watch("building the indexes", 0, 1)
            return counts
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def _format(path: Path, format: str | None) -> Format:
    if format is not None:
        require_choice("format", format, get_args(Format))
    if format == "jsonl" or (format is None and path.suffix.lower() in (".jsonl", ".ndjson")):
        return "jsonl"
    return "parquet"


def _watched(
    records: Iterable[tuple[str, Record]], header: Record, watch: Watch | None, doing: str
) -> Iterator[tuple[str, Record]]:
    total = sum(header.get(name, 0) for name in _COUNTED)
    for done, record in enumerate(records, 1):
        yield record
        if watch is not None and (done % 256 == 0 or done == total):
            watch(doing, done, max(total, done))


# --- out -------------------------------------------------------------------------------------------------------------


def _header(snapshot: Reading) -> Record:
    header = {"format": 1, "ledger": sum(1 for _ in snapshot.ledger_entries()), **described(snapshot)}
    if isinstance(snapshot, Snapshot) and (pictures := count(snapshot)) and (space := space_of(snapshot)):
        header |= {"format": VERSION, "pictures": pictures, "image_space": asdict(space)}
    return header


def _records(snapshot: Reading) -> Iterator[tuple[str, Record]]:
    for row, chunking in snapshot.stored_documents():
        document = document_from(row.columns)
        yield (
            "document",
            {
                "id": document.id,
                "source": document.source,
                "text": document.text,
                "metadata": document.metadata,
                "page_starts": list(document.page_starts),
                "line_boxes": document.line_boxes,
                "illustrations": [astuple(one) for one in document.illustrations],
                "headings": [[heading.start, heading.level, heading.text] for heading in document.headings],
                "chunking": chunking,
            },
        )
    for chunk, vector in snapshot.stored_chunks():
        yield "chunk", _chunk_record(chunk, vector)
    for namespace, key, group, at in snapshot.ledger_entries():
        yield "ledger", {"namespace": namespace, "key": key, "group": group, "updated_at": at}
    for picture, vector in stored(snapshot) if isinstance(snapshot, Snapshot) else ():
        yield "picture", {**asdict(picture), "vector": np.frombuffer(vector[0], dtype="<f4")}


def _chunk_record(row: ChunkRow, vector: Vector | None) -> Record:
    id, document_id, text, start, page, headings, source, metadata = row.columns
    return {
        "id": id,
        "document_id": document_id,
        "source": source,
        "start": start,
        "end": start + len(text),
        "page": page,
        "headings": json.loads(headings),
        "text": text,
        "metadata": json.loads(metadata),
        "embedded_hash": row.embedded_hash.hex(),
        "vector": None if vector is None else np.frombuffer(vector[0], dtype="<f4"),
    }


def _line(kind: str, record: Record) -> bytes:
    """Vectors become lists: a float32 is a float64 exactly, and a float64 survives JSON; a PNG becomes base64."""
    if record.get("vector") is not None:
        record = {**record, "vector": record["vector"].tolist()}
    if "png" in record:
        record = {**record, "png": base64.b64encode(record["png"]).decode()}
    try:
        return json.dumps({kind: record}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:  # metadata may hold a lone surrogate, which only the escaped form can say
        return json.dumps({kind: record}, allow_nan=False).encode() + b"\n"


# --- in --------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, format: Format) -> Iterator[tuple[Record, Iterator[tuple[str, Record]]]]:
    if format == "parquet":
        from .parquet import read_tables

        with read_tables(path) as opened:
            yield opened
        return
    with path.open("rb") as file:
        lines = _lines(path, file)
        kind, header = next(lines, ("", {}))
        if kind != "store":
            raise StoreError(
                f'{path} does not begin with {{"store": …}}: it was not written by `langbert store export`'
            )
        yield header, lines


def _lines(path: Path, file: Any) -> Iterator[tuple[str, Record]]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        try:
            ((kind, record),) = json.loads(line).items()
            if kind not in (*KINDS, "store") or not isinstance(record, dict):
                raise ValueError(f"{kind!r} is not one of {', '.join(KINDS)}")
        except (ValueError, AttributeError, RecursionError) as error:
            raise StoreError(f"{path}, line {number}, is not in order: {error}") from error
        yield kind, record


def _check_header(path: Path, header: Record) -> tuple[EmbeddingSpace | None, EmbeddingSpace | None]:
    """What made the vectors of the chunks, and of the pictures."""
    version, dimension, space = header.get("format"), header.get("dimension"), header.get("embedding_space")
    if version not in (1, VERSION):
        raise StoreError(f"{path} has export format {version!r}, this langbert reads 1 and {VERSION}: upgrade langbert")
    counts = [header.get(name) for name in _COUNTED[:3]] + [header.get("pictures", 0)]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise StoreError(f"{path}: its header counts {counts!r}; expected whole numbers")
    if dimension is not None and (type(dimension) is not int or not 0 < dimension <= 1 << 16):
        raise StoreError(f"{path}: its header has dimension {dimension!r}; expected 1 to 65536, or null")
    image_space = header.get("image_space")
    try:
        made_by = None if space is None else EmbeddingSpace(**space)
        images_by = None if image_space is None else EmbeddingSpace(**image_space)
    except TypeError as error:
        raise StoreError(f"{path}: its embedding space cannot be read ({error})") from error
    if made_by is not None and made_by.dimension != dimension:
        raise StoreError(f"{path}: dimension {dimension}, but its embedding space says {made_by.dimension}")
    return made_by, images_by


def _calibration(path: Path, header: Record) -> Calibration | None:
    """Files of before it existed have none."""
    kept = header.get("calibration")
    try:
        return None if kept is None else calibration_from(kept)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: its calibration cannot be read ({error})") from error


def _put(
    store: Store,
    block: list[tuple[str, Record]],
    dimension: int | None,
    image_space: EmbeddingSpace | None,
    counts: Counts,
    path: Path,
) -> None:
    pictures: list[StoredPicture] = []
    documents: list[StoredText] = []
    chunks: list[StoredChunk] = []
    ledger: list[LedgerEntry] = []
    for kind, record in block:
        with _naming(path, kind, record):
            if kind == "document":
                documents.append(_document_from(record))
            elif kind == "chunk":
                chunks.append(_chunk_from(record, dimension))
            elif kind == "ledger":
                ledger.append(_ledger_from(record))
            elif kind == "picture":
                pictures.append(_picture_from(record, image_space))
    with store.transaction() as transaction:
        names = [row.id for row, _ in chunks]
        if len(set(names)) < len(names) or transaction.states(names):
            raise StoreError(f"{path} holds the same chunk twice, between {names[0]!r} and {names[-1]!r}")
        for row, chunking in documents:
            transaction.put_document(row, chunking)
        transaction.insert_chunks(chunks)
        transaction.put_ledger(ledger)
        if pictures:
            put(transaction, pictures)
    counts.documents += len(documents)
    counts.chunks += len(chunks)
    counts.ledger += len(ledger)
    counts.pictures += len(pictures)


@contextmanager
def _naming(path: Path, kind: str, record: Record) -> Iterator[None]:
    try:
        yield
    except (StoreError, KeyError, ValueError, TypeError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{path}: {kind} {record.get('id', record.get('key'))!r:.80}: {said}") from error


def _document_from(record: Record) -> StoredText:
    chunking = _str(record["chunking"])
    document = Document(
        id=record["id"],
        text=record["text"],
        source=record["source"],
        metadata=record["metadata"],
        page_starts=tuple(map(_int, record["page_starts"])),
        headings=tuple(Heading(_int(start), _int(level), _str(text)) for start, level, text in record["headings"]),
        line_boxes=_str(record.get("line_boxes", "")),  # older exports have none, nor the next
        illustrations=tuple(map(_illustration, record.get("illustrations", ()))),
    )
    return encode_document(document), chunking


def _illustration(record: Any) -> Illustration:
    name, start, end, page = record
    return Illustration(_str(name), _int(start), _int(end), None if page is None else _int(page))


def _chunk_from(record: Record, dimension: int | None) -> StoredChunk:
    chunk = Chunk(
        id=record["id"],
        document_id=record["document_id"],
        text=_str(record["text"]),
        start=_int(record["start"]),
        end=_int(record["end"]),
        page=record["page"],
        headings=tuple(map(_str, record["headings"])),
        source=record["source"],
        metadata=record["metadata"],
    )
    embedded_hash = bytes.fromhex(_str(record["embedded_hash"]))
    vector, row = record["vector"], encode_chunk(chunk)
    if (vector is None) != (dimension is None):
        raise StoreError(f"its vector is {'missing' if vector is None else 'there, the header has no dimension'}")
    if vector is not None:
        vector = vector_to(checked_vectors([vector], 1)[0])
        if len(vector[0]) != 4 * (dimension or 0):
            raise StoreError(f"its vector has {len(vector[0]) // 4} dimensions, the store {dimension}")
    return replace(row, embedded_hash=embedded_hash), vector


def _picture_from(record: Record, space: EmbeddingSpace | None) -> StoredPicture:
    png, page = record["png"], record["page"]
    if isinstance(png, str):
        png = base64.b64decode(png, validate=True)
    if not isinstance(png, bytes) or not png.startswith(_PNG):
        raise StoreError("its png is none")
    vector = vector_to(checked_vectors([record["vector"]], 1)[0])
    if space is None or len(vector[0]) != 4 * space.dimension:
        expected = "the header has no image_space" if space is None else f"the others' {space.dimension}"
        raise StoreError(f"its vector has {len(vector[0]) // 4} dimensions, {expected}")
    picture = Picture(
        _str(record["id"]),
        _str(record["document_id"]),
        png,
        _str(record["caption"]),
        _int(record["start"]),
        _int(record["end"]),
        None if page is None else _int(page),
    )
    return picture, vector


def _ledger_from(record: Record) -> LedgerEntry:
    group = record["group"]
    at = record["updated_at"]
    if not isinstance(at, int | float):
        raise ValueError(f"updated_at is {at!r}")
    return _str(record["namespace"]), _str(record["key"]), None if group is None else _str(group), float(at)


def _int(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"expected a whole number of 64 bits, got {value!r:.40}")
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r:.40}")
    value.encode()
    return value
