"""Decoders in training: the loss against transformers, what is scored, packing without leaks, saving, learning."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from langbert import Generator
from langbert.answering.prompt import NOT_FOUND, build_messages, not_found
from langbert.errors import CheckpointError, DataError
from langbert.evaluation.datasets import read_questions
from langbert.generation.chat import ChatFormat
from langbert.models.decoder import load_decoder
from langbert.models.files.weights import load_strict, read_tensors, save_tensors
from langbert.models.gpt.checkpoint import hf_config, hf_settings, hf_table
from langbert.models.gpt.network import GPT, GPTConfig
from langbert.models.layers.rotary import RotaryConfig
from langbert.records import Candidate, Chunk, Message
from langbert.training.adapters import adapt
from langbert.training.batching import IGNORED, Scored, collated, pack, scored_logits
from langbert.training.conversations import questions_over_sources
from langbert.training.decoders import END_OF_TEXT, LORA_TARGETS, byte_pairs, pieces
from langbert.training.lm import LmTask
from langbert.training.loop import run
from langbert.training.recurrence import segment_losses, stream_loss
from langbert.training.settings import LoraSettings, Step, TrainSettings
from langbert.training.sft import SftTask

VOCABULARY = 61
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
REFERENCES: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **HEADS)),
}
ENGLISH = "The queen of the bees lives in the hive. The bees of the hive make honey, and the queen lays eggs. "
CHINESE = "蜂后住在蜂巢里。蜂巢里的蜜蜂酿造蜂蜜，蜂后产卵。"
CPU = torch.device("cpu")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sharp(model: Any) -> Any:
    """Weights whose logits are not all near zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


@pytest.fixture(params=REFERENCES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, GPT]:
    """transformers' network and ours with its weights."""
    torch.manual_seed(0)
    theirs = sharp(REFERENCES[request.param]())
    theirs.save_pretrained(tmp_path / "reference")
    config = hf_config(json.loads((tmp_path / "reference" / "config.json").read_text()))
    assert config is not None
    ours = GPT(config)
    load_strict(ours, read_tensors(tmp_path / "reference"), hf_table(config))
    return theirs.train(), ours.train()


def examples(*lengths: int, seed: int = 0) -> list[Scored]:
    """Random examples whose first third is a prompt."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        ids = torch.randint(VOCABULARY, (length + 1,), generator=generator).tolist()
        found.append(Scored(ids[:-1], [IGNORED if i < length // 3 else ids[i + 1] for i in range(length)]))
    return found


def losses(network: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of every scored token, in order."""
    logits, labels = scored_logits(network, batch)
    return F.cross_entropy(logits, labels, reduction="none")


# ----------------------------------------------------------------------------------------------------------- the loss


def test_loss_and_gradients_are_those_of_transformers(pair: tuple[Any, GPT]) -> None:
    theirs, ours = pair
    rows = examples(20, 13, 17)
    # transformers shifts by itself: its labels stand at the tokens, ours at the tokens before them
    ids, labels = torch.zeros(3, 21, dtype=torch.int64), torch.full((3, 21), IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        ids[i, len(row.ids)] = row.labels[-1]
        labels[i, 1 : len(row.ids) + 1] = torch.tensor(row.labels)
    expected = theirs(input_ids=ids, labels=labels).loss
    loss = losses(ours, collated([[row] for row in rows])).mean()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    assert loss > 1
    expected.backward()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    named = hf_table(ours.config).to_theirs(gradients)
    for name, parameter in theirs.named_parameters():
        mine = named[name.removeprefix("transformer.").removeprefix("model.")]
        torch.testing.assert_close(mine, parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_a_later_token_never_changes_an_earlier_loss(pair: tuple[Any, GPT]) -> None:
    ours = pair[1]
    example = examples(24)[0]
    before = losses(ours, collated([[Scored(example.ids, [5] * 24)]]))
    for place in (1, 8, 23):
        ids = [(token + 1) % VOCABULARY if i >= place else token for i, token in enumerate(example.ids)]
        after = losses(ours, collated([[Scored(ids, [5] * 24)]]))
        assert torch.equal(after[:place], before[:place]) or torch.allclose(after[:place], before[:place], atol=1e-6)
        assert not torch.allclose(after[place:], before[place:], atol=1e-3)


def test_a_gradient_never_comes_from_the_future(pair: tuple[Any, GPT]) -> None:
    ours = pair[1]
    seen: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    ours.token_embedding.register_forward_hook(keep)
    batch = collated([examples(24)])
    logits = ours(batch["token_ids"])
    F.cross_entropy(logits[:, 9], torch.tensor([3])).backward()
    reach = seen[0].grad[0].abs().sum(-1)
    assert (reach[:10] > 0).all()
    assert (reach[10:] == 0).all()


def test_packing_leaks_nothing(pair: tuple[Any, GPT]) -> None:
    """The losses of an example, and the gradient of their sum, are the same alone, packed and padded."""
    ours = pair[1]
    found = examples(11, 19, 7, 16)
    alone = [losses(ours, collated([[example]])) for example in found]
    packed = collated([[found[0], found[2]], [found[1]], [found[3]]])
    assert packed["examples"].tolist()[0] == [1] * 11 + [2] * 7 + [0]
    together = losses(ours, packed)
    torch.testing.assert_close(together, torch.cat([alone[i] for i in (0, 2, 1, 3)]), atol=1e-5, rtol=1e-5)
    padded = losses(ours, collated([[example] for example in found]))
    torch.testing.assert_close(padded, torch.cat(alone), atol=1e-5, rtol=1e-5)
    whole = torch.autograd.grad(together.sum(), ours.parameters())
    apart = torch.autograd.grad(torch.cat(alone).sum(), ours.parameters())
    for one, other in zip(whole, apart, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 50), max_size=80))
