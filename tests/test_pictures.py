"""Figures bound to their captions, and the second vector space in which words find pictures and pictures passages."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pdf_tools import one_page
from store_tools import HashEmbedder, LineChunker

from langbert import Document, ImageEmbedder, Store, sync
from langbert.documents import Cutting, Picture, Workers, figures, read_document
from langbert.errors import CheckpointError, DocumentError, StoreError, StoreMismatch

Image = pytest.importorskip("PIL.Image")

RED, BLUE = (220, 20, 20), (20, 20, 220)


def made_clip(folder: Path, seed: int) -> Path:
    """A CLIP of transformers' own, tiny and of random weights, with a tokenizer of single bytes."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(seed)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    letters = [*map(chr, range(33, 127)), "Ġ"]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    last = len(pieces) - 1
    text = {
        **small,
        "vocab_size": len(pieces),
        "max_position_embeddings": 16,
        "eos_token_id": last,
        "bos_token_id": last - 1,
    }
    vision = {**small, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ImageEmbedder:
    return ImageEmbedder(made_clip(tmp_path_factory.mktemp("models") / "clip", 0), device="cpu")


def png(colour: tuple[int, int, int], size: tuple[int, int] = (48, 40)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def report(file: Path) -> Path:
    """A PDF page: a red figure over its caption, prose, a blue figure below its caption, and no figure for a third."""

    def words(x: int, y: int, text: str) -> str:
        return f"BT /F1 10 Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET"

    drawn = [
        "0.86 0.08 0.08 rg 72 650 300 120 re f",
        words(72, 632, "Figure 1: Honey gathered in every month of the year."),
        *(words(72, 590 - 14 * n, f"Prose that says a good deal of bees, line {n} of many.") for n in range(6)),
        words(72, 470, "Figure 2. The way of a river through the valley."),
        "0.08 0.08 0.86 rg 72 330 300 120 re f",
        *(words(72, 250 - 14 * n, f"More prose, about nothing in particular, line {n}.") for n in range(6)),
        words(72, 120, "Figure 3: Nothing is drawn here at all."),
        words(72, 90, "Figure 2 shows the river, which is a sentence and no caption."),
    ]
    file.write_bytes(one_page("\n".join(drawn)))
    return file


def test_cut_where_files_are_read_or_not_at_all(tmp_path: Path) -> None:
    file = report(tmp_path / "report.pdf")
    document = read_document(file)
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    task = Cutting.of(replace(document, metadata={**document.metadata, "sha256": digest}))
    workers = Workers(1)
    try:
        assert list(workers.submit(task).result().pictures) == figures(data, document)
        assert "has changed" in workers.submit(replace(task, digest="0" * 64)).result().reason
        assert workers.submit(replace(task, path=str(tmp_path / "none.pdf"))).result().reason
    finally:
        workers.close()


def share(picture: Picture, colour: tuple[int, int, int]) -> float:
    with Image.open(io.BytesIO(picture.png)) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    return float((np.abs(pixels - colour).max(axis=2) < 30).mean())


def test_a_figure_is_what_is_drawn_beside_its_caption(tmp_path: Path) -> None:
    file = report(tmp_path / "report.pdf")
    document = read_document(file)
    found = figures(file.read_bytes(), document)
    assert [one.caption[:9] for one in found] == ["Figure 1:", "Figure 2."]
    assert all(document.text[one.start : one.end] == one.caption and one.page == 1 for one in found)
    assert share(found[0], RED) > 0.85
    assert share(found[0], BLUE) == 0
    assert share(found[1], BLUE) > 0.85
    assert share(found[1], RED) == 0
    assert found[0]._repr_png_().startswith(b"\x89PNG")


def test_texts_and_pictures_lie_in_one_space(clip: ImageEmbedder) -> None:
    pictures = clip.embed_images([png(RED), png(BLUE), png(RED)])
    texts = clip.embed_texts(["honey", "a river " * 40, "蜂蜜"])  # cut off; unknown to this tokenizer
    assert pictures.shape == texts.shape == (3, clip.space.dimension) == (3, 24)
    np.testing.assert_allclose(np.linalg.norm([*pictures, *texts], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(pictures[0], pictures[2], atol=1e-6)
    assert clip.embed_images([]).shape == (0, 24)
    with pytest.raises(DocumentError, match="no picture"):
        clip.embed_images([b"nothing"])


def test_what_transformers_gives(clip: ImageEmbedder) -> None:
    """Against its own functions, called as its documentation does."""
    from transformers import AutoProcessor, CLIPModel

    model, processor = CLIPModel.from_pretrained(clip.name), AutoProcessor.from_pretrained(clip.name, backend="pil")
    with torch.inference_mode(), Image.open(io.BytesIO(png(RED))) as picture:
        told = model(**processor(text=["honey"], images=picture, return_tensors="pt", padding=True))
    np.testing.assert_allclose(clip.embed_images([png(RED)])[0], told.image_embeds[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(clip.embed_texts(["honey"])[0], told.text_embeds[0].numpy(), atol=1e-5)


def test_a_model_of_texts_alone_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=50)
    BertModel(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(CheckpointError, match="BertModel"):
        ImageEmbedder(tmp_path / "bert")


def test_words_find_pictures_and_pictures_find_passages(tmp_path: Path, clip: ImageEmbedder) -> None:
    report(tmp_path / "report.pdf")
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker(), image_embedder=clip) as store:
        assert sync(tmp_path / "report.pdf", store, workers=1).added == 1
        assert len(store.pictures) == 2
        honey, river = sorted((one.picture for one in store.pictures.search("figure")), key=lambda one: one.start)
        assert store.pictures.search("honey gathered in every month", 1)[0].picture == honey
        again = store.pictures.search(river.png)
        assert again[0].picture == river
        assert again[0].score == 1
        assert len(again) == 2
        passages = store.pictures.passages(river.png, 5)
        assert passages[0].text.startswith("Figure 2. The way of a river")
        assert len(passages) == 5
        assert store.pictures.of(river.document_id, river.start, river.end) == [river]
        assert store.pictures.get([honey.id, "none"]) == [honey]
    with Store.open(tmp_path / "s", read_only=True) as store:  # what is stored is shown without the models
        assert len(store.pictures.of(honey.document_id)) == 2
        with pytest.raises(StoreError, match="image_embedder="):
            store.pictures.search("honey")


def test_a_picture_counts_while_its_document_is_what_it_was(clip: ImageEmbedder) -> None:
    text = "Figure 1: Honey."
    with Store.open(None, embedder=HashEmbedder(), chunker=LineChunker(), image_embedder=clip) as store:
        store.add([Document("a", text), Document("b", text)])
        taken = Picture("a:0", "a", png(RED), text, 0, len(text))
        store.pictures.add([taken, replace(taken, id="b:0", document_id="b")])
        assert [one.picture.id for one in store.pictures.search(png(RED))] == ["a:0", "b:0"]
        store.add([Document("a", "Figure 1: Wax.")])
        store.delete(["b"])
        assert len(store.pictures) == 0
        assert store.pictures.search("honey") == [] == store.pictures.passages(png(RED))
        with pytest.raises(StoreError, match="add the document first"):
            store.pictures.add([taken])


def test_pictures_of_two_models_never_mix(tmp_path: Path, clip: ImageEmbedder) -> None:
    other = ImageEmbedder(made_clip(tmp_path / "other", 1), device="cpu")
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker(), image_embedder=clip) as store:
        store.add([Document("a", "Figure 1: Honey.")])
        store.pictures.add([Picture("a:0", "a", png(RED), "Figure 1", 0, 8)])
    with (
        Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker(), image_embedder=other) as store,
        pytest.raises(StoreMismatch, match="weights"),
    ):
        store.pictures.search("honey")
