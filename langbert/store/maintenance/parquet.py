"""A store as a folder of Parquet tables: ``documents.parquet``, ``chunks.parquet``, ``ledger.parquet``, and, if
there are any, ``pictures.parquet``.

Vectors are fixed-size lists of float32, metadata and headings JSON texts; what is not a row (counts, the embedding
space, the version) stands in the schema of ``chunks.parquet`` under the key ``langbert``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import MissingExtra, StoreError
from ...files import replacing
from ..pictures import BLOCK
from .copying import blocks_of

_KEY = b"langbert"
_TABLES = {
    "document": "documents.parquet",
    "chunk": "chunks.parquet",
    "ledger": "ledger.parquet",
    "picture": "pictures.parquet",
}
_AS_JSON = {
    "document": ("metadata", "page_starts", "illustrations", "headings"),
    "chunk": ("metadata", "headings"),
    "ledger": (),
    "picture": (),
}
_ROWS = {"picture": BLOCK}  # in a row group
_MOST_ROWS = 4096

Record = dict[str, Any]


def _arrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "reading and writing Parquet") from error
    module: ModuleType = pyarrow
    return module


def _schemas(arrow: Any, header: Record) -> dict[str, Any]:
    text, number = arrow.large_string(), arrow.int64()
    dimension = header["dimension"]
    vector = arrow.null() if dimension is None else arrow.list_(arrow.field("item", arrow.float32()), dimension)
    names = ("id", "source", "text", "metadata", "page_starts", "line_boxes", "illustrations", "headings", "chunking")
    document = [(name, text) for name in names]
    chunk = [("id", text), ("document_id", text), ("source", text), ("start", number), ("end", number)]
    chunk += [("page", number), ("headings", text), ("text", text), ("metadata", text), ("embedded_hash", text)]
    ledger = [("namespace", text), ("key", text), ("group", text), ("updated_at", arrow.float64())]
    about = {_KEY: json.dumps(header).encode()}
    schemas = {
        "document": arrow.schema(document),
        "chunk": arrow.schema([*chunk, ("vector", vector)], metadata=about),
        "ledger": arrow.schema(ledger),
    }
    if header.get("pictures"):
        image_vector = arrow.list_(arrow.field("item", arrow.float32()), header["image_space"]["dimension"])
        picture = [("id", text), ("document_id", text), ("png", arrow.large_binary()), ("caption", text)]
        picture += [("start", number), ("end", number), ("page", number), ("vector", image_vector)]
        schemas["picture"] = arrow.schema(picture)
    return schemas


def write_tables(folder: Path, header: Record, records: Iterable[tuple[str, Record]]) -> None:
    """The folder appears when everything in it is on the disk.

    Raises:
        MissingExtra: pyarrow is not installed.
        OSError: it cannot be written.
    """
    arrow = _arrow()
    with replacing(folder, overwrite=False) as fresh, ExitStack() as files:
        fresh.mkdir()
        schemas = _schemas(arrow, header)
        writers = {
            kind: files.enter_context(
                arrow.parquet.ParquetWriter(str(fresh / _TABLES[kind]), schema, compression="zstd")
            )
            for kind, schema in schemas.items()
        }
        for kind, group in groupby(records, key=itemgetter(0)):
            for block in blocks_of((record for _, record in group), _ROWS.get(kind, _MOST_ROWS)):
                writers[kind].write_table(_table(arrow, kind, block, schemas[kind]))


def _table(arrow: Any, kind: str, records: list[Record], schema: Any) -> Any:
    columns = []
    for field in schema:
        values: Any = [record[field.name] for record in records]
        if field.name in _AS_JSON[kind]:
            values = [json.dumps(value, ensure_ascii=True, allow_nan=False) for value in values]
        if field.name == "vector" and not arrow.types.is_null(field.type):
            flat = arrow.array(np.concatenate(values), arrow.float32())
            columns.append(arrow.FixedSizeListArray.from_arrays(flat, type=field.type))
        else:
            columns.append(arrow.array(values, field.type))
    return arrow.Table.from_arrays(columns, schema=schema)


@contextmanager
def read_tables(folder: Path) -> Iterator[tuple[Record, Iterator[tuple[str, Record]]]]:
    """The header, and the records in the order of a JSON Lines file.

    Raises:
        MissingExtra: pyarrow is not installed.
        StoreError: a table is missing, damaged or of other columns.
        OSError: it cannot be read.
    """
    arrow = _arrow()
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a folder of Parquet tables; for JSON Lines, name a file that ends in .jsonl")
    with ExitStack() as files, _arrow_errors(arrow, folder):
        tables = {
            kind: files.enter_context(arrow.parquet.ParquetFile(str(folder / name), memory_map=False))
            for kind, name in _TABLES.items()
            if kind != "picture" or (folder / name).exists()
        }
        about = (tables["chunk"].schema_arrow.metadata or {}).get(_KEY)
        if about is None:
            raise StoreError(f"{folder} was not written by `langbert store export`: chunks.parquet does not say so")
        header = json.loads(about)
        if not isinstance(header, dict):
            raise StoreError(f"{folder}: chunks.parquet has a header that is no object")
        yield header, _records(arrow, folder, tables)


def _records(arrow: Any, folder: Path, tables: dict[str, Any]) -> Iterator[tuple[str, Record]]:
    for kind, table in tables.items():
        batches = table.iter_batches(batch_size=_ROWS.get(kind, _MOST_ROWS))
        while True:
            with _arrow_errors(arrow, folder):
                batch = next(batches, None)
                if batch is None:
                    break
                columns = {name: _values(arrow, kind, name, batch) for name in batch.schema.names}
            for values in zip(*columns.values(), strict=True):
                yield kind, dict(zip(columns, values, strict=True))


def _values(arrow: Any, kind: str, name: str, batch: Any) -> Any:
    column = batch.column(batch.schema.names.index(name))
    if name == "vector" and arrow.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    values = column.to_pylist()
    if name in _AS_JSON[kind]:
        return [json.loads(value) for value in values]
    return values


@contextmanager
def _arrow_errors(arrow: Any, folder: Path) -> Iterator[None]:
    try:
        yield
    except (arrow.ArrowException, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, OSError):
            raise
        raise StoreError(f"{folder} is damaged, or was not written by `langbert store export`: {error}") from error