def test_every_example_is_packed_once_and_fits(lengths: list[int]) -> None:
    rows = pack(lengths, 50)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    sums = sorted(sum(lengths[i] for i in row) for row in rows)
    assert all(total <= 50 for total in sums)
    assert len(sums) < 2 or sums[0] + sums[1] > 50  # no two could have been one


def measured(task: LmTask | SftTask) -> dict[str, float]:
    """The metrics of the network as it is."""
    with torch.no_grad():
        return task.evaluate(task.network.eval(), CPU)


# ------------------------------------------------------------------------------------------------- language modelling


def corpus(folder: Path, n: int = 12) -> Path:
    """English and Chinese documents, each with a word of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        text = (ENGLISH if i % 2 else CHINESE) * 3 + f"\n{i * 7919}"
        (folder / f"{i:02}.txt").write_text(text, encoding="utf-8")
    return folder


def tiny(data: Path, **options: Any) -> LmTask:
    sizes = {"vocab_size": 320, "n_layers": 2, "n_heads": 2, "hidden_size": 32, "max_length": 32}
    return LmTask(data, base="scratch", **{**sizes, **options})


def quick(**changes: Any) -> TrainSettings:
    values = {"epochs": 30, "batch_size": 8, "learning_rate": 1e-2, "save_every": 0, "dropout": 0.0}
    return TrainSettings(**{**values, "precision": "float32", **changes})


def test_every_token_of_every_document_is_predicted_once(tmp_path: Path) -> None:
    task = tiny(corpus(tmp_path), holdout=0.25)
    tokenizer = task._checkpoint.tokenizer
    batches = [task.collate([i], seed=0) for i in range(len(task))]
    predicted = torch.cat([batch["labels"][batch["labels"] != IGNORED] for batch in batches]).tolist()
    end = tokenizer.token_to_id(END_OF_TEXT)
    ends = [-1, *(i for i, token in enumerate(predicted) if token == end)]
    texts = {tokenizer.decode(predicted[i + 1 : j]) for i, j in pairwise(ends)}
    files = {file.read_text(encoding="utf-8") for file in tmp_path.glob("*.txt")}
    assert predicted[-1] == end
    assert texts < files
    assert sum(map(len, files - texts)) == task._held_characters
    assert task._held_characters == pytest.approx(0.25 * sum(map(len, files)), abs=400)
    assert [batch["token_ids"].shape[1] for batch in batches] == list(task.lengths())
    for first, second in pairwise(batches):
        assert first["labels"][0, -1] == second["token_ids"][0, 0]


def test_documents_see_one_another_unless_told_not_to(tmp_path: Path) -> None:
    data = corpus(tmp_path)
    assert all("examples" not in tiny(data).collate([i], 0) for i in range(3))
    task = tiny(data, reset_at_documents=True, max_length=200)
    batch = task.collate([0], seed=0)
    end = task._checkpoint.tokenizer.token_to_id(END_OF_TEXT)
    starts = batch["token_ids"][0] == end
    assert starts.sum() > 1
    assert batch["examples"][0].tolist() == starts.cumsum(0).tolist()
    assert (batch["labels"] != IGNORED).all()


def test_a_single_file_gives_its_end_for_evaluation(tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text("".join(f"line {i} of the book\n" for i in range(200)), encoding="utf-8")
    task = tiny(file, holdout=0.1)
    tokenizer = task._checkpoint.tokenizer
    held = tokenizer.decode(task._held.tolist())
    assert held.startswith("line 1")
    assert held.endswith("line 199 of the book\n")
    assert "line 5 " not in held
    assert len(held) == pytest.approx(0.1 * len(file.read_text()), rel=0.1)
    assert tiny(file, holdout=0).evaluate(torch.nn.Identity(), CPU) == {}
    file.write_text("title\n" + CHINESE * 40, encoding="utf-8")
    assert tiny(file, holdout=0.1)._held_characters == pytest.approx(0.1 * len(file.read_text("utf-8")), abs=1)


def test_a_gpt_from_scratch_learns_and_is_loaded_by_all(tmp_path: Path) -> None:
    task = tiny(corpus(tmp_path / "data"), holdout=0.25)
    start = measured(task)
    report = run(task, tmp_path / "run", quick())
    assert start["loss"] == pytest.approx(math.log(task.network.config.vocab_size), abs=0.3)
    assert report.metrics["loss"] < 0.5 * task.unigram_entropy() < task.unigram_entropy() < start["loss"]
    assert report.metrics["perplexity"] == pytest.approx(math.exp(report.metrics["loss"]))
    characters, tokens = task._held_characters, len(task._held) - 1
    bits = report.metrics["loss"] * tokens / math.log(2) / characters
    assert report.metrics["bits_per_character"] == pytest.approx(bits)

    generator = Generator(report.folder, precision="float32")
    assert generator.generate("The queen of", max_tokens=4).text.startswith(" the bees")
    assert generator.generate("蜂后住在蜂巢里。", max_tokens=8).text.startswith("蜂巢里的蜜蜂")
    ours = load_decoder(report.folder, dtype=torch.float32, device=CPU)
    theirs = AutoModelForCausalLM.from_pretrained(report.folder).eval()
    ids = ours.tokenizer.encode(ENGLISH + CHINESE).ids[:32]
    assert AutoTokenizer.from_pretrained(report.folder)(ENGLISH + CHINESE)["input_ids"][:32] == ids
    assert isinstance(theirs, GPT2LMHeadModel)
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0, -1]
        torch.testing.assert_close(ours.decoder.start(40).read(ids), expected, atol=1e-5, rtol=1e-5)
    assert theirs.config.eos_token_id == ours.tokenizer.token_to_id(END_OF_TEXT) == next(iter(ours.end_ids))
    card = (report.folder / "README.md").read_text()
    assert "| base | scratch |" in card
    assert "unigram entropy" in card

    more = LmTask(tmp_path / "data", base=report.folder, max_length=32, holdout=0.25)  # and it can go on
    again = measured(more)
    assert again["loss"] == pytest.approx(report.metrics["loss"], rel=1e-3)


def memory(data: Path, **options: Any) -> LmTask:
    sizes = {"max_length": 32, "segment_length": 8, "memory_length": 8, "holdout": 0.25}
    return tiny(data, architecture="transformer-xl", **{**sizes, **options})


def test_a_transformer_xl_learns_to_use_its_memory_and_is_loaded_again(tmp_path: Path) -> None:
    task = memory(corpus(tmp_path / "data"))
    report = run(task, tmp_path / "run", quick(epochs=12))
    assert report.metrics["perplexity"] < 0.95 * report.metrics["perplexity_without_memory"]
    assert report.metrics["perplexity"] == pytest.approx(math.exp(report.metrics["loss"]))

    assert json.loads((report.folder / "config.json").read_text())["model_type"] == "langbert-transformer-xl"
    loaded = load_decoder(report.folder, dtype=torch.float32, device=CPU)
    assert loaded.tokenizer.token_to_id(END_OF_TEXT) in loaded.end_ids
    ids = loaded.tokenizer.encode(ENGLISH).ids[:40]
    network = task.network.eval()
    with torch.no_grad():
        expected = network(torch.tensor([ids]))[0, -1]
    session = loaded.decoder.start(40)
    session.read(ids[:24])
    torch.testing.assert_close(session.read(ids[24:]), expected, atol=1e-5, rtol=1e-5)
    assert Generator(report.folder).generate("The queen of", max_tokens=4).completion_tokens == 4

    file = report.folder / "model.safetensors"
    tensors = read_tensors(file)
    save_tensors({**tensors, "content_bias": tensors["content_bias"][:1]}, file)
    with pytest.raises(CheckpointError, match="content_bias has shape"):
        load_decoder(report.folder, dtype=torch.float32, device=CPU)
    del tensors["content_bias"]
    save_tensors(tensors, file)
    with pytest.raises(CheckpointError, match="missing content_bias"):
        load_decoder(report.folder, dtype=torch.float32, device=CPU)


def test_the_held_out_loss_with_memory_is_that_of_each_lane_read_at_once(tmp_path: Path) -> None:
    task = memory(corpus(tmp_path), memory_length=16)
    network, stream = task.network.eval(), task._held[:401].long()
    lanes, labels = stream[:-1].view(8, 50), stream[1:].view(8, 50)
    with torch.no_grad():
        expected = F.cross_entropy(network(lanes).flatten(0, 1), labels.flatten(), reduction="sum")
        assert stream_loss(network, stream, CPU) == pytest.approx(float(expected))
        cut = [
            F.cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="sum")
            for x, y in zip(lanes.split(8, 1), labels.split(8, 1), strict=True)
        ]
        assert stream_loss(network, stream, CPU, forget=True) == pytest.approx(float(sum(cut)))
        nats, counts = segment_losses(network, stream, CPU, forget=True)  # 8 lanes of 6 segments of 8 tokens, and 2
        assert counts.tolist() == [56, 56, 48, 48, 48, 48, 48, 48]
        first = F.cross_entropy(network(lanes[:, ::8].reshape(-1, 1))[:, 0], labels[:, ::8].flatten(), reduction="sum")
        assert float(nats[0]) == pytest.approx(float(first))
        short = stream[:14]
        expected = F.cross_entropy(network(short[None, :7])[0], short[1:8], reduction="sum")
        expected += F.cross_entropy(network(short[None, 7:13])[0], short[8:14], reduction="sum")
        assert stream_loss(network, short, CPU) == pytest.approx(float(expected))


def test_a_killed_transformer_xl_goes_on_bit_for_bit(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(step: Step) -> None:
        if step.number == 5:
            raise Killed

    settings = quick(max_steps=8, save_every=3, dropout=0.1)
    data = corpus(tmp_path / "data")
    whole = run(memory(data), tmp_path / "whole", settings)
    with pytest.raises(Killed):
        run(memory(data), tmp_path / "killed", settings, watch=die)
    resumed = run(memory(data), tmp_path / "killed", settings, resume=True)
    mine, theirs = read_tensors(whole.folder), read_tensors(resumed.folder)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert whole.metrics == resumed.metrics


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "smollm2-135m-instruct"}, "trained from scratch"),
        ({"reset_at_documents": True}, "remembers across documents"),
        ({"max_length": 8}, "nothing would be learnt from memory"),
        ({"architecture": "lstm"}, "expected one of gpt, transformer-xl"),
    ],
)
def test_a_memory_that_would_not_be_used_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    given = {"base": "scratch", "architecture": "transformer-xl", "max_length": 32, "segment_length": 8}
    with pytest.raises(ValueError, match=message):
        LmTask(corpus(tmp_path), **{**given, **options})


def test_adapters_for_a_model_from_scratch_are_merged(tmp_path: Path) -> None:
    task = tiny(corpus(tmp_path / "data"))
    lora = LoraSettings(rank=4, targets=LORA_TARGETS, dropout=0.0)
    report = run(task, tmp_path / "run", quick(epochs=2, lora=lora))
    assert (report.folder / "model.safetensors").is_file()
    assert Generator(report.folder).generate("bees", max_tokens=2).completion_tokens == 2


def test_the_same_seed_makes_the_same_vocabulary_and_weights(tmp_path: Path) -> None:
    data = corpus(tmp_path)
    state = torch.random.get_rng_state()
    one, two = tiny(data, seed=3), tiny(data, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one._checkpoint.tokenizer.to_str() == two._checkpoint.tokenizer.to_str()
    assert torch.equal(one._train, two._train)
    for mine, theirs in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_control_tokens_in_documents_are_only_words(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"{ENGLISH * 3}{END_OF_TEXT}{ENGLISH}", encoding="utf-8")
    task = tiny(file, holdout=0)
    end = task._checkpoint.tokenizer.token_to_id(END_OF_TEXT)
    assert (task._train == end).sum() == 2
    assert END_OF_TEXT in task._checkpoint.tokenizer.decode(task._train[1:-1].tolist(), skip_special_tokens=False)


def test_long_texts_are_cut_between_lines_and_nothing_is_lost() -> None:
    for text in ("a" * 200_000, "一行\n" * 50_000, ""):
        cut = list(pieces(text))
        assert "".join(cut) == text
        assert all(piece.endswith("\n") for piece in cut) or "\n" not in text
    tokenizer = byte_pairs([ENGLISH * 20, CHINESE * 20], 400)
    assert tokenizer.decode(tokenizer.encode("任何 text 😀 at all").ids) == "任何 text 😀 at all"
    assert len(tokenizer.encode(CHINESE).ids) < len(CHINESE)


def test_unusable_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        tiny(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no text: expected a text file or a folder"):
        tiny(tmp_path / "empty")
    (tmp_path / "blank.txt").write_text(" ", encoding="utf-8")
    with pytest.raises(DataError, match=r"blank\.txt: it is empty; expected a folder of documents, or a file of text"):
        tiny(tmp_path / "blank.txt")


def test_a_context_that_is_too_long_is_refused(tmp_path: Path) -> None:
    base = chat_folder(tmp_path / "base")
    with pytest.raises(ValueError, match=r"max_length is 4096; .* reads 1 to 200 tokens"):
        LmTask(corpus(tmp_path / "data"), base=base, max_length=4096)


# ------------------------------------------------------------------------------------------ what is written to a folder

CONFIGS = {
    "gpt2": GPTConfig(31, 32, 2, 4, 4, 32, 64, dropout=0.1),
    "gpt1": GPTConfig(31, 32, 2, 4, 4, 32, 128, norm_first=False, dropout=0.1),
    "gpt2 untied": GPTConfig(31, 32, 2, 4, 4, 32, 96, tied_head=False),
    **{
        name: GPTConfig(
            31, 64, 2, 4, 2, 32, 64, norm="rmsnorm", feed_forward="swiglu", **{"bias": "none", "head_dim": 8, **changes}
        )
        for name, changes in {
            "llama": {"rotary": RotaryConfig(50_000.0)},
            "llama wide": {"rotary": RotaryConfig(), "head_dim": 16, "tied_head": False},
            "llama long": {"rotary": RotaryConfig(500.0, factor=8.0, original_context=32)},
            "llama interpolated": {"rotary": RotaryConfig(300.0, factor=4.0)},
            "qwen2": {"rotary": RotaryConfig(1e6), "bias": "qkv"},
        }.items()
    },
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_transformers_computes_what_a_saved_network_computes(config: GPTConfig, tmp_path: Path) -> None:
    from langbert.models.decoder import DecoderCheckpoint, save_decoder
    from langbert.models.gpt.decoder import GPTDecoder

    torch.manual_seed(0)
    network = sharp(GPT(config)).eval()
    tokenizer = byte_pairs([], 257)
    save_decoder(network, DecoderCheckpoint(GPTDecoder(network), tokenizer, None, {}, frozenset((0, 5))), tmp_path)
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.randint(31, (1, 30))
    with torch.no_grad():
        torch.testing.assert_close(network(ids), theirs.eval()(ids).logits, atol=1e-5, rtol=1e-5)
    assert theirs.generation_config.eos_token_id == [0, 5]
    assert hf_config(json.loads((tmp_path / "config.json").read_text())) == config


def test_what_nobody_else_computes_is_not_saved() -> None:
    with pytest.raises(ValueError, match="none of GPT-1, GPT-2, Llama"):
        hf_settings(GPTConfig(31, 32, 2, 4, 4, 32, 64, rotary=RotaryConfig()))


# ------------------------------------------------------------------------------------------------------- conversations


def chat_folder(folder: Path, *, template: str | None = CHATML, context: int = 200) -> Path:
    """A tiny Llama that knows a chat template."""
    torch.manual_seed(0)
    tokenizer = byte_pairs([ENGLISH * 10, CHINESE * 10], 330)
    special = ["<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens(special)
    sizes = {**SIZES, **HEADS, "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": context}
    model = sharp(LlamaForCausalLM(LlamaConfig(**sizes)))
    model.lm_head.weight.data *= 4  # adapters leave it alone, and with small rows no token could ever be certain
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"chat_template": template, "eos_token": special[1] if template else END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v}))
    return folder


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where does the queen live?"},
    {"role": "assistant", "content": "In the hive."},
    {"role": "user", "content": "蜜蜂酿造什么？ <|im_end|>"},
    {"role": "assistant", "content": "蜂蜜。 <|im_end|> "},
]
ROWS: list[dict[str, Any]] = [
    {"messages": TALK},
    {"prompt": "Who lays eggs?", "answer": "The queen."},
    {"prompt": "Where do the bees live?", "answer": "In the hive."},
    {"prompt": "蜂后住在哪里？", "answer": "蜂巢里。"},
]


def write_rows(file: Path, rows: Sequence[object] = ROWS) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def format_of(checkpoint: Any) -> ChatFormat:
    return ChatFormat(checkpoint.tokenizer, checkpoint.chat_template, checkpoint.tokens)


def test_only_the_assistants_words_and_their_end_are_scored(tmp_path: Path) -> None:
    checkpoint = load_decoder(chat_folder(tmp_path), dtype=torch.float32, device=CPU)
    chat = format_of(checkpoint)
    messages = [Message(turn["role"], turn["content"]) for turn in TALK]  # type: ignore[arg-type]
    ids, own = chat.encode_dialogue(messages)
    end = checkpoint.tokenizer.token_to_id("<|im_end|>")
    scored = [token for token, mine in zip(ids, own, strict=True) if mine]
    first = [*chat.encode_text("In the hive."), end]
    second = [*chat.encode_text("蜂蜜。 <|im_end|>"), end]  # said, not meant: the words are plain text
    assert scored == first + second
    assert scored.count(end) == 2
    assert ids[: own.index(True)] == chat.encode(messages[:2])
    assert ids[: len(ids) - len(second)] == chat.encode(messages[:4])
    assert own[-1]


def test_templates_that_do_not_say_what_an_answer_is_are_refused(tmp_path: Path) -> None:
    checkpoint = load_decoder(chat_folder(tmp_path), dtype=torch.float32, device=CPU)
    talk = [Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d")]
    templates = {
        None: "has no chat template",
        "{% for m in messages %}{{ m.content }}\n{% endfor %}": "does not end an answer with a control token",
        "{% for m in messages %}{{ loop.revindex }}{{ m.content }}<|im_end|>{% endfor %}": "rewrites earlier turns",
    }
    for template, complaint in templates.items():
        with pytest.raises(CheckpointError, match=complaint):
            ChatFormat(checkpoint.tokenizer, template, {}).encode_dialogue(talk)


def test_a_template_without_a_prompt_for_the_answer_has_its_header_learnt(tmp_path: Path) -> None:
    checkpoint = load_decoder(chat_folder(tmp_path), dtype=torch.float32, device=CPU)
    silent = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    chat = ChatFormat(checkpoint.tokenizer, silent, {})
    ids, own = chat.encode_dialogue([Message("user", "hive"), Message("assistant", "queen")])
    assert ids[: own.index(True)] == chat.encode([Message("user", "hive")])
    assert checkpoint.tokenizer.decode([i for i, mine in zip(ids, own, strict=True) if mine], skip_special_tokens=False)
    assert ids[own.index(True)] == checkpoint.tokenizer.token_to_id("<|im_start|>")
    assert all(own[own.index(True) :])


def test_fine_tuning_packs_whole_conversations(tmp_path: Path) -> None:
    base = chat_folder(tmp_path / "base")
    file = write_rows(tmp_path / "talk.jsonl")
    task = SftTask(file, base=base, max_length=200, holdout=0)
    loose = SftTask(file, base=base, max_length=200, holdout=0, packing=False)
    assert len(task) < len(loose) == 4
    assert sum(task.lengths()) == sum(loose.lengths())
    assert max(task.lengths()) <= 200
    task.network.eval()
    batch = task.collate(range(len(task)), seed=0)
    packed = losses(task.network, batch)
    apart = [losses(task.network, loose.collate([i], seed=0)) for i in range(4)]
    order = [i for row in task._packs for i in row]
    torch.testing.assert_close(packed, torch.cat([apart[i] for i in order]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "adapters"])
@pytest.mark.parametrize("template", [CHATML, None], ids=["chat", "plain"])
def test_it_learns_to_answer_and_generator_loads_it(tmp_path: Path, whole: bool, template: str | None) -> None:
    base = chat_folder(tmp_path / "base", template=template)
    files = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in base.iterdir()}
    task = SftTask(write_rows(tmp_path / "talk.jsonl", ROWS[1:]), base=base, max_length=120, holdout=0)
    lora = None if whole else LoraSettings(rank=16, alpha=32, targets=LORA_TARGETS, dropout=0.0)
    values = quick(epochs=80, lora=lora)
    seen: list[float] = []
    report = run(task, tmp_path / "run", values, watch=lambda step: seen.append(step.loss))
    assert seen[0] > 3
    assert report.loss < 0.1
    assert {file.name: hashlib.sha256(file.read_bytes()).digest() for file in base.iterdir()} == files
    assert (report.folder / "model.safetensors").is_file() == whole
    assert (report.folder / "adapter_config.json").is_file() != whole
    generator = Generator(report.folder, precision="float32")
    for row in ROWS[1:]:
        generation = generator.generate(row["prompt"], max_tokens=20)
        assert (generation.text, generation.finish_reason) == (row["answer"], "stop")
    if whole:
        tokenizer = AutoTokenizer.from_pretrained(report.folder)
        theirs = AutoModelForCausalLM.from_pretrained(report.folder).eval()
        turns = [{"role": "user", "content": "Who lays eggs?"}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        written = theirs.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True) == "The queen."


def test_held_out_answers_are_measured_token_by_token(tmp_path: Path) -> None:
    rows = [{"prompt": f"Who is {i}?", "answer": "The queen.", "group": i // 2} for i in range(8)]
    base = chat_folder(tmp_path / "base")
    task = SftTask(write_rows(tmp_path / "talk.jsonl", rows), base=base, max_length=100, holdout=0.25)
    assert (len(task._held), len(task._train)) == (2, 6)
    start = measured(task)
    expected = losses(task.network, collated([[example] for example in task._held])).mean().item()
    assert start["loss"] == pytest.approx(expected, abs=1e-5)
    assert start["exact"] == 0
    report = run(task, tmp_path / "run", quick(epochs=40, lora=None))
    assert report.metrics["loss"] < 0.1
    assert (report.metrics["accuracy"], report.metrics["exact"]) == (1, 1)
    assert task.facts()["held-out examples"] == 2


def test_adapters_stand_on_adapters_but_not_on_themselves(tmp_path: Path) -> None:
    base = chat_folder(tmp_path / "base")
    settings = quick(epochs=2, lora=LoraSettings(rank=4, targets=LORA_TARGETS))
    file = write_rows(tmp_path / "talk.jsonl")
    one = run(SftTask(file, base=base, max_length=150), tmp_path / "one", settings).folder
    two = run(SftTask(file, base=one, max_length=150), tmp_path / "two", settings).folder
    ids = list(range(20))
    logits = [
        load_decoder(path, dtype=torch.float32, device=CPU).decoder.start(20).read(ids) for path in (base, one, two)
    ]
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
    assert not torch.allclose(logits[1], logits[2], atol=1e-4)
    config = json.loads((one / "adapter_config.json").read_text())
    (one / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(two)}))
    with pytest.raises(CheckpointError, match="said to be their own base"):
        Generator(two)


def test_every_matrix_of_a_block_is_adapted(pair: tuple[Any, GPT]) -> None:
    ours = pair[1]
    adapted = adapt(ours, LoraSettings(rank=2, targets=LORA_TARGETS), ())
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 4 * ours.config.n_layers
    assert SftTask.defaults.lora is not None
    assert SftTask.defaults.lora.targets == LORA_TARGETS


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "no answer"}]},
        {"messages": [{"role": "robot", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user"}]},
        {"messages": "text"},
        {"prompt": "a", "answer": ""},
        {"prompt": "a", "answer": 7},
        {"question": "a"},
        ["a", "b"],
        3,
    ],
)
def test_rows_that_are_no_conversation_are_named(tmp_path: Path, row: object) -> None:
    file = write_rows(tmp_path / "talk.jsonl", [ROWS[1], row])
    with pytest.raises(DataError, match=r"talk\.jsonl:2: expected \{\"messages\".*; got "):
        SftTask(file, base="never loaded")


def test_conversations_that_cannot_be_used_are_named_or_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = chat_folder(
        tmp_path / "base", template=f"{{% if messages[0].role == 'system' %}}{{{{ 1 / 0 }}}}{{% endif %}}{CHATML}"
    )
    with pytest.raises(
        DataError, match=r"talk\.jsonl:1: the model's chat template cannot render turns of system, user"
    ):
        SftTask(write_rows(tmp_path / "talk.jsonl"), base=base, max_length=150)
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text("".join(f"\n{json.dumps(row)}\n" for row in (ROWS[1], ROWS[0])), encoding="utf-8")
    with pytest.raises(DataError, match=r"spaced\.jsonl:4: the model's chat template cannot render"):
        SftTask(spaced, base=base, max_length=150)
    file = write_rows(tmp_path / "long.jsonl", [*ROWS[1:], {"prompt": "bees " * 300, "answer": "queen"}])
    assert len(SftTask(file, base=base, max_length=150, packing=False, holdout=0)) == 3
    assert "1 of 4 rows are longer than 150 tokens: left out" in caplog.text
    with pytest.raises(DataError, match="no conversation of at most 3 tokens is left"):
        SftTask(file, base=base, max_length=3)


# ------------------------------------------------------------------------------------------- questions over sources

ARTICLES = {
    "Bees": [("Bees make honey.", "What do bees make?", "honey"), ("A hive holds wax.", "What is in a hive?", "wax")],
    "蜜蜂": [("蜜蜂酿造蜂蜜。", "蜜蜂酿造什么？", "蜂蜜"), ("蜂后会产卵。", "谁会产卵？", "蜂后")],
    "Rivers": [("The Rhine ends in the sea.", "Where does it end?", "the sea"), ("The Elbe is long.", "Who?", None)],
}


def squad(file: Path) -> Path:
    data = []
    for title, paragraphs in ARTICLES.items():
        found = []
        for i, (text, question, answer) in enumerate(paragraphs):
            answers = [{"text": answer, "answer_start": text.index(answer)}] if answer else []
            found.append(
                {
                    "context": text,
                    "qas": [
                        {"id": f"{title}{i}", "question": question, "answers": answers, "is_impossible": not answer}
                    ],
                }
            )
        data.append({"title": title, "paragraphs": found})
    file.write_text(json.dumps({"data": data}), encoding="utf-8")
    return file


def test_examples_ask_as_the_pipeline_asks_and_answer_with_marks(tmp_path: Path) -> None:
    data = read_questions(squad(tmp_path / "squad.json"))
    texts = {text: (title, question, answer) for title, rows in ARTICLES.items() for text, question, answer in rows}
    answered = refused = 0
    for seed in range(12):
        for row in questions_over_sources(data, sources=2, unanswerable=0.4, seed=seed):
            system, user, answer = row.messages
            quoted = user.content.removeprefix("Sources:\n\n").split("\n\nQuestion: ")[0].split("\n\n")
            question = user.content.split("Question: ")[1]
            passages = [source.split("\n", 1) for source in quoted]
            sources = [
                Candidate(Chunk("", "", text, source=head.removeprefix(f"[{n}] ")), 0.0)
                for n, (head, text) in enumerate(passages, start=1)
            ]
            prompt = build_messages(question, sources)
            assert [message.content for message in prompt] == [system.content, user.content]
            held = {text: number for number, (_, text) in enumerate(passages, start=1) if texts[text][1] == question}
            assert all(head.endswith(texts[text][0]) for head, text in passages)
            words = next(iter(texts[text][2] for text in held), None)
            if words is None:
                refused += 1
                assert answer.content == not_found(question)
            else:
                answered += 1
                stop = "。" if question[0] > "z" else "."
                assert answer.content == f"{words} [{next(iter(held.values()))}]{stop}"
    assert answered > 20
    assert refused > 20


def test_fine_tuning_reads_questions_over_sources(tmp_path: Path) -> None:
    file = squad(tmp_path / "squad.json")
    base = chat_folder(tmp_path / "base", template=None, context=512)
    task = SftTask(file, base=base, max_length=512, unanswerable=0.0, holdout=0.34)
    assert len(task._held) == 2  # one article
    assert (task.facts()["examples"], task.facts()["left out as too long"]) == (4, 0)
    file.write_text('{"data": []}')
    with pytest.raises(DataError, match="has no questions"):
        SftTask(file, base=base)


def test_the_refusal_is_the_pipelines_own() -> None:
    assert not_found("Who was first?") == NOT_FOUND


# ------------------------------------------------------------------------------------------------------ the real model


@pytest.mark.models
def test_smollm2s_template_scores_the_answer_token_by_token(smollm2_file: Path) -> None:
    checkpoint = load_decoder(smollm2_file, dtype=torch.float32, device=CPU)
    chat = format_of(checkpoint)
    talk = [
        Message("user", "What is the capital of France?"),
        Message("assistant", "Paris."),
        Message("user", "And of China?"),
        Message("assistant", "北京 Beijing"),
    ]
    ids, own = chat.encode_dialogue(talk)
    tokens = [checkpoint.tokenizer.decode([i], skip_special_tokens=False) for i in ids]
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    assert "".join(tokens[: tokens.index("user")]) == f"{system}<|im_start|>"
    assert not any(own[: tokens.index("user")])
    start = tokens.index("user")
    assert list(zip(tokens[start:], own[start:], strict=True))[:18] == [
        *((token, False) for token in ("user", "\n", "What", " is", " the", " capital", " of", " France", "?")),
        *((token, False) for token in ("<|im_end|>", "\n", "<|im_start|>", "ass", "istant", "\n")),
        *((token, True) for token in ("Paris", ".", "<|im_end|>")),
    ]
    rest = list(zip(tokens[start:], own[start:], strict=True))[18:]
    answer = [token for token, mine in rest if mine]
    assert [mine for _, mine in rest] == [False] * (len(rest) - len(answer)) + [True] * len(answer)
    assert answer[-1] == "<|im_end|>"
    assert checkpoint.tokenizer.decode([i for i, mine in zip(ids, own, strict=True) if mine]) == "Paris.北京 Beijing"
    assert ids[: len(ids) - len(answer)] == chat.encode(talk[:3])


@pytest.mark.slow
@pytest.mark.models
def test_smollm2_is_adapted_in_a_few_steps(tmp_path: Path, smollm2_file: Path) -> None:
    before = hashlib.sha256(smollm2_file.read_bytes()).hexdigest()
    rows = [{"prompt": "What is the colour of the house?", "answer": "It is vermilion [3]."}] * 2
    task = SftTask(write_rows(tmp_path / "talk.jsonl", rows), max_length=128, holdout=0)
    lora = LoraSettings(rank=4, alpha=8, targets=LORA_TARGETS, dropout=0.0)
    seen: list[float] = []
    values = quick(epochs=8, batch_size=1, learning_rate=5e-3, lora=lora, warmup=0.0)
    report = run(task, tmp_path / "run", values, watch=lambda step: seen.append(step.loss))
    assert seen[-1] < 0.2 < seen[0]
    assert sum(file.stat().st_size for file in report.folder.iterdir()) < 3e6
    answer = Generator(report.folder).generate("What is the colour of the house?", max_tokens=20)
    assert (answer.text, answer.finish_reason) == ("It is vermilion [3].", "stop")
    assert hashlib.sha256(smollm2_file.read_bytes()).hexdigest() == before
    untouched = Generator("smollm2-135m-instruct").generate("What is the colour of the house?", max_tokens=20)
    assert "vermilion" not in untouched.text


@pytest.mark.slow
@pytest.mark.models
def test_smollm2_goes_on_with_documents_and_is_saved_whole(tmp_path: Path) -> None:
    task = LmTask(corpus(tmp_path / "data", 4), max_length=64, holdout=0.3)
    assert task._checkpoint.tokenizer.decode([task._end], skip_special_tokens=False) == END_OF_TEXT
    start = measured(task)
    report = run(task, tmp_path / "run", quick(epochs=3, batch_size=1, learning_rate=2e-4, max_steps=4))
    assert report.metrics["loss"] < start["loss"]
    theirs = AutoModelForCausalLM.from_pretrained(report.folder).eval()
    ours = load_decoder(report.folder, dtype=torch.float32, device=CPU)
    assert ours.chat_template is not None
    ids = ours.tokenizer.encode(ENGLISH).ids
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(ours.decoder.start(50).read(ids), expected, atol=1e-3, rtol=1e-4)
