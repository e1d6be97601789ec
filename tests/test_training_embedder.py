"""Embedders: losses against sentence-transformers, cached gradients, every objective through the loop on real text."""

from __future__ import annotations

import json
import random
import re
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as theirs
from sentence_transformers.util import pairwise_cos_sim
from store_tools import HashEmbedder
from tokenizers import normalizers, pre_tokenizers
from torch import Tensor, nn

from langbert import Chunk, Chunker, Embedder, Reranker
from langbert.documents import read_documents
from langbert.errors import CheckpointError, DataError
from langbert.models.bert.checkpoint import bert_table, unparse_config
from langbert.models.bert.heads import SentenceEncoder
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.json_files import write_json
from langbert.models.files.weights import read_tensors, save_tensors
from langbert.models.layers.pooling import AttentionPooling, Pooling
from langbert.records import Generation, Message
from langbert.training.contrastive import (
    cosent_loss,
    cosine_loss,
    list_scores,
    listwise_loss,
    margin_loss,
    matryoshka,
    ranking_loss,
)
from langbert.training.embedder import EmbedderTask
from langbert.training.embedder_data import (
    RankingData,
    RankingRow,
    objective_for,
    question_set,
    read_ranking,
    read_texts,
    with_mined,
)
from langbert.training.loop import run
from langbert.training.mining import mine_negatives
from langbert.training.objectives import Teacher
from langbert.training.questions import make_questions, usable_question
from langbert.training.settings import LoraSettings, TrainSettings
from langbert.training.text_vectors import encode_in_chunks
from langbert.training.tsdae import delete_words

TINY = {"hidden_size": 48, "n_layers": 1, "n_heads": 2, "intermediate_size": 96, "max_positions": 64}
QUICK = TrainSettings(
    epochs=3, batch_size=24, learning_rate=2e-3, warmup=0.1, save_every=0, precision="float32", dropout=0.0
)


@pytest.fixture(scope="session")
def everything(documents_folder: Path) -> list[tuple[str, str]]:
    """Headings of PEPs and what stands under them, mixed."""
    chunker = Chunker(lambda text: [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)], 100)
    documents = read_documents(sorted(documents_folder.glob("*.rst")))
    found = {
        chunk.text: chunk.headings[-1]
        for document in documents
        for chunk in chunker.split(document)
        if len(chunk.headings) > 1 and len(chunk.text.split()) > 20
    }
    return random.Random(0).sample([(heading, text) for text, heading in found.items()], 700)


@pytest.fixture(scope="session")
def sections(everything: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return everything[:200]


@pytest.fixture(scope="session")
def tiny(sections: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights and a vocabulary of PEP and Chinese words, as a folder."""
    folder = tmp_path_factory.mktemp("tiny")
    # counted, not trained: the tokenizers' trainer breaks ties differently in every process
    split, normalised = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()
    texts = [f"{heading} {text}" for heading, text in sections] + CHINESE
    words = Counter(word for text in texts for word, _ in split.pre_tokenize_str(normalised.normalize_str(text)))
    common = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))][:1200]
    letters = sorted(set("".join(words)))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *common]
    vocabulary = list(dict.fromkeys(pieces))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = BertConfig(vocab_size=len(vocabulary), **TINY)  # type: ignore[arg-type]
    torch.manual_seed(0)
    write_json(unparse_config(config), folder / "config.json")
    save_tensors(bert_table(config).to_theirs(Bert(config).state_dict()), folder / "model.safetensors")
    return folder


CHINESE = ["蜜蜂用花蜜酿造蜂蜜。", "莱茵河流入北海。", "诺曼人住在诺曼底。", "多瑙河流入黑海。", "蜂蜡由幼蜂制造。"]


def lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def questions(file: Path, pairs: list[tuple[str, str]]) -> Path:
    return lines(file, [{"query": heading, "positive": text} for heading, text in pairs])


@pytest.fixture
def asked(sections: list[tuple[str, str]], tmp_path: Path) -> Path:
    return questions(tmp_path / "asked.jsonl", sections)


def vectors(*shape: int, seed: int = 0) -> Tensor:
    """In float64, so that 1e-6 says something of sums, too."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_ranking_is_what_sentence_transformers_computes() -> None:
    queries, positives, negatives = (vectors(6, 16, seed=i) for i in range(3))
    expected = theirs.MultipleNegativesRankingLoss(SentenceTransformer(modules=[nn.Identity()]))
    for docs in ([positives], [positives, negatives]):
        reference = expected.compute_loss_from_embeddings([queries, *docs], torch.empty(0))
        assert abs(ranking_loss(queries, torch.cat(docs), torch.arange(6)) - reference) < 1e-6


def test_ranking_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0]])
    passages = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # cosines 1 and 0
    assert ranking_loss(queries, passages, torch.tensor([0]), scale=1.0).item() == pytest.approx(0.31326, abs=1e-5)
    only = torch.tensor([[True, False]])
    assert ranking_loss(queries, passages, torch.tensor([0]), only).item() == 0


