"""Who turns PDFs into vectors: langbert, and the scripts that Daft published for Ray and for itself, rebuilt.

Theirs: text of each page, pieces of 2,048 characters with 200 in common, batches of ten through sentence-transformers,
which reads 256 tokens of a piece; path, page, piece and vector as Parquet. Instead of GPUs there are cores, instead of
PyMuPDF PDFium, which langbert reads with too. Their ``model.compile()`` is left out: on a core it saves 6 %, and takes
20 s of each worker first.

``python -m benchmarks.scale.pdf_contenders NAME WORKERS PDFS OUT MODEL`` runs one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SIZE, OVERLAP, BATCH, DIMENSION, MAX_LENGTH = 2048, 200, 10, 384, 256


def pages_of(data: bytes) -> list[dict[str, Any]]:
    import pypdfium2

    with pypdfium2.PdfDocument(data) as pdf:
        found = []
        for number, page in enumerate(pdf):
            text = page.get_textpage()
            found.append({"text": text.get_text_range(), "page_number": number})
            text.close()
            page.close()
    return found


def pieces_of(text: str) -> list[dict[str, Any]]:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    pieces = RecursiveCharacterTextSplitter(chunk_size=SIZE, chunk_overlap=OVERLAP).split_text(text)
    return [{"text": piece, "chunk_id": number} for number, piece in enumerate(pieces)]


def encoder_of(model: str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(model, device="cpu")


class RayEncoder:
    def __init__(self, model: str) -> None:
        self._model = encoder_of(model)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "embedding": self._model.encode(list(batch["chunk"]))}


def ray_pieces(workers: int, pdfs: Path) -> Any:
    """Of each page: what Ray's script and langbert's ``embed`` have in common."""
    import ray

    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def pages(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for page in pages_of(row.pop("bytes")):
            yield {**row, "page_text": page["text"], "page_number": page["page_number"]}

    def pieces(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for piece in pieces_of(row["page_text"]):
            yield {**row, "chunk": piece["text"], "chunk_id": piece["chunk_id"]}

    return ray.data.read_binary_files(str(pdfs), include_paths=True).flat_map(pages).flat_map(pieces)


def ray_written(dataset: Any, out: Path) -> None:
    dataset.select_columns(["path", "page_number", "chunk_id", "chunk", "embedding"]).write_parquet(str(out))


def by_ray(workers: int, pdfs: Path, out: Path, model: str) -> None:
    embedded = ray_pieces(workers, pdfs).map_batches(
        RayEncoder, fn_constructor_args=(model,), concurrency=workers, num_cpus=0, batch_size=BATCH
    )
    ray_written(embedded, out)


def by_embed(precision: str) -> Callable[[int, Path, Path, str], None]:
    def run(workers: int, pdfs: Path, out: Path, model: str) -> None:
        from langbert_scale import embed

        options = {"precision": precision, "max_length": MAX_LENGTH, "on_overflow": "truncate"}
        pieces = ray_pieces(workers, pdfs)
        ray_written(embed(pieces, model=model, column="chunk", to="embedding", concurrency=workers, **options), out)

    return run


def by_index(precision: str) -> Callable[[int, Path, Path, str], None]:
    def run(workers: int, pdfs: Path, out: Path, model: str) -> None:
        from langbert import Embedder
        from langbert_scale import index

        report = index(pdfs, out, embedder=Embedder(model, threads=1), concurrency=workers, precision=precision)
        assert not report.skipped, report.skipped

    return run


def by_daft(workers: int, pdfs: Path, out: Path, model: str) -> None:
    import daft
    from daft import DataType, col

    daft.set_runner_native(num_threads=workers)  # Daft's own for one machine; the script's is Ray

    @daft.cls(max_concurrency=workers, use_process=True)
    class Encoder:
        def __init__(self) -> None:
            self.model = encoder_of(model)

        @daft.method.batch(return_dtype=DataType.fixed_size_list(DataType.float32(), DIMENSION), batch_size=BATCH)
        def encode(self, texts: Any) -> Any:
            return self.model.encode(texts.to_pylist())

    def many(**fields: DataType) -> DataType:
        return DataType.list(DataType.struct(fields))

    pages = many(text=DataType.string(), page_number=DataType.int64())
    pieces = many(text=DataType.string(), chunk_id=DataType.int64())
    table = daft.from_glob_path(f"{pdfs}/*.pdf").with_column("data", col("path").download())
    table = table.with_column("page", col("data").apply(pages_of, return_dtype=pages)).explode("page")
    table = table.with_columns({"page_text": col("page")["text"], "page_number": col("page")["page_number"]})
    table = table.with_column("piece", col("page_text").apply(pieces_of, return_dtype=pieces)).explode("piece")
    table = table.with_columns({"chunk": col("piece")["text"], "chunk_id": col("piece")["chunk_id"]})
    table = table.where(col("chunk").not_null()).with_column("embedding", Encoder().encode(col("chunk")))
    table.select("path", "page_number", "chunk_id", "chunk", "embedding").write_parquet(str(out))


CONTENDERS: dict[str, Callable[[int, Path, Path, str], None]] = {
    "Ray's script": by_ray,
    "Daft's script": by_daft,
    "langbert_scale.embed, float32": by_embed("float32"),
    "langbert_scale.embed, int8": by_embed("int8"),
    "langbert index --ray, float32": by_index("float32"),
    "langbert index --ray, int8": by_index("int8"),
}

if __name__ == "__main__":
    name, workers, pdfs, out, model = sys.argv[1:]
    CONTENDERS[name](int(workers), Path(pdfs), Path(out), model)
