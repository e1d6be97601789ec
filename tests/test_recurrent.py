"""RNN, GRU and LSTM: formulas by hand, padding that changes nothing, learning, saving, and all that loads them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from langbert import Embedder, Tagger
from langbert.errors import CheckpointError, DataError
from langbert.models.architectures.recurrent import (
    CELLS,
    Cell,
    PreparedRecurrent,
    RecurrentConfig,
    RecurrentEncoder,
    RecurrentTextEncoder,
    load_recurrent,
    parse_recurrent,
    unparse_recurrent,
)
from langbert.models.bert.network import Bert
from langbert.models.encoder import load_encoder
from langbert.models.files.json_files import read_json, write_json
from langbert.models.files.weights import read_tensors, save_tensors
from langbert.models.layers.pooling import Pooling
from langbert.training import train
from langbert.training.architectures import Sizes, new_encoder
from langbert.training.embedder import EmbedderTask
from langbert.training.embedder_data import every_text
from langbert.training.tagger import TaggerTask

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"hidden_size": 32, "vocab_size": 500, "max_length": 48}
QUICK: dict[str, Any] = {"batch_size": 16, "learning_rate": 5e-3, "save_every": 0, "precision": "float32"}


def network(cell: Cell = "lstm", *, seed: int = 0, **changes: Any) -> RecurrentEncoder:
    sizes = {"vocab_size": 60, "embedding_size": 12, "hidden_size": 16, "dropout": 0.0, **changes}
    torch.manual_seed(seed)
    return RecurrentEncoder(RecurrentConfig(cell=cell, **sizes)).eval()


def ids(*lengths: int, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(60) for _ in range(length)] for length in lengths]


# --- arithmetic -------------------------------------------------------------------------------------------------------


def by_hand(model: RecurrentEncoder, sequence: list[int], ending: str = "") -> Tensor:
    """One direction of one layer, step by step, as the papers write it; ``(T, H)``."""
    weights = {name: tensor.detach().double() for name, tensor in model.cells.named_parameters()}
    w, u = weights[f"weight_ih_l0{ending}"], weights[f"weight_hh_l0{ending}"]
    b, c = weights[f"bias_ih_l0{ending}"], weights[f"bias_hh_l0{ending}"]
    state = memory = torch.zeros(u.shape[1], dtype=torch.float64)
    states = []
    for token in sequence:
        x = model.tokens.weight[token].detach().double()
        if model.config.cell == "rnn":
            state = torch.tanh(w @ x + b + u @ state + c)
        elif model.config.cell == "lstm":
            i, f, g, o = (w @ x + b + u @ state + c).chunk(4)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            state = o.sigmoid() * memory.tanh()
        else:
            (r, z, n), (r_h, z_h, n_h) = (w @ x + b).chunk(3), (u @ state + c).chunk(3)
            update = (z + z_h).sigmoid()
            state = (1 - update) * (n + (r + r_h).sigmoid() * n_h).tanh() + update * state
        states.append(state)
    return torch.stack(states)


@pytest.mark.parametrize("cell", CELLS)
def test_states_are_those_of_the_papers_formulas(cell: Cell) -> None:
    model, (sequence,) = network(cell), ids(9)
    forwards = by_hand(model, sequence)
    backwards = by_hand(model, sequence[::-1], "_reverse").flip(0)
    states = PreparedRecurrent(model)([sequence]).double()
    assert (states - torch.cat([forwards, backwards], dim=1)).abs().max() < 1e-6


@pytest.mark.parametrize("cell", CELLS)
def test_one_direction_sees_nothing_that_comes_later(cell: Cell) -> None:
    model, (sequence,) = network(cell, bidirectional=False, n_layers=2), ids(12)
    changed = [*sequence[:8], *((token + 1) % 60 for token in sequence[8:])]
    states, others = PreparedRecurrent(model)([sequence]), PreparedRecurrent(model)([changed])
    assert torch.equal(states[:8], others[:8])
    assert not torch.isclose(states[8:], others[8:]).all(dim=1).any()


def test_forget_gates_begin_open() -> None:
    cells = network("lstm", n_layers=2).cells
    drawn = 8**-0.5  # torch draws biases within 1 / √H
    for name, bias in cells.named_parameters():
        if name.startswith("bias_ih"):
            quarter = len(bias) // 4
            assert (bias[quarter : 2 * quarter] >= 1 - drawn).all()
            assert (torch.cat([bias[:quarter], bias[2 * quarter :]]) <= drawn).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "mlp"}, "cell 'mlp' is unknown; expected one of lstm, gru, rnn"),
        ({"hidden_size": 15}, "hidden_size is 15, expected an even one"),
        ({"n_layers": 0}, "n_layers is 0, expected at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecurrentConfig(**{"vocab_size": 10, **changes})


# --- padding ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    st.sampled_from(sorted(CELLS)),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 14), st.integers(0, 5)), min_size=1, max_size=6),
)
def test_padding_on_any_side_changes_nothing(cell: Cell, both: bool, shapes: list[tuple[int, int]]) -> None:
    """Lengths, zero among them, and how much of the padding stands before the text."""
    model = network(cell, bidirectional=both, n_layers=2)
    sequences = ids(*(length for length, _ in shapes))
    width = max(length + before for length, before in shapes) + 1
    token_ids = torch.full((len(shapes), width), 7)
    mask = torch.zeros(len(shapes), width)
    for i, ((length, before), sequence) in enumerate(zip(shapes, sequences, strict=True)):
        token_ids[i, before : before + length] = torch.tensor(sequence, dtype=torch.int64)
        mask[i, before : before + length] = 1
    states = model(token_ids, mask)
    assert states.shape == (len(shapes), width, 16)
    assert (states[mask == 0] == 0).all()
    alone = [PreparedRecurrent(model)([sequence]) for sequence in sequences]
    assert (states[mask == 1] - torch.cat(alone)).abs().max() < 1e-6 if sum(map(len, sequences)) else True
    assert torch.allclose(PreparedRecurrent(model)(sequences), torch.cat(alone), atol=1e-6)


def test_a_batch_without_padding_needs_no_mask() -> None:
    model = network()
    token_ids = torch.tensor(ids(6, 6))
    assert torch.equal(model(token_ids), model(token_ids, torch.ones_like(token_ids)))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_reach_every_weight_and_the_words_at_both_ends(cell: Cell) -> None:
    model = network(cell, n_layers=2).train()
    sequences = [list(range(1, 21)), list(range(30, 35))]
    token_ids, mask = torch.zeros(2, 20, dtype=torch.int64), torch.zeros(2, 20)
    for i, sequence in enumerate(sequences):
        token_ids[i, : len(sequence)], mask[i, : len(sequence)] = torch.tensor(sequence), 1
    model(token_ids, mask)[:, 2].sum().backward()  # the third token of each hears of all the others
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    words = model.tokens.weight.grad
    assert words is not None
    touched = words.abs().sum(dim=1) > 0
    assert touched[[*range(1, 21), *range(30, 35)]].all()
    assert not touched[0]  # padding


def test_bfloat16_stays_close() -> None:
    model, sequences = network(n_layers=2), ids(30, 12, 5)
    exact, rough = PreparedRecurrent(model)(sequences), PreparedRecurrent(model, dtype=torch.bfloat16)(sequences)
    assert rough.dtype == torch.bfloat16
    assert nn.functional.cosine_similarity(exact, rough.float()).min() > 0.99


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    RecurrentTextEncoder(network("gru", n_layers=2), dtype=torch.float32, device=CPU).save(tmp_path)
    return tmp_path


def test_what_is_saved_is_loaded(saved: Path) -> None:
    encoder = load_encoder(saved, dtype=torch.float32, device=CPU)
    assert encoder.max_length is None
    expected = PreparedRecurrent(network("gru", n_layers=2))(ids(5, 9))
    assert (encoder(ids(5, 9)) - expected).abs().max() < 1e-6
    assert parse_recurrent(unparse_recurrent(network().config)) == network().config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "gru2"}, "cell 'gru2' is unknown"),
        ({"n_layers": True}, "n_layers is True, expected int"),
        ({"bidirectional": 1}, "bidirectional is 1, expected bool"),
        ({"dropout": "much"}, "dropout is 'much', expected float"),
        ({"hidden_size": None}, "hidden_size is None, expected int"),
        ({"n_layers": 10**9}, "announces 1000000000 layers"),
        ({"n_layers": 3}, "missing"),
        ({"cell": "lstm"}, "has shape"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(saved: Path, change: dict[str, Any], message: str) -> None:
    write_json({**read_json(saved / "config.json"), **change}, saved / "config.json")
    with pytest.raises(CheckpointError, match=message):
        load_recurrent(saved)


def test_tensors_are_loaded_strictly(saved: Path) -> None:
    tensors = read_tensors(saved)
    save_tensors({**tensors, "attention.weight": torch.zeros(2)}, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected attention\.weight"):
        load_recurrent(saved)
    save_tensors({k: v for k, v in tensors.items() if k != "cells.bias_hh_l1_reverse"}, saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing cells\.bias_hh_l1_reverse"):
        load_recurrent(saved)


def test_int8_is_not_for_recurrent_networks(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="precision 'int8' is for BERT"):
        load_encoder(saved, dtype=torch.int8, device=CPU)


# --- learning ---------------------------------------------------------------------------------------------------------

THINGS = {
    "honey": ("bees make it", "it is sweet and golden"),
    "rivers": ("water flows to the sea", "boats go up and down"),
    "蜂蜜": ("蜜蜂用花蜜酿造", "它又甜又黄"),
    "castles": ("knights lived behind walls", "a moat and a tower"),
    "planets": ("they circle the sun", "some have rings and moons"),
}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    rows = [
        {"query": f"{how} {thing}", "positive": f"{thing}: {fact}"}
        for thing, facts in THINGS.items()
        for fact in facts
        for how in ("what are", "tell me of", "why", "more about")
    ]
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """Colours, which are told by the word itself, and what stands before a colour, which is told by the next word."""
    rng = random.Random(0)
    lines = []
    for _ in range(200):
        for _ in range(6):
            if rng.random() < 0.5:
                lines += ["very BEFORE", f"{rng.choice(['red', 'blue', '红'])} COLOUR"]
            else:
                lines += ["very O", f"{rng.choice(['big', 'old', '大'])} O"]
        lines.append("")
    file = tmp_path / "tagged.conll"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("architecture", ["lstm", "gru", "rnn", "transformer"])
def test_an_embedder_of_every_architecture_learns_and_loads(architecture: str, asked: Path, tmp_path: Path) -> None:
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": architecture, "holdout": 0.0}
    report = train("embedder", asked, tmp_path / "run", epochs=25, **options)
    assert report.loss < 0.9  # the same question asks for two facts: ln 2 is as good as can be
    embedder = Embedder(report.folder, precision="float32")
    questions = embedder.embed([f"why {thing}" for thing in THINGS], "query")
    passages = embedder.embed([f"{thing}: {facts[1]}" for thing, facts in THINGS.items()])
    assert (questions @ passages.T).argmax(axis=1).tolist() == list(range(len(THINGS)))
    assert embedder.space.fingerprint == Embedder(report.folder).space.fingerprint
    embedder.save(tmp_path / "copy")
    again = Embedder(tmp_path / "copy", precision="float32")
    assert again.space == type(again.space)(**{**vars_of(embedder.space), "model": again.space.model})
    assert np.array_equal(again.embed(["bees"]), embedder.embed(["bees"]))


def vars_of(space: Any) -> dict[str, Any]:
    return {name: getattr(space, name) for name in type(space).__dataclass_fields__}


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedder's folder, hardly trained."""
    folder = tmp_path_factory.mktemp("gru")
    rows = [{"query": f"what is {thing}", "positive": f"{thing} {fact}"} for thing, (fact, _) in THINGS.items()]
    file = folder / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": "gru", "holdout": 0.0, "max_steps": 2}
    return train("embedder", file, folder / "run", **options).folder