def test_similarity_is_what_sentence_transformers_computes() -> None:
    first, second = vectors(8, 16, seed=0), vectors(8, 16, seed=1)
    scores = torch.tensor([0.0, 0.2, 0.2, 0.5, 0.5, 0.9, 1.0, 0.1], dtype=torch.float64)
    model = SentenceTransformer(modules=[nn.Identity()])
    for ours, reference in ((cosine_loss, theirs.CosineSimilarityLoss), (cosent_loss, theirs.CoSENTLoss)):
        expected = reference(model).compute_loss_from_embeddings([first, second], scores)
        assert abs(ours(first, second, scores) - expected) < 1e-6  # theirs rounds the scores to float32


def test_distillation_is_what_sentence_transformers_computes() -> None:
    queries, passages = vectors(4, 16), vectors(12, 16, seed=1)
    lists = torch.arange(12).view(3, 4).T  # the first four passages are the right ones
    teacher = vectors(4, 3, seed=2) * 5
    model = SentenceTransformer(modules=[nn.Identity()])
    scaled: Callable[[Tensor, Tensor], Tensor] = lambda a, b: 20 * pairwise_cos_sim(a, b)  # noqa: E731
    columns = [queries, *passages.split(4)]
    scores = list_scores(queries, passages, lists)
    margins = theirs.MarginMSELoss(model, scaled).compute_loss_from_embeddings(columns, teacher)
    divergence = theirs.DistillKLDivLoss(model, scaled).compute_loss_from_embeddings(columns, teacher)
    assert margin_loss(scores, teacher).item() == pytest.approx(margins.item(), rel=1e-6)
    assert listwise_loss(scores, teacher).item() == pytest.approx(divergence.item(), rel=1e-6)


def test_matryoshka_is_what_sentence_transformers_computes() -> None:
    class Given(nn.Module):
        """A model whose vectors are given, for the decorator that cuts them."""

        def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
            return features

        def get_embedding_dimension(self) -> int:
            return 16

    queries, positives = vectors(6, 16), vectors(6, 16, seed=1)
    model: Any = Given()
    reference = theirs.MatryoshkaLoss(model, theirs.MultipleNegativesRankingLoss(model), [16, 8, 4])
    expected = reference([{"sentence_embedding": queries}, {"sentence_embedding": positives}], torch.empty(0))
    ours = matryoshka(lambda q, p: ranking_loss(q, p, torch.arange(6)), [queries, positives], (16, 8, 4))
    assert abs(ours - expected) < 1e-6


# --- the gradient cache -----------------------------------------------------------------------------------------------


def tiny_network(pooling: Pooling = Pooling.MEAN) -> SentenceEncoder:
    torch.manual_seed(0)
    bert = Bert(BertConfig(vocab_size=60, dropout=0.0, attention_dropout=0.0, **TINY))  # type: ignore[arg-type]
    pooler, bert.pooler = bert.pooler, None
    weights = AttentionPooling(TINY["hidden_size"]) if pooling is Pooling.ATTENTION else None
    return SentenceEncoder(bert, pooling, pooler=pooler if pooling is Pooling.POOLER else None, token_weights=weights)


