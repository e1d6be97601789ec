"""The original Transformer: parity with torch and transformers, causality, beam search, training text to text."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from langbert import Generator
from langbert.answering.prompt import build_messages
from langbert.cli.app import invoke
from langbert.errors import CheckpointError, DataError
from langbert.models.architectures.encoder_decoder import Seq2Seq, Seq2SeqConfig, greedy, save_seq2seq, sinusoids
from langbert.models.decoder import save_decoder
from langbert.models.gpt.network import GPTConfig
from langbert.records import Candidate, Chunk
from langbert.training import train
from langbert.training.decoders import byte_pairs, fresh_decoder
from langbert.training.seq2seq import Seq2SeqTask

VOCABULARY = 40
SIZES: dict[str, Any] = {
    "n_layers": 2,
    "n_decoder_layers": 3,
    "n_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "context_length": 30,
    "dropout": 0.0,
}
KINDS: dict[str, dict[str, Any]] = {"sinusoidal": {}, "learned": {"positions": "learned"}}


def network(kind: str = "sinusoidal", *, seed: int = 0, **changes: Any) -> Seq2Seq:
    """Random weights, biases and norms among them, whose choices are not all ties."""
    torch.manual_seed(seed)
    model = Seq2Seq(Seq2SeqConfig(**{"vocab_size": VOCABULARY, **SIZES, **KINDS[kind], **changes}))
    for parameter in model.requires_grad_(False).parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


MODELS = {kind: network(kind) for kind in KINDS}
ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12)


# --- arithmetic -----------------------------------------------------------------------------------------------------


def torchs(model: Seq2Seq) -> nn.Transformer:
    """torch's own Transformer with the weights of ``model``; like the paper's it has no norm behind the stacks."""
    config = model.config
    sizes = (config.hidden_size, config.n_heads, config.intermediate_size, 0.0)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(*sizes, batch_first=True), config.n_layers, enable_nested_tensor=False
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(*sizes, batch_first=True), config.n_decoder_layers)
    names = {
        "attention.qkv.": "self_attn.in_proj_",
        "attention.output.": "self_attn.out_proj.",
        "attention_norm.": "norm1.",
        "cross_attention.output.": "multihead_attn.out_proj.",
        "cross_attention_norm.": "norm2.",
        "feed_forward.up.": "linear1.",
        "feed_forward.down.": "linear2.",
    }
    reference = nn.Transformer(*sizes[:2], custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
    for ours, theirs in ((model.encoder, encoder), (model.decoder, decoder)):
        norms = {"feed_forward_norm.": "norm3." if theirs is decoder else "norm2."}
        for layer, other in zip(ours.layers, theirs.layers, strict=True):
            mine = dict(layer.named_parameters())
            state: dict[str, Tensor] = {}
            for name, parameter in mine.items():
                module, kind = name.rsplit(".", 1)
                if f"{module}." in names | norms:
                    state[(names | norms)[f"{module}."] + kind] = parameter
            for kind in ("weight", "bias"):
                if f"cross_attention.query.{kind}" in mine:
                    parts = [mine[f"cross_attention.{part}.{kind}"] for part in ("query", "key_value")]
                    state[f"multihead_attn.in_proj_{kind}"] = torch.cat(parts)
            other.load_state_dict(state)
    return reference.eval()


@pytest.mark.filterwarnings("ignore:.*nested tensor.*")
def test_encoder_and_decoder_agree_with_torch() -> None:
    model = MODELS["sinusoidal"]
    reference = torchs(model)
    source, target = torch.randint(VOCABULARY, (3, 11)), torch.randint(VOCABULARY, (3, 7))
    mask = torch.ones(3, 11, dtype=torch.bool)
    mask[1, 6:] = mask[2, 1:] = False

    def embedded(token_ids: Tensor) -> Tensor:
        waves = sinusoids(torch.arange(token_ids.shape[1]), 32)
        return F.embedding(token_ids, model.token_embedding.weight) * math.sqrt(32) + waves

    with torch.no_grad():
        memory = reference.encoder(embedded(source), src_key_padding_mask=~mask)
        assert (model.encode(source, mask) - memory)[mask].abs().max() < 1e-5
        causal = nn.Transformer.generate_square_subsequent_mask(7)
        hidden = reference.decoder(embedded(target), memory, tgt_mask=causal, memory_key_padding_mask=~mask)
        assert (model.decode(target, model.read(source, mask)) - hidden).abs().max() < 1e-5
        expected = hidden @ model.token_embedding.weight.T
        assert (model(source, target, source_mask=mask) - expected).abs().max() < 1e-5


def test_positions_are_the_papers_waves() -> None:
    table = sinusoids(torch.arange(50), 16)
    for position, i in itertools.product((0, 1, 7, 49), range(8)):
        angle = position / 10_000 ** (2 * i / 16)
        assert table[position, i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[position, 8 + i] == pytest.approx(math.cos(angle), abs=1e-6)


@settings(max_examples=20)
@given(kind=st.sampled_from(list(KINDS)), source=ids, target=ids, others=ids, padding=ids)
def test_a_token_is_moved_neither_by_later_ones_nor_by_padding(
    kind: str, source: list[int], target: list[int], others: list[int], padding: list[int]
) -> None:
    model = MODELS[kind]
    alone = model(torch.tensor([source]), torch.tensor([target]))
    mask = torch.tensor([[1] * len(source) + [0] * len(padding)])
    more = model(torch.tensor([source + padding]), torch.tensor([target + others]), source_mask=mask)
    assert (more[:, : len(target)] - alone).abs().max() < 1e-4


@settings(max_examples=20)
@given(kind=st.sampled_from(list(KINDS)), source=ids, target=ids, cut=st.integers(0, 12))
def test_reading_in_steps_is_reading_at_once(kind: str, source: list[int], target: list[int], cut: int) -> None:
    model = MODELS[kind]
    read = model.read(torch.tensor([source]))
    whole = model.decode(torch.tensor([target]), read)
    cache = model.new_cache(len(target))
    pieces = [target[:cut], *([token] for token in target[cut:])]
    steps = [model.decode(torch.tensor([piece]), read, cache=cache) for piece in pieces if piece]
    assert (torch.cat(steps, dim=1) - whole).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n_heads": 5}, "not a multiple"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"context_length": 0}, "context_length is 0"),
        ({"start_id": 40}, "start_id is 40"),
        ({"hidden_size": 33, "n_heads": 3}, "even hidden_size"),
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Seq2SeqConfig(**{"vocab_size": VOCABULARY, **SIZES, **changes})


def test_more_than_the_context_is_refused() -> None:
    model = MODELS["learned"]
    with pytest.raises(ValueError, match="31 tokens do not fit the context of 30"):
        model.read(torch.zeros(1, 31, dtype=torch.int64))


# --- search ---------------------------------------------------------------------------------------------------------

END = 1


@settings(max_examples=10)
@given(
    kind=st.sampled_from(list(KINDS)),
    sources=st.lists(ids, min_size=1, max_size=3),
    ends=st.sets(st.integers(1, VOCABULARY - 1), min_size=1, max_size=6),
)
def test_greedy_takes_the_likeliest_token_and_a_batch_is_its_rows(
    kind: str, sources: list[list[int]], ends: set[int]
) -> None:
    model = MODELS[kind]
    padded = nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sources], batch_first=True, padding_value=3)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(s)) for s in sources], batch_first=True)
    together = greedy(model, padded, mask, max_tokens=8, end_ids=ends)
    for source, written in zip(sources, together, strict=True):
        assert greedy(model, torch.tensor([source]), max_tokens=8, end_ids=ends) == [written]
        assert len(written) <= 8
        assert not ends & set(written)
        likeliest = model(torch.tensor([source]), torch.tensor([[0, *written]]))[0].argmax(-1).tolist()
        assert likeliest[: len(written)] == written
        assert len(written) == 8 or likeliest[-1] in ends


# --- training -------------------------------------------------------------------------------------------------------

WORDS = ["".join(word) for n in (3, 4) for word in itertools.product("abcde", repeat=n)]
TINY: dict[str, Any] = {
    "base": "scratch",
    "max_length": 8,
    "max_target": 8,
    "vocab_size": 257,
    "n_layers": 1,
    "n_heads": 4,
    "hidden_size": 64,
}


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"source": word, "target": word[::-1]} for word in WORDS]
    return write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows)


@pytest.fixture(scope="module")
def reverser(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    output = tmp_path_factory.mktemp("run") / "out"
    schedule = {"max_steps": 250, "epochs": 50, "batch_size": 32, "accumulation": 1, "learning_rate": 5e-3}
    report = train("seq2seq", pairs, output, **TINY, **schedule, holdout=0.1, dropout=0.0, precision="float32")
    return report.folder, report.metrics


def test_it_learns_to_reverse_words_it_has_not_seen(reverser: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = reverser
    assert metrics["exact"] > 0.8  # of 75 words; by chance 1 in 500
    assert metrics["loss"] < 0.3
    generator = Generator(folder, precision="float32", offline=True)
    right = sum(generator.generate(word, max_tokens=6).text == word[::-1] for word in WORDS[::25])
    assert right >= 0.8 * len(WORDS[::25])
    assert generator.context_length == 16


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_folder_as_marian_and_computes_the_same(kind: str, tmp_path: Path) -> None:
    save_seq2seq(MODELS[kind], tmp_path, {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": END})
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    source, target = torch.randint(VOCABULARY, (2, 7)), torch.randint(VOCABULARY, (2, 5))
    with torch.no_grad():
        expected = theirs(input_ids=source, decoder_input_ids=target).logits
    assert (MODELS[kind](source, target) - expected).abs().max() < 1e-4


def test_a_generator_writes_what_transformers_writes(reverser: tuple[Path, dict[str, float]]) -> None:
    folder, _ = reverser
    theirs = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    generator = Generator(folder, precision="float32", offline=True)
    for word in ("abc", "edca"):
        written = theirs.generate(**tokenizer(word, return_tensors="pt"), max_new_tokens=6, do_sample=False)
        assert tokenizer.decode(written[0], skip_special_tokens=True) == generator.generate(word, max_tokens=6).text


def test_a_resumed_run_goes_on_to_the_same_model(pairs: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        """Stands for the power cut."""

    def stop(step: Any) -> None:
        if step.number == 5:
            raise Stop

    options: dict[str, Any] = {**TINY, "max_steps": 7, "epochs": 9, "batch_size": 8, "save_every": 4, "seed": 3}
    options |= {"precision": "float32", "max_held": 5}
    whole = train("seq2seq", pairs, tmp_path / "whole", **options)
    with pytest.raises(Stop):
        train("seq2seq", pairs, tmp_path / "cut", **options, watch=stop)
    resumed = train("seq2seq", pairs, tmp_path / "cut", **options, resume=True)
    assert resumed.metrics == pytest.approx(whole.metrics, rel=1e-5)


def test_the_loss_is_that_of_every_target_token_smoothed_as_asked(pairs: Path) -> None:
    plain, smooth = (Seq2SeqTask(pairs, **TINY, label_smoothing=share) for share in (0.0, 0.1))
    plain.network.eval()
    smooth.network.eval()
    batch = plain.collate([0, 3, 9], seed=0)
    assert batch["target_ids"][:, 0].tolist() == [0, 0, 0]
    for task in (plain, smooth):
        task.network.requires_grad_(False)
    logits = plain.network(batch["source_ids"], batch["target_ids"], source_mask=batch["attention_mask"])
    nats, even = [], []
    for row in range(3):
        for place, label in enumerate(batch["labels"][row].tolist()):
            if label >= 0:
                likely = logits[row, place].log_softmax(-1)
                nats.append(-likely[label])
                even.append(-likely.mean())
    mean = torch.stack(nats).mean()
    assert float(plain.loss(plain.network, batch)) == pytest.approx(float(mean), rel=1e-4)
    expected = 0.9 * mean + 0.1 * torch.stack(even).mean()
    assert float(smooth.loss(smooth.network, batch)) == pytest.approx(float(expected), rel=1e-4)


def test_forms_of_data_and_what_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(
        tmp_path / "data.jsonl",
        [
            {"source": "ab", "target": "c"},
            {"prompt": "ab", "answer": "c"},
            {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]},
            {"source": "far too long a text", "target": "c"},
            {"source": "ab", "target": "far too long a text"},
            {"source": "学习", "target": "😀"},
        ],
    )
    task = Seq2SeqTask(file, **TINY, holdout=0.0)
    assert len(task) == 4
    assert "2 of 6 are longer" in caplog.text
    assert task.lengths()[:3] == [5, 5, 5]
    batch = task.collate([0, 1, 2, 3], seed=0)
    assert (batch["source_ids"][:3] == batch["source_ids"][0]).all()
    assert batch["labels"][:, -1].tolist() == [-100, -100, -100, 0]
    assert task.evaluate(task.network, torch.device("cpu")) == {}


@pytest.mark.parametrize(
    "row", [{}, {"source": "a"}, {"source": "", "target": "b"}, {"messages": [{"role": "user", "content": "a"}]}, 7]
)
def test_a_line_that_is_no_pair_is_named(row: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "data.jsonl", [{"source": "a", "target": "b"}, row])
    with pytest.raises(DataError, match=r'data\.jsonl:2: expected .*"source"'):
        Seq2SeqTask(file, **TINY)


def test_questions_are_put_as_the_pipeline_puts_them(tmp_path: Path) -> None:
    answers = [{"text": "nectar", "answer_start": 22}]
    asked = {"id": "1", "question": "What is honey made of?", "answers": answers}
    paragraph = {"context": "Bees make honey from nectar.", "qas": [asked]}
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "Bees", "paragraphs": [paragraph]}]}), encoding="utf-8")
    task = Seq2SeqTask(
        file, **{**TINY, "max_length": 400, "max_target": 40, "vocab_size": 300}, holdout=0.0, unanswerable=0.0
    )
    task.save(task.network, tmp_path)
    generator = Generator(tmp_path, precision="float32", offline=True)
    source = Candidate(Chunk("p", "p", paragraph["context"], source="Bees"), 0.0)  # type: ignore[arg-type]
    messages = build_messages("What is honey made of?", [source])
    batch = task.collate([0], seed=0)
    assert batch["source_ids"][0].tolist() == generator._chat.encode(messages)
    assert generator._decode(batch["labels"][0].tolist()) == "nectar [1]."


def test_another_base_than_an_encoder_decoder_is_refused(pairs: Path, tmp_path: Path) -> None:
    tokenizer = byte_pairs(WORDS, 257)
    config = GPTConfig(257, 16, n_layers=1, n_heads=2, n_kv_heads=2, hidden_size=8, intermediate_size=8)
    save_decoder(*fresh_decoder(config, tokenizer, 0), tmp_path)
    with pytest.raises(CheckpointError, match="train sft"):
        Seq2SeqTask(pairs, base=str(tmp_path))


def test_the_command(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "seq2seq", "--data", str(pairs), "--output", str(tmp_path / "run"), "--base", "scratch"]
    sizes = ["--n-layers", "1", "--hidden-size", "16", "--n-heads", "2", "--vocab-size", "257", "--max-length", "8"]
    assert invoke([*arguments, *sizes, "--max-steps", "2", "--max-held", "10", "--lora", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["metrics"]) == {"loss", "perplexity", "exact"}
    assert Generator(shown["model"], offline=True).generate("abc", max_tokens=3).completion_tokens <= 3