@pytest.mark.parametrize("pooling", [p for p in Pooling if p not in (Pooling.POOLER, Pooling.ATTENTION)])
def test_every_pooling_gives_a_text_the_same_vector_alone_and_in_a_batch(gru: Path, pooling: Pooling) -> None:
    embedder = Embedder(gru, pooling=pooling, precision="float32", threads=1)
    texts = ["honey", "", "water flows to the sea and boats go up and down", "蜂蜜", "it " * 40]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-6


def test_a_pooler_is_what_a_recurrent_network_has_not(gru: Path) -> None:
    with pytest.raises(CheckpointError, match="no trained pooler"):
        Embedder(gru, pooling="pooler")


def test_texts_may_be_of_any_length(gru: Path) -> None:
    text = "honey and rivers " * 1500
    split = Embedder(gru, precision="float32")
    whole = Embedder(gru, precision="float32", max_length=50_000)
    assert split.max_length == SIZES["max_length"]
    windows, one_pass = split.embed([text]), whole.embed([text])
    assert (split.overflowed, whole.overflowed) == (1, 0)
    assert float((windows * one_pass).sum()) > 0.98  # a window begins without memory, which it soon has


def test_late_chunks_come_from_one_pass(gru: Path) -> None:
    text = "honey is sweet. rivers flow."
    embedder = Embedder(gru, precision="float32")
    first, second = embedder.embed_spans([text], [[(0, 15), (16, 28)]])[0]
    (whole,) = embedder.embed_spans([text], [[(0, 28)]])[0][None]
    assert np.allclose(whole[0], embedder.embed([text])[0], atol=1e-6)
    assert not np.allclose(first, embedder.embed(["honey is sweet."])[0], atol=1e-3)  # it has read on
    assert not np.allclose(first, second, atol=1e-3)