def text_batch(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 20, (n,), generator=rng)
    mask = (torch.arange(20) < lengths[:, None]).long()
    return torch.randint(5, 60, (n, 20), generator=rng) * mask, mask


def gradients(network: nn.Module) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


@pytest.mark.parametrize("size", [1, 5, 16])
def test_cached_gradients_are_those_of_the_whole_batch(size: int) -> None:
    network = tiny_network().double().train()
    results = []
    for chunk in (0, size):
        queries = encode_in_chunks(network, *text_batch(16), chunk)
        passages = encode_in_chunks(network, *text_batch(16, seed=1), chunk)
        loss = ranking_loss(queries, passages, torch.arange(16))
        loss.backward()
        results.append((loss.item(), gradients(network)))
    (plain, expected), (cached, found) = results
    assert cached == pytest.approx(plain, abs=1e-6)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() < 1e-6, name


def test_cached_gradients_see_the_same_dropout_twice() -> None:
    """Were the second pass to draw other masks, the gradient would not be that of the loss."""
    network = tiny_network().train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    ids, mask = text_batch(8)

    def loss_and_direction(step: float) -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            table = network.encoder.get_parameter("embeddings.tokens.weight")
            table += step * direction
        loss = encode_in_chunks(network, ids, mask, 3).square().sum()
        with torch.no_grad():
            table -= step * direction
        return loss.item()

    direction = vectors(60, TINY["hidden_size"], seed=4).float()
    torch.manual_seed(1)
    encode_in_chunks(network, ids, mask, 3).square().sum().backward()
    slope = (gradients(network)["encoder.embeddings.tokens.weight"] * direction).sum().item()
    measured = (loss_and_direction(1e-3) - loss_and_direction(-1e-3)) / 2e-3
    assert measured == pytest.approx(slope, rel=0.02)


