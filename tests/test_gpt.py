"""The decoder against transformers on tiny random weights: GPTs, Llama, Qwen2, their caches, masks and name tables."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from langbert.errors import CheckpointError
from langbert.models.files.weights import load_strict, read_tensors
from langbert.models.gpt.checkpoint import gguf_config, gguf_table, hf_config, hf_table
from langbert.models.gpt.network import GPT, GPTConfig
from langbert.models.layers.kv_cache import KVCache
from langbert.models.layers.rotary import RotaryConfig

VOCABULARY = 97
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def gpt1() -> PreTrainedModel:
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=VOCABULARY, n_positions=64, n_embd=48, n_layer=3, n_head=4))


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=48, n_layer=3, n_head=4))


def llama(**changes: Any) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**(LLAMA | changes)))


REFERENCES = {
    "gpt1": gpt1,
    "gpt2": gpt2,
    "llama grouped": llama,
    "llama one kv head, tied": lambda: llama(num_key_value_heads=1, tie_word_embeddings=True),
    "llama wide heads": lambda: llama(head_dim=16),
    "llama long": lambda: llama(rope_parameters=LLAMA3_ROPE),
    "llama interpolated": lambda: llama(rope_parameters={"rope_type": "linear", "rope_theta": 300.0, "factor": 4.0}),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA)),
}


@pytest.fixture(scope="module", params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(1)
    model = REFERENCES[request.param]().eval()
    with torch.no_grad():  # fresh biases are 0 and fresh norms 1: a mistake in them would not show
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif "emb" not in name and "wte" not in name:
                parameter.mul_(4)
    return model


@pytest.fixture(scope="module")
def folder(reference: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    reference.save_pretrained(path)
    return path


def load(folder: Path) -> GPT:
    config = hf_config(json.loads((folder / "config.json").read_text()))
    assert config is not None
    with torch.device("meta"):
        model = GPT(config)
    load_strict(model, read_tensors(folder), hf_table(config), source=folder)
    return model.eval()


@pytest.fixture(scope="module")
def ours(folder: Path) -> GPT:
    return load(folder)


@pytest.fixture(scope="module")
def token_ids() -> torch.Tensor:
    return torch.randint(VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(2))


def small(**changes: Any) -> GPTConfig:
    sizes: dict[str, Any] = {
        "vocab_size": 31,
        "context_length": 32,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "rotary": RotaryConfig(),
        "norm": "rmsnorm",
        "feed_forward": "swiglu",
        "bias": "none",
    }
    return GPTConfig(**(sizes | changes))


@torch.inference_mode()
def test_logits_agree_with_transformers(reference: PreTrainedModel, ours: GPT, token_ids: torch.Tensor) -> None:
    expected = reference(token_ids).logits
    assert expected.abs().max() > 0.3  # not the near-zeros of untouched initial weights
    torch.testing.assert_close(ours(token_ids), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_cache_changes_nothing(ours: GPT, token_ids: torch.Tensor) -> None:
    expected = ours(token_ids)
    cache = ours.new_cache(40, batch=2)
    pieces = [token_ids[:, :17], token_ids[:, 17:18], token_ids[:, 18:30], *token_ids[:, 30:].split(1, dim=1)]
    logits = torch.cat([ours(piece, cache=cache) for piece in pieces], dim=1)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert cache.length == cache.capacity == 40


@torch.inference_mode()
def test_a_truncated_cache_is_the_cache_of_the_shared_head(ours: GPT, token_ids: torch.Tensor) -> None:
    other = torch.cat((token_ids[:, :20], token_ids.flip(1)[:, :15]), dim=1)
    cache = ours.new_cache(40, batch=2)
    ours(token_ids, cache=cache)
    cache.truncate(20)
    torch.testing.assert_close(ours(other[:, 20:], cache=cache), ours(other)[:, 20:], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(ours: GPT, token_ids: torch.Tensor, side: str) -> None:
    short, long = token_ids[0, :9], token_ids[1, :14]
    padding = torch.full((5,), 3)
    parts, present = ((padding, short), [0] * 5 + [1] * 9) if side == "left" else ((short, padding), [1] * 9 + [0] * 5)
    batch = torch.stack((torch.cat(parts), long))
    mask = torch.tensor([present, [1] * 14])
    logits = ours(batch, attention_mask=mask)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[0][mask[0].bool()], ours(short[None])[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits[1], ours(long[None])[0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_padded_batch_steps_as_its_rows_do(ours: GPT, token_ids: torch.Tensor) -> None:
    short, long = token_ids[0, :9], token_ids[1, :14]
    cache = ours.new_cache(15, batch=2)
    prompt = torch.stack((torch.cat((torch.zeros(5, dtype=torch.long), short)), long))
    mask = torch.tensor([[0] * 5 + [1] * 9, [1] * 14])
    ours(prompt, cache=cache, attention_mask=mask)
    step = ours(token_ids[:, 20:21], cache=cache, attention_mask=F.pad(mask, (0, 1), value=1))
    alone = ours(torch.cat((short, token_ids[0, 20:21]))[None])
    torch.testing.assert_close(step[0, -1], alone[0, -1], atol=1e-5, rtol=1e-5)


def test_the_table_read_backwards_saves(reference: PreTrainedModel, folder: Path, ours: GPT, tmp_path: Path) -> None:
    theirs = hf_table(ours.config).to_theirs(ours.state_dict())
    original = {name.removeprefix("transformer.").removeprefix("model."): t for name, t in read_tensors(folder).items()}
    assert theirs.keys() == original.keys()
    for name, tensor in theirs.items():
        assert torch.equal(tensor, original[name]), name


def test_gguf_order_of_query_rows_is_undone() -> None:
    """llama.cpp reorders the rows of a head so that the pairs that turn together stand side by side."""
    config = small()
    table = gguf_table(config, "llama")
    model = GPT(config)
    theirs = table.to_theirs(model.state_dict())
    queries = model.blocks[0].attention.qkv.weight[: 4 * 8]  # 4 heads of 8
    interleaved = queries.view(4, 2, 4, 32).swapaxes(1, 2).reshape(32, 32)  # as convert_hf_to_gguf.py permutes
    assert torch.equal(theirs["blk.0.attn_q.weight"], interleaved)
    back = GPT(config)
    load_strict(back, theirs, table)
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


def test_a_missing_tensor_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(file)
    gone = sorted(name for name in tensors if ".1." in name)[0]
    del tensors[gone]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"missing .*1"):
        load(tmp_path / "broken")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt_neox"},
        {"model_type": "gpt2", "activation_function": "relu", "vocab_size": 9},
        {"model_type": "openai-gpt", "afn": "relu", "vocab_size": 9},
        {"model_type": "mistral", "sliding_window": 4096, **LLAMA},
        {"model_type": "llama", "attention_bias": True, **LLAMA},
        {"model_type": "llama", "rope_scaling": {"rope_type": "yarn", "factor": 4.0}, **LLAMA},
        {"model_type": ["llama"]},
        {},
    ],
)
def test_what_it_does_not_compute_is_left_to_others(config: dict[str, Any]) -> None:
    assert hf_config(config) is None


def test_both_spellings_of_rope_settings_are_read() -> None:
    new = hf_config({"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}, **LLAMA})
    old = hf_config({"model_type": "llama", "rope_theta": 1e5, "rope_scaling": None, **LLAMA})
    assert new == old
    assert new is not None
    assert new.rotary == RotaryConfig(1e5)


def test_gguf_metadata_becomes_a_config() -> None:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 128,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
        "llama.rope.freq_base": 100_000.0,
    }
    expected = small(context_length=128, rotary=RotaryConfig(1e5), norm_eps=1e-5)
    assert gguf_config(metadata, 31, tied_head=True) == expected
    assert gguf_config(metadata | {"llama.rope.scaling.type": "yarn"}, 31, tied_head=True) is None
    assert gguf_config({"general.architecture": "phi3"}, 31, tied_head=True) is None


@pytest.mark.parametrize("changes", [{"n_layers": 0}, {"n_kv_heads": 3}, {"hidden_size": 30}, {"head_dim": 7}])
def test_impossible_sizes_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="|".join(["n_layers", "n_kv_heads", "hidden_size", "head_dim"])):
        small(**changes)


@pytest.mark.parametrize(
    ("name", "millions"),
    {
        "gpt1": 117,
        "gpt2": 124,
        "gpt2-medium": 355,
        "gpt2-large": 774,
        "gpt2-xl": 1558,
        "gpt3-small": 125,
        "gpt3-medium": 350,
        "gpt3-large": 760,
        "gpt3-xl": 1300,
        "gpt3-2.7b": 2700,
        "gpt3-6.7b": 6700,
        "gpt3-13b": 13_000,
        "gpt3-175b": 175_000,
    }.items(),
)
def test_named_networks_have_the_parameters_their_authors_count(name: str, millions: int) -> None:
    """GPT-2's as corrected in github.com/openai/gpt-2, GPT-3's rounded as in table 2.1."""
    with torch.device("meta"):
        model = GPT(GPTConfig.named(name))
    counted = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert counted == pytest.approx(millions, rel=0.02 if name.startswith("gpt3") else 0.005)


def test_a_named_network_can_be_changed_and_an_unknown_one_is_refused() -> None:
    config = GPTConfig.named("gpt2-medium", vocab_size=300)
    assert (config.vocab_size, config.n_layers, config.hidden_size, config.head_dim) == (300, 24, 1024, 64)
    assert GPTConfig.named("gpt2") == hf_config(GPT2Config().to_dict())
    assert GPTConfig.named("gpt1") == hf_config(OpenAIGPTConfig().to_dict())
    with pytest.raises(ValueError, match=r"no GPT called 'gpt4': known are gpt1, gpt2, gpt2-medium"):
        GPTConfig.named("gpt4")


def test_too_long_is_said() -> None:
    model = GPT(small())
    with pytest.raises(ValueError, match="33 tokens do not fit the context of 32"):
        model(torch.zeros(1, 33, dtype=torch.long))
    with pytest.raises(ValueError, match="holds 4 tokens, 5 are needed"):
        model(torch.zeros(1, 5, dtype=torch.long), cache=model.new_cache(4))
    with pytest.raises(ValueError, match="covers 3 tokens, expected 5"):
        model(torch.zeros(1, 5, dtype=torch.long), attention_mask=torch.ones(1, 3))
    with pytest.raises(ValueError, match="cannot keep 2 of 0"):
        KVCache(1, 1, 8, 4).truncate(2)


@pytest.mark.parametrize(
    "config",
    [
        small(),
        small(rotary=None, norm="layernorm", feed_forward="gelu", bias="all", n_kv_heads=4, dropout=0.05),
        small(tied_head=False, bias="qkv"),
        small(rotary=None, norm="layernorm", feed_forward="gelu", bias="all", n_kv_heads=4, norm_first=False),
    ],
    ids=["llama", "gpt2", "qwen2", "gpt1"],
)
def test_it_learns(config: GPTConfig) -> None:
    """A sequence of 24 tokens is learnt by heart, from the initial weights, also with dropout."""
    torch.manual_seed(3)
    model = GPT(config).train()
    text = torch.randint(31, (1, 25))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    assert model(text[:, :-1]).argmax(-1).tolist() != text[:, 1:].tolist()
    for _ in range(80):
        loss = F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert model(text[:, :-1]).argmax(-1).tolist() == text[:, 1:].tolist()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_dropout_is_for_training_only() -> None:
    model = GPT(small(dropout=0.3))
    ids = torch.arange(10)[None]
    assert not torch.equal(model.train()(ids), model(ids))
    assert torch.equal(model.eval()(ids), model(ids))


def test_residual_branches_start_smaller() -> None:
    torch.manual_seed(4)
    model = GPT(small(n_layers=8, hidden_size=128)).requires_grad_(False)
    block = model.blocks[0]
    assert float(block.attention.qkv.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert float(block.attention.output.weight.std()) == pytest.approx(0.02 / 4, rel=0.1)
    assert float(block.feed_forward.down.weight.std()) == pytest.approx(0.02 / 4, rel=0.1)
    assert torch.equal(block.attention_norm.weight, torch.ones(128))


def test_an_empty_network_is_built_without_torchs_compiler() -> None:
    """Its import would take longer than everything else at the start of a program."""
    code = f"""
import sys, torch
from langbert.models.gpt.network import GPT, GPTConfig
from langbert.models.layers.rotary import RotaryConfig
with torch.device("meta"):
    GPT({small()!r})
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