def test_a_trained_one_can_be_trained_further_without_adapters(gru: Path, asked: Path, tmp_path: Path) -> None:
    report = train("embedder", asked, tmp_path / "run", base=str(gru), **{**QUICK, "max_steps": 2})
    assert Embedder(report.folder).max_length == SIZES["max_length"]
    assert "| lora | None |" in (report.folder / "README.md").read_text(encoding="utf-8")


def test_adapters_beside_a_recurrent_network_are_refused(gru: Path, asked: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"train every weight \(lora=None, --lora 0\)"):
        train("embedder", asked, tmp_path / "run", base=str(gru), lora=EmbedderTask.defaults.lora)


def test_tsdae_needs_a_bert(asked: Path) -> None:
    with pytest.raises(ValueError, match="which recurrent networks lack"):
        EmbedderTask(asked, base="scratch", architecture="rnn", objective="tsdae", vocab_size=300)


def test_scratch_alone_does_not_say_what_to_make(asked: Path) -> None:
    with pytest.raises(ValueError, match="needs an architecture: lstm, gru, rnn, transformer"):
        EmbedderTask(asked, base="scratch")


def test_an_unknown_architecture_names_the_known_ones(tagged: Path) -> None:
    with pytest.raises(ValueError, match="'cnn' is unknown; expected one of lstm, gru, rnn, transformer"):
        TaggerTask(tagged, base="scratch", architecture="cnn")  # type: ignore[arg-type]