def test_the_cache_holds_the_activations_of_one_chunk() -> None:
    class Spy(nn.Module):
        """Counts the rows whose activations are alive."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(vectors(8, 8).float())
            self.alive = self.most = 0

        def forward(self, token_ids: Tensor, mask: Tensor) -> Tensor:
            activations = torch.exp(token_ids[:, :8].float() @ self.weight / 100)  # exp keeps its output for backward
            rows = len(activations)
            self.alive += rows
            self.most = max(self.most, self.alive)
            weakref.finalize(activations.untyped_storage(), self.gone, rows)
            return activations.square().sum(1, keepdim=True)

        def gone(self, rows: int) -> None:
            self.alive -= rows

    most = {}
    for size in (0, 4):
        spy = Spy()
        encode_in_chunks(spy, *text_batch(32), size).sum().backward()
        most[size] = spy.most
    assert most[0] == 32
    assert most[4] <= 8


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", list(Pooling))
def test_padding_and_neighbours_do_not_change_a_vector(pooling: Pooling) -> None:
    network = tiny_network(pooling).eval()
    ids, mask = text_batch(6)
    together = network(ids, mask)
    for i in range(6):
        n = int(mask[i].sum())
        assert torch.allclose(network(ids[i : i + 1, :n], mask[i : i + 1, :n])[0], together[i], atol=1e-5)


# --- data -------------------------------------------------------------------------------------------------------------


def test_the_data_decides_the_objective(tmp_path: Path) -> None:
    def chosen(row: dict[str, Any], **kwargs: bool) -> str:
        return objective_for(lines(tmp_path / "data.jsonl", [row]), **kwargs)

    assert chosen({"query": "a", "positive": "b"}) == "ranking"
    assert chosen({"question": "a", "positive": "b"}, teacher=True) == "distill"
    assert chosen({"query": "a", "positive": "b", "negatives": ["c"], "scores": [1, 0]}) == "distill"
    assert chosen({"text": "a", "pair": "b", "score": 1}) == "similarity"
    assert chosen({"text": "a"}) == "tsdae"
    assert objective_for(tmp_path) == "tsdae"
    assert objective_for(tmp_path, questions=True) == "ranking"
    assert objective_for("train.json") == "ranking"
    with pytest.raises(DataError, match=r"data\.jsonl:1: expected .* got answer, label"):
        chosen({"label": 1, "answer": "b"})
    (tmp_path / "data.jsonl").write_text('\n\n{"label": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.jsonl:3: expected"):
        objective_for(tmp_path / "data.jsonl")


@pytest.mark.parametrize(
    ("row", "options", "complaint"),
    [
        ({"query": "a"}, {"objective": "ranking"}, r"data\.jsonl:2: expected .*positive.*got \{.query"),
        ({"query": "a", "positive": " "}, {}, r"data\.jsonl:2: expected"),
        ({"query": "a", "positive": "b", "negatives": "c"}, {}, r"data\.jsonl:2: expected"),
        ({"query": "a", "positive": "b", "negatives": ["c"], "scores": [1]}, {}, r"data\.jsonl:2: .*each negative"),
        ({"text": "a", "pair": "b", "score": 4}, {"objective": "similarity"}, r"data\.jsonl:2: .*divide STS"),
        ({"text": "a", "pair": "b"}, {"objective": "similarity"}, r"data\.jsonl:2: expected"),
        ({"query": "a", "positive": "b"}, {"objective": "distill"}, "no wrong passages"),
        ({"query": "a", "positive": "b", "negatives": ["c"]}, {"objective": "distill"}, "no scores for 'a'"),
    ],
)
def test_unusable_data_is_named(
    tmp_path: Path, tiny: Path, row: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    good = {"text": "x", "pair": "y", "score": 1} if options.get("objective") == "similarity" else {}
    file = lines(tmp_path / "data.jsonl", [good or {"query": "x", "positive": "y"}, row])
    with pytest.raises(DataError, match=complaint):
        EmbedderTask(file, base=tiny, holdout=0, **options)


def test_options_out_of_range_are_refused(tmp_path: Path, tiny: Path, asked: Path) -> None:
    with pytest.raises(ValueError, match="'best' is unknown; expected one of ranking"):
        EmbedderTask(asked, base=tiny, objective="best")
    with pytest.raises(ValueError, match="1 to 48"):
        EmbedderTask(asked, base=tiny, matryoshka="48,64")
    with pytest.raises(ValueError, match="up to 64 tokens"):
        EmbedderTask(asked, base=tiny, max_length=65)
    with pytest.raises(DataError, match="has no questions"):
        EmbedderTask(tmp_path, base=tiny, objective="ranking")
    with pytest.raises(DataError, match="no such file"):
        EmbedderTask(tmp_path / "nowhere", base=tiny)
    other = tmp_path / "other"
    other.mkdir()
    write_json({"model_type": "gpt2"}, other / "config.json")
    with pytest.raises(CheckpointError, match="langbert trains BERTs and recurrent networks"):
        EmbedderTask(asked, base=other)


def test_right_passages_are_never_negatives(tmp_path: Path, tiny: Path) -> None:
    rows = [
        {"query": "rivers", "positive": "The Rhine ends in the North Sea.", "negatives": ["Bees make wax."]},
        {"query": "rivers", "positive": "The Danube flows to the Black Sea.", "negatives": ["Bees make wax."]},
        {"query": "the Rhine", "positive": "The Rhine ends in the North Sea.", "negatives": ["The Elbe is long."]},
    ]
    task = EmbedderTask(lines(tmp_path / "data.jsonl", rows), base=tiny, holdout=0)
    batch = task.collate([0, 1, 2], seed=0)
    assert batch["targets"].tolist() == [0, 1, 0]  # one passage, one place
    assert len(batch["token_ids"]) == 3 + 4
    assert batch["allowed"].tolist() == [[True, False, True, True], [False, True, True, True], [True] * 4]


def test_batches_come_from_the_seed_alone(tiny: Path, asked: Path) -> None:
    rows = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()]
    texts = [row["positive"] for row in rows]
    for i, row in enumerate(rows):
        row["negatives"] = [texts[i - 1], texts[i - 2], texts[i - 3]]
    task = EmbedderTask(lines(asked, rows), base=tiny, hard=2, title_dropout=0.5)
    first, again, other = (task.collate(range(0, 60, 6), seed=seed) for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["token_ids"].shape != other["token_ids"].shape or not first["token_ids"].equal(other["token_ids"])


def test_held_out_passages_are_not_learned_from(tiny: Path, asked: Path) -> None:
    task = EmbedderTask(asked, base=tiny, holdout=0.2)
    objective: Any = task._objective
    learned, held = ({row.positive for row in rows} for rows in (objective.rows, objective._held))
    assert held
    assert not learned & held
    assert len(learned) + len(held) == len(objective._data.passages)


def test_mined_negatives_are_those_of_the_data(tmp_path: Path, tiny: Path, asked: Path) -> None:
    embedder = Embedder(tiny, pooling="mean", threads=1)
    data = read_ranking(asked)
    file = mine_negatives(question_set(data), embedder, tmp_path / "mined.jsonl", limit=20)
    mined = with_mined(data, file, hardest=3)
    near = [row for row in mined.rows if row.negatives]
    assert len(near) == 20
    assert all(len(row.negatives) == 3 and row.positive not in row.negatives for row in near)
    file.write_text('{"id": "q0", "negatives": ["p99999"]}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"mined\.jsonl:1: .*mined from this very data"):
        with_mined(data, file, hardest=3)


# --- every objective, through the loop --------------------------------------------------------------------------------


def same_everywhere(folder: Path, texts: list[str], **options: Any) -> Embedder:
    """Ours and sentence-transformers' vectors of a trained folder agree."""
    ours = Embedder(folder, precision="float32", threads=1)
    reference = SentenceTransformer(str(folder), device="cpu").encode(texts)
    assert np.allclose(ours.embed(texts), reference, atol=1e-5)
    return ours


def trained(
    task: EmbedderTask, output: Path, settings: TrainSettings = QUICK
) -> tuple[Path, list[float], float, float]:
    """The folder, the losses, and the metric before and after."""
    with torch.no_grad():
        before = task.evaluate(task.network.eval(), torch.device("cpu"))[task.metric]
    found: list[float] = []
    report = run(task, output, settings, watch=lambda step: found.append(step.loss))
    return report.folder, found, before, report.metrics[task.metric]


@pytest.mark.parametrize("options", [{}, {"matryoshka": "24,12", "mini_batch": 8, "pooling": "attention"}])
def test_ranking_learns(tmp_path: Path, tiny: Path, everything: list[tuple[str, str]], options: dict[str, Any]) -> None:
    task = EmbedderTask(
        questions(tmp_path / "asked.jsonl", everything), base=tiny, holdout=0.2, max_length=32, **options
    )
    folder, found, before, after = trained(task, tmp_path / "run", replace(QUICK, epochs=5))
    assert sum(found[-5:]) < 0.75 * sum(found[:5])
    assert after > before + 0.1
    texts = ["What a generator yields", "短い", "x " * 100]
    if options:
        assert Embedder(folder, dimensions=12).pooling is Pooling.ATTENTION
    else:
        same_everywhere(folder, texts[:2])


def test_a_layer_learns_behind_an_encoder_that_stays(tmp_path: Path, tiny: Path, asked: Path) -> None:
    settings = EmbedderTask.settings_for({"objective": "linear"})
    assert settings.lora is None
    task = EmbedderTask(asked, base=tiny, objective="linear", holdout=0.2)
    folder, found, before, after = trained(task, tmp_path / "run", settings)
    assert found[-1] < found[0] - 0.1  # of random states; it falls steadily, by 0.16 in all
    assert after > before
    was, now = (read_tensors(place / "model.safetensors") for place in (tiny, folder))
    table = "embeddings.word_embeddings.weight"
    assert all(torch.equal(was[name], now[name]) for name in now if name in was)
    assert table in now
    same_everywhere(folder, ["What a generator yields", "短い"])