def test_an_embedder_run_that_was_broken_off_goes_on_as_if_nothing_had_happened(asked: Path, tmp_path: Path) -> None:
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": "lstm", "n_layers": 2, "save_every": 3}
    options |= {"epochs": 9, "max_steps": 8}

    class Killed(Exception):
        pass

    def kill(step: Any) -> None:
        if step.number == 5:
            raise Killed

    whole = train("embedder", asked, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train("embedder", asked, tmp_path / "cut", watch=kill, **options)
    resumed = train("embedder", asked, tmp_path / "cut", resume=True, **options)
    assert resumed.loss == whole.loss
    assert (resumed.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()


def test_a_new_transformer_can_be_a_tagger_too(tagged: Path, tmp_path: Path) -> None:
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": "transformer", "learning_rate": 1e-3}
    folder = train("tagger", tagged, tmp_path / "run", epochs=3, dropout=0.0, **options).folder
    assert read_json(folder / "config.json")["architectures"] == ["BertForTokenClassification"]
    assert Tagger(folder).tag([["red", "big", "红", "大"]]) == [["COLOUR", "O", "COLOUR", "O"]]


@pytest.mark.parametrize("architecture", ["lstm", "gru", "rnn"])
def test_a_recurrent_tagger_learns_from_what_follows_and_loads(architecture: str, tagged: Path, tmp_path: Path) -> None:
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": architecture, "holdout": 0.2}
    report = train("tagger", tagged, tmp_path / "run", epochs=12, dropout=0.0, **options)
    assert report.metrics["accuracy"] > 0.97  # "very" is told by the word behind it
    tagger = Tagger(report.folder, precision="float32")
    words = ["very", "blue", "very", "old", "very", "红"]
    assert tagger.tag([words]) == [["BEFORE", "COLOUR", "O", "O", "BEFORE", "COLOUR"]]
    text = "very old very blue"
    found = tagger.predict([text])[0]
    assert [(entity.label, text[entity.start : entity.end]) for entity in found] == [
        ("BEFORE", "very"),
        ("COLOUR", "blue"),
    ]


def test_a_tagger_reads_texts_of_any_length(tagged: Path, tmp_path: Path) -> None:
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": "rnn"}
    folder = train("tagger", tagged, tmp_path / "run", epochs=8, dropout=0.0, **options).folder
    sentence = ["very", "red", "very", "big"] * 500
    expected = ["BEFORE", "COLOUR", "O", "O"] * 500
    assert Tagger(folder, max_length=10_000).tag([sentence]) == [expected]
    assert Tagger(folder).tag([sentence]) == [expected]  # in windows
    with pytest.raises(ValueError, match="takes 11 or more tokens"):
        Tagger(folder, max_length=4)


def test_a_taggers_folder_is_loaded_strictly(tagged: Path, tmp_path: Path) -> None:
    options = {**QUICK, **SIZES, "base": "scratch", "architecture": "lstm", "max_steps": 1}
    folder = train("tagger", tagged, tmp_path / "run", **options).folder
    write_json({**read_json(folder / "config.json"), "cell": "rnn"}, folder / "config.json")
    with pytest.raises(CheckpointError, match="has shape"):
        Tagger(folder)


# --- beginnings -------------------------------------------------------------------------------------------------------


def test_new_weights_depend_on_the_seed_alone() -> None:
    def made(seed: int) -> dict[str, Tensor]:
        texts = ["honey is sweet", "rivers flow to the sea"]
        encoder, _ = new_encoder("lstm", "scratch", lambda: texts, Sizes(vocab_size=80), max_length=None, seed=seed)
        return dict(encoder.state_dict())

    first, again, other = made(0), made(0), made(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.models
@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_words_come_from_the_base(architecture: str) -> None:
    base = load_encoder(Embedder("minilm")._folder.encoder, dtype=torch.float32, device=CPU)
    sizes = Sizes(n_layers=1, n_heads=6)
    encoder, tokenizer = new_encoder(architecture, "minilm", list, sizes, max_length=600, seed=0)
    table = encoder.tokens if isinstance(encoder, RecurrentEncoder) else encoder.embeddings.tokens
    assert torch.equal(table.weight, base.weights()["embeddings.tokens.weight"])
    assert tokenizer.vocab_size == len(table.weight)
    if isinstance(encoder, Bert):
        assert (encoder.config.hidden_size, encoder.config.max_positions) == (384, 600)
        with pytest.raises(ValueError, match="word vectors have 384 dimensions"):
            new_encoder(architecture, "minilm", list, Sizes(hidden_size=128), max_length=None, seed=0)


def test_a_vocabulary_is_made_of_all_there_is_to_read(asked: Path, tmp_path: Path) -> None:
    texts = list(every_text(asked))
    assert "why honey" in texts
    assert "蜂蜜: 蜜蜂用花蜜酿造" in texts
    (tmp_path / "note.txt").write_text("a document", encoding="utf-8")
    assert list(every_text(tmp_path / "note.txt")) == ["a document"]
    with pytest.raises(DataError):
        list(every_text(tmp_path / "nothing.jsonl"))