def test_adapters_are_merged_when_saved(tmp_path: Path, tiny: Path, asked: Path) -> None:
    task = EmbedderTask(asked, base=tiny, holdout=0.1, pooling="pooler", query_prompt="query: ")
    settings = replace(QUICK, max_steps=4, lora=LoraSettings(rank=4))
    folder, *_ = trained(task, tmp_path / "run", settings)
    assert not (folder / "adapter_config.json").exists()
    ours = same_everywhere(folder, ["What a generator yields", "Abstract"])
    assert ours.pooling is Pooling.POOLER
    before = Embedder(tiny, pooling="pooler", threads=1, precision="float32").embed(["Abstract"])
    assert not np.allclose(ours.embed(["Abstract"]), before, atol=1e-3)
    assert "query: " in (folder / "config_sentence_transformers.json").read_text()


@pytest.mark.parametrize("kind", ["cosine", "cosent"])
def test_similarity_learns(tmp_path: Path, tiny: Path, sections: list[tuple[str, str]], kind: str) -> None:
    """A text against itself with words of another in it, all shuffled: the score is how many of them are its own."""
    rng = random.Random(0)
    rows = []
    for _ in range(400):
        own, other = (text.split()[:24] for _, text in rng.sample(sections, 2))
        n = min(len(own), len(other))
        share = rng.random()
        mixed = own[: round(share * n)] + other[round(share * n) : n]
        rng.shuffle(mixed)
        rows.append({"text": " ".join(own[:n]), "pair": " ".join(mixed), "score": round(share, 2)})
    file = lines(tmp_path / "pairs.jsonl", rows)
    task = EmbedderTask(file, base=tiny, similarity=kind, holdout=0.2, max_length=32)
    assert (task.objective, task.metric) == ("similarity", "spearman")
    folder, found, before, after = trained(task, tmp_path / "run", replace(QUICK, epochs=4))
    assert sum(found[-5:]) < 0.95 * sum(found[:5])
    assert after > before + 0.02
    same_everywhere(folder, ["What a generator yields", "Beautiful is better than ugly."])


@pytest.mark.parametrize(
    ("settings", "gain"),
    [
        (replace(QUICK, epochs=4, learning_rate=1e-2), 1.0),
        (replace(QUICK, max_steps=3, lora=LoraSettings(rank=4)), 0.0),
    ],
    ids=["all weights", "adapters"],
)
def test_tsdae_learns(tmp_path: Path, tiny: Path, documents_folder: Path, settings: TrainSettings, gain: float) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("pep-0008.rst", "pep-0020.rst"):
        (folder / name).write_bytes((documents_folder / name).read_bytes())
    (folder / "蜜蜂.txt").write_text("".join(CHINESE), encoding="utf-8")
    task = EmbedderTask(folder, base=tiny, holdout=0.1, max_length=32)
    assert (task.objective, task.metric, task.higher_is_better) == ("tsdae", "reconstruction", False)
    saved, _, before, after = trained(task, tmp_path / "run", settings)
    assert after < before - gain
    assert not [name for name in read_tensors(saved) if "decoder" in name]
    same_everywhere(saved, ["Beautiful is better than ugly."])


def test_distillation_learns_given_scores(tmp_path: Path, tiny: Path, sections: list[tuple[str, str]]) -> None:
    rng = random.Random(0)
    rows = []
    for heading, text in sections[:120]:
        negatives = [rng.choice(sections)[1] for _ in range(3)]
        rows.append({"query": heading, "positive": text, "negatives": negatives, "scores": [4.0, -3.0, -2.0, -4.0]})
    file = lines(tmp_path / "scored.jsonl", rows)
    for kind in ("margin", "listwise"):
        task = EmbedderTask(file, base=tiny, distillation=kind, hard=2, holdout=0.1)
        assert task.objective == "distill"
        _, found, *_ = trained(task, tmp_path / kind)
        assert sum(found[-5:]) < 0.8 * sum(found[:5])


@pytest.fixture(scope="session")
def tiny_reranker(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    """A cross-encoder with random weights, whose scores differ."""
    folder = tmp_path_factory.mktemp("reranker")
    torch.manual_seed(0)
    config = transformers.BertConfig.from_pretrained(tiny, num_labels=1, initializer_range=0.5)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_bytes((tiny / "vocab.txt").read_bytes())
    return Reranker(folder, precision="float32", threads=1)


def test_a_teacher_gives_the_scores_the_data_lacks(
    tmp_path: Path, tiny: Path, sections: list[tuple[str, str]], tiny_reranker: Reranker
) -> None:
    texts = [text for _, text in sections]
    rows = [{"query": q, "positive": p, "negatives": [texts[i - 1]]} for i, (q, p) in enumerate(sections[:30])]
    file = lines(tmp_path / "data.jsonl", rows)
    task = EmbedderTask(file, base=tiny, teacher=tiny_reranker.name, holdout=0)
    assert task.objective == "distill"
    batch = task.collate([0, 5], seed=0)
    teacher = Reranker(tiny_reranker.name)  # in the same precision: bfloat16 moves random weights' scores at will
    expected = teacher.score(rows[5]["query"], [rows[5]["positive"], texts[4]])
    assert torch.allclose(torch.sigmoid(batch["teacher"][1]), torch.from_numpy(expected), atol=0.02)
    pairs = lines(tmp_path / "pairs.jsonl", [{"text": row["query"], "pair": row["positive"]} for row in rows])
    task = EmbedderTask(pairs, base=tiny, teacher=tiny_reranker.name, holdout=0)
    scores = task.collate([0, 1, 2], seed=0)["scores"]
    assert scores.std() > 0
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_a_teacher_reads_a_pair_once(tiny_reranker: Reranker) -> None:
    teacher = Teacher(tiny_reranker)
    first = teacher.logits("What is a generator?", ["a function", "a bird", "a function"])
    assert first[0] == first[2] != first[1]
    read = tiny_reranker._scorer
    try:
        tiny_reranker._scorer = None  # type: ignore[assignment]
        assert teacher.logits("What is a generator?", ["a bird"]) == first[1:2]
    finally:
        tiny_reranker._scorer = read


def test_words_are_deleted_whole() -> None:
    words = [0, 0, 1, 2, 2, 2, 3, 4, 4, 5]
    ids = list(range(10))
    lengths = []
    for seed in range(200):
        kept = delete_words(ids, words, 0.6, random.Random(seed))
        lengths.append(len({words[i] for i in kept}))
        assert kept == sorted(kept)
        assert all((i in kept) == (j in kept) for i in ids for j in ids if words[i] == words[j])
    assert min(lengths) == 1
    assert sum(lengths) / len(lengths) == pytest.approx(0.4 * 6, abs=0.3)
    assert delete_words([], [], 0.6, random.Random(0)) == []


def test_sentences_of_documents_are_learned_from_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The Rhine ends in the North Sea. Yes. " * 2 + "".join(CHINESE), encoding="utf-8")
    (tmp_path / "b.txt").write_text("The Rhine ends in the North Sea.", encoding="utf-8")
    assert read_texts(tmp_path) == ["The Rhine ends in the North Sea.", *CHINESE]


# --- questions made of documents --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Question: How long is the Rhine? It is", "How long is the Rhine?"),
        ("莱茵河有多长？", None),  # of another passage's words
        ("The Rhine is long.", None),
        ("Why not?", None),
        ("What is the purpose of this passage about the Rhine?", None),
        ("How long does it take to print a book?", None),
    ],
)
def test_only_questions_about_the_passage_are_kept(written: str, expected: str | None) -> None:
    assert usable_question(written, "The Rhine is 1,233 km long and ends in the North Sea.") == expected


def test_chinese_questions_are_kept() -> None:
    passage = "莱茵河发源于瑞士，全长1233公里，流入北海。"
    assert usable_question("问题：莱茵河流入哪里？", passage) == "莱茵河流入哪里？"
    assert usable_question("本文讲的是什么？", passage) is None


class Asker:
    """Stands where the decoder stands, and asks for the first words of what it reads."""

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, messages: list[Message], **options: Any) -> Generation:
        self.calls += 1
        first = messages[-1].content.removeprefix("Text: ").split()[:6]
        return Generation(f"What is {' '.join(first)}?", 1, 1, "stop")


def test_a_stopped_run_of_questions_goes_on(tmp_path: Path, sections: list[tuple[str, str]]) -> None:
    passages = [Chunk(str(i), "d", text, headings=(heading,)) for i, (heading, text) in enumerate(sections[:12])]
    whole = make_questions(passages, Asker(), tmp_path / "whole.jsonl")  # type: ignore[arg-type]
    assert whole.read_text(encoding="utf-8").count("\n") >= 8
    file = tmp_path / "stopped.jsonl"
    make_questions(passages[:7], Asker(), file)  # type: ignore[arg-type]
    with file.open("a", encoding="utf-8") as stopped:
        stopped.write('{"query": "What')
    asker, told = Asker(), []
    make_questions(passages, asker, file, progress=told.append)  # type: ignore[arg-type]
    assert file.read_bytes() == whole.read_bytes()
    assert asker.calls < 12
    assert sum(told) == 12
    assert len(read_ranking(file).rows) == whole.read_text(encoding="utf-8").count("\n")


# --- with the real models ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.models
def test_a_few_steps_do_not_break_a_good_embedder(
    tmp_path: Path, minilm: Embedder, sections: list[tuple[str, str]], asked: Path
) -> None:
    task = EmbedderTask(asked, holdout=0.3, max_length=64, matryoshka="128,64")
    settings = replace(EmbedderTask.defaults, max_steps=4, batch_size=12, save_every=0)
    folder, _, before, after = trained(task, tmp_path / "run", settings)
    assert after > before - 0.01
    texts = [text for _, text in sections[:20]]
    ours = Embedder(folder, threads=1)
    cosines = (ours.embed(texts) * minilm.embed(texts)).sum(axis=1)
    assert cosines.min() > 0.9
    assert ours.space.fingerprint != minilm.space.fingerprint
    same_everywhere(folder, ["What a generator yields", "短い"])


@pytest.mark.models
def test_documents_alone_are_enough(tmp_path: Path, documents_folder: Path) -> None:
    """Questions are made, negatives mined, and all is kept."""
    folder = tmp_path / "documents"
    folder.mkdir()
    text = (documents_folder / "pep-0020.rst").read_text(encoding="utf-8")
    for name, start, end in (("abstract", "Long time", "Abstract"), ("zen", "Beautiful", "References")):
        found = text[text.find(start) :]
        (folder / f"{name}.txt").write_text(found[: found.find(end)][:400], encoding="utf-8")
    file = tmp_path / "questions.jsonl"
    task = EmbedderTask(folder, questions=file, holdout=0)
    assert task.objective == "ranking"
    assert len(task) == file.read_text(encoding="utf-8").count("\n") > 0
    made = file.stat().st_mtime_ns
    assert (tmp_path / "questions.negatives.jsonl").is_file()
    EmbedderTask(folder, questions=file, holdout=0)
    assert file.stat().st_mtime_ns == made


def test_mining_that_was_killed_writes_the_half_written_line_again(tmp_path: Path) -> None:
    data = question_set(
        RankingData(
            "facts",
            [("", f"Town {i} lies on river {i} beside hill {i}.") for i in range(5)],
            [RankingRow(f"q{i}", f"On which river lies town {i}?", i) for i in range(5)],
        )
    )
    whole = mine_negatives(data, HashEmbedder(), tmp_path / "whole.jsonl").read_bytes()
    killed = tmp_path / "killed.jsonl"
    killed.write_bytes(whole[: whole.index(b"\n", whole.index(b"\n") + 1) + 20])  # two lines and a bit
    assert mine_negatives(data, HashEmbedder(), killed).read_bytes() == whole
