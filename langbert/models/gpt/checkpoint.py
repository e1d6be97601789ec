"""What :class:`~langbert.models.gpt.network.GPT` is called elsewhere: configurations and tensor names of checkpoints.

Four families: GPT-1, GPT-2 and Llama-like folders as Hugging Face has them, and GGUF files as llama.cpp has them. A
function that reads a configuration returns None for an architecture, or a variant of one, that :class:`GPT` does not
compute; such models go through transformers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files.weights import SAME, TRANSPOSED, NameTable, Row, Transform, build_empty, load_strict, read_tensors, stacked
from ..layers.rotary import RotaryConfig
from .network import GPT, GPTConfig


def load_gpt(folder: Path, config: GPTConfig, dtype: torch.dtype) -> GPT:
    """The network in a Hugging Face folder whose ``config.json`` is ``config``.

    Raises:
        CheckpointError: its tensors are missing, unexpected or misshapen.
    """
    tensors = read_tensors(folder)
    model = build_empty(lambda: GPT(config), folder, n_layers=config.n_layers, n_tensors=len(tensors))
    load_strict(model, tensors, hf_table(config), source=folder, dtype=dtype)
    return model


def hf_config(config: Mapping[str, Any]) -> GPTConfig | None:
    """The :class:`GPTConfig` of a ``config.json``; None if another network is meant.

    Raises:
        KeyError, TypeError, ValueError: an entry is missing or makes no sense.
    """
    reader = {
        "openai-gpt": _gpt1_config,
        "gpt2": _gpt2_config,
        **dict.fromkeys(("llama", "mistral", "qwen2"), _llama_config),
    }
    family = config.get("model_type")
    return reader[family](config) if isinstance(family, str) and family in reader else None


def hf_settings(config: GPTConfig) -> dict[str, Any]:
    """The entries of a ``config.json`` that :func:`hf_config` reads as ``config``.

    Raises:
        ValueError: no family of Hugging Face's computes this.
    """
    if config.rotary is not None:
        settings = _llama_settings(config)
    else:
        settings = _gpt2_settings(config) if config.norm_first else _gpt1_settings(config)
    if hf_config(settings) != config:
        raise ValueError(f"none of GPT-1, GPT-2, Llama and Qwen2 computes {config}")
    return settings


def hf_table(config: GPTConfig) -> NameTable:
    """The Hugging Face names of a network with ``config``: Llama's, or a GPT's, which alone learn their positions."""
    if config.rotary is not None:
        return _llama_table(config)
    return _gpt_table("GPT-2", _GPT2, config) if config.norm_first else _gpt_table("GPT-1", _GPT1, config)


def gguf_config(metadata: Mapping[str, Any], vocab_size: int, tied_head: bool) -> GPTConfig | None:
    """The :class:`GPTConfig` of a GGUF file's metadata; None if another network is meant.

    Raises:
        KeyError, TypeError, ValueError: an entry is missing or makes no sense.
    """
    family = metadata.get("general.architecture")
    if family not in ("llama", "qwen2"):
        return None

    def value(key: str, default: Any = None) -> Any:
        return metadata.get(f"{family}.{key}", default)

    n_heads, hidden_size = int(value("attention.head_count")), int(value("embedding_length"))
    head_dim = int(value("attention.key_length", 0)) or hidden_size // n_heads
    scaling = value("rope.scaling.type", "none")
    whole_head_turns = int(value("rope.dimension_count", head_dim)) == head_dim
    same_heads = int(value("attention.value_length", head_dim)) == head_dim
    if scaling not in ("none", "linear") or value("expert_count", 0) or not (whole_head_turns and same_heads):
        return None
    return GPTConfig(
        vocab_size=vocab_size,
        context_length=int(value("context_length")),
        n_layers=int(value("block_count")),
        n_heads=n_heads,
        n_kv_heads=int(value("attention.head_count_kv", n_heads)),
        hidden_size=hidden_size,
        intermediate_size=int(value("feed_forward_length")),
        head_dim=head_dim,
        rotary=RotaryConfig(
            theta=float(value("rope.freq_base", 10_000.0)),
            factor=float(value("rope.scaling.factor", 1.0)) if scaling == "linear" else 1.0,
        ),
        norm="rmsnorm",
        # a float32 on its way from 1e-5 through the file reads 9.999999747378752e-06
        norm_eps=float(f"{float(value('attention.layer_norm_rms_epsilon', 1e-5)):.7g}"),
        feed_forward="swiglu",
        bias="qkv" if family == "qwen2" else "none",
        tied_head=tied_head,
    )


def gguf_table(config: GPTConfig, architecture: str) -> NameTable:
    """The names llama.cpp gives the tensors of a ``"llama"`` or ``"qwen2"`` network."""
    # llama.cpp turns neighbouring rows of a llama's queries and keys together, and its converter reorders them so
    qkv = _interleaved_qkv(config) if architecture == "llama" else stacked(*_qkv_sizes(config))
    return NameTable(
        f"GGUF {architecture}",
        _rows(_GGUF, {"attention.qkv": qkv, "feed_forward.gate_up": _gate_up(config)}, biased=_biased(config)),
        n_layers=config.n_layers,
    )


def _gpt1_config(config: Mapping[str, Any]) -> GPTConfig | None:
    if config.get("afn", "gelu") != "gelu":  # GPT-1's name for the tanh approximation
        return None
    return replace(_gpt_sizes(config), norm_first=False)


def _gpt2_config(config: Mapping[str, Any]) -> GPTConfig | None:
    ours = (
        config.get("activation_function", "gelu_new") in ("gelu_new", "gelu_pytorch_tanh")
        and config.get("scale_attn_weights", True)
        and not config.get("scale_attn_by_inverse_layer_idx", False)
        and not config.get("add_cross_attention", False)
    )
    if not ours:
        return None
    return replace(_gpt_sizes(config), intermediate_size=int(config.get("n_inner") or 4 * config["n_embd"]))


def _gpt_sizes(config: Mapping[str, Any]) -> GPTConfig:
    return GPTConfig(
        vocab_size=int(config["vocab_size"]),
        context_length=int(config["n_positions"]),
        n_layers=int(config["n_layer"]),
        n_heads=int(config["n_head"]),
        n_kv_heads=int(config["n_head"]),
        hidden_size=int(config["n_embd"]),
        intermediate_size=4 * int(config["n_embd"]),
        norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        tied_head=bool(config.get("tie_word_embeddings", True)),
        dropout=float(config.get("resid_pdrop", 0.1)),
    )


def _llama_config(config: Mapping[str, Any]) -> GPTConfig | None:
    rotary = _rotary(config)
    sliding = config.get("use_sliding_window", config.get("model_type") == "mistral") and config.get("sliding_window")
    biased = config.get("attention_bias", False) or config.get("mlp_bias", False)
    if rotary is None or sliding or biased or config.get("hidden_act", "silu") != "silu":
        return None
    n_heads = int(config["num_attention_heads"])
    return GPTConfig(
        vocab_size=int(config["vocab_size"]),
        context_length=int(config["max_position_embeddings"]),
        n_layers=int(config["num_hidden_layers"]),
        n_heads=n_heads,
        n_kv_heads=int(config.get("num_key_value_heads") or n_heads),
        hidden_size=int(config["hidden_size"]),
        intermediate_size=int(config["intermediate_size"]),
        head_dim=int(config.get("head_dim") or 0),
        rotary=rotary,
        norm="rmsnorm",
        norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        feed_forward="swiglu",
        bias="qkv" if config["model_type"] == "qwen2" else "none",
        tied_head=bool(config.get("tie_word_embeddings", False)),
        dropout=float(config.get("attention_dropout") or 0.0),
    )


def _gpt1_settings(config: GPTConfig) -> dict[str, Any]:
    return _gpt_settings(config) | {
        "model_type": "openai-gpt",
        "architectures": ["OpenAIGPTLMHeadModel"],
        "afn": "gelu",
    }


def _gpt2_settings(config: GPTConfig) -> dict[str, Any]:
    return _gpt_settings(config) | {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_inner": config.intermediate_size,
        "activation_function": "gelu_new",
    }


def _gpt_settings(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_embd": config.hidden_size,
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied_head,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.dropout),
    }


def _llama_settings(config: GPTConfig) -> dict[str, Any]:
    family, architecture = ("qwen2", "Qwen2ForCausalLM") if config.bias == "qkv" else ("llama", "LlamaForCausalLM")
    rotary = config.rotary or RotaryConfig()
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": rotary.theta}
    if rotary.original_context:
        rope |= {
            "rope_type": "llama3",
            "factor": rotary.factor,
            "original_max_position_embeddings": rotary.original_context,
            "low_freq_factor": rotary.low,
            "high_freq_factor": rotary.high,
        }
    elif rotary.factor != 1.0:
        rope |= {"rope_type": "linear", "factor": rotary.factor}
    return {
        "model_type": family,
        "architectures": [architecture],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": rope,
        "rope_theta": rotary.theta,  # where transformers before version 5, and others, look for it
        "tie_word_embeddings": config.tied_head,
        "attention_dropout": config.dropout,
    }


def _rotary(config: Mapping[str, Any]) -> RotaryConfig | None:
    """Rope settings as transformers 5 (``rope_parameters``) or 4 (``rope_theta``, ``rope_scaling``) wrote them."""
    settings: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = float(settings.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    if float(settings.get("partial_rotary_factor", 1.0)) != 1.0:
        return None
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "default":
        return RotaryConfig(theta)
    if kind == "linear":
        return RotaryConfig(theta, factor=float(settings["factor"]))
    if kind == "llama3":
        return RotaryConfig(
            theta,
            factor=float(settings["factor"]),
            original_context=int(settings["original_max_position_embeddings"]),
            low=float(settings["low_freq_factor"]),
            high=float(settings["high_freq_factor"]),
        )
    return None


def _gpt_table(family: str, names: Mapping[str, tuple[str, ...]], config: GPTConfig) -> NameTable:
    linear = {name: TRANSPOSED for name in names if name.startswith(("attention.", "feed_forward."))}
    biased = names.keys() - {"token_embedding", "position_embedding", "head"}
    return NameTable(
        family,
        _rows(names, linear, biased=biased),
        n_layers=config.n_layers,
        prefixes=("transformer.",),
        ignored=(r"h\.\d+\.attn\.(bias|masked_bias)", "position_ids", *_ignored_head(config)),
    )


def _llama_table(config: GPTConfig) -> NameTable:
    joined = {"attention.qkv": stacked(*_qkv_sizes(config)), "feed_forward.gate_up": _gate_up(config)}
    return NameTable(
        "Llama",
        _rows(_LLAMA, joined, biased=_biased(config)),
        n_layers=config.n_layers,
        prefixes=("model.",),
        ignored=(r".*\.rotary_emb\.inv_freq", *_ignored_head(config)),
    )


_GPT2: dict[str, tuple[str, ...]] = {
    "token_embedding": ("wte",),
    "position_embedding": ("wpe",),
    "norm": ("ln_f",),
    "head": ("lm_head",),
    "attention_norm": ("h.{layer}.ln_1",),
    "attention.qkv": ("h.{layer}.attn.c_attn",),
    "attention.output": ("h.{layer}.attn.c_proj",),
    "feed_forward_norm": ("h.{layer}.ln_2",),
    "feed_forward.up": ("h.{layer}.mlp.c_fc",),
    "feed_forward.down": ("h.{layer}.mlp.c_proj",),
}
_GPT1: dict[str, tuple[str, ...]] = {
    **{module: theirs for module, theirs in _GPT2.items() if module != "norm"},
    "token_embedding": ("tokens_embed",),
    "position_embedding": ("positions_embed",),
}
_LLAMA: dict[str, tuple[str, ...]] = {
    "token_embedding": ("embed_tokens",),
    "norm": ("norm",),
    "head": ("lm_head",),
    "attention_norm": ("layers.{layer}.input_layernorm",),
    "attention.qkv": tuple(f"layers.{{layer}}.self_attn.{x}_proj" for x in "qkv"),
    "attention.output": ("layers.{layer}.self_attn.o_proj",),
    "feed_forward_norm": ("layers.{layer}.post_attention_layernorm",),
    "feed_forward.gate_up": ("layers.{layer}.mlp.gate_proj", "layers.{layer}.mlp.up_proj"),
    "feed_forward.down": ("layers.{layer}.mlp.down_proj",),
}
_GGUF: dict[str, tuple[str, ...]] = {
    "token_embedding": ("token_embd",),
    "norm": ("output_norm",),
    "head": ("output",),
    "attention_norm": ("blk.{layer}.attn_norm",),
    "attention.qkv": ("blk.{layer}.attn_q", "blk.{layer}.attn_k", "blk.{layer}.attn_v"),
    "attention.output": ("blk.{layer}.attn_output",),
    "feed_forward_norm": ("blk.{layer}.ffn_norm",),
    "feed_forward.gate_up": ("blk.{layer}.ffn_gate", "blk.{layer}.ffn_up"),
    "feed_forward.down": ("blk.{layer}.ffn_down",),
}


def _rows(
    names: Mapping[str, tuple[str, ...]], transforms: Mapping[str, Transform], biased: Collection[str]
) -> tuple[Row, ...]:
    """A row for each module's weight, and one for the bias of the ``biased`` ones."""
    rows = []
    for module, theirs in names.items():
        ours = f"blocks.{{layer}}.{module}" if "{layer}" in theirs[0] else module
        transform = transforms.get(module, SAME)
        rows.append(Row(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), transform))
        if module in biased:  # a vector: joined as the matrix is, never transposed
            transform = SAME if transform is TRANSPOSED else transform
            rows.append(Row(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs), transform))
    return tuple(rows)


def _biased(config: GPTConfig) -> tuple[str, ...]:
    return ("attention.qkv",) if config.bias == "qkv" else ()


def _ignored_head(config: GPTConfig) -> tuple[str, ...]:
    """A tied output layer may be written out a second time."""
    return (r"lm_head\.weight",) if config.tied_head else ()


def _qkv_sizes(config: GPTConfig) -> tuple[int, int, int]:
    n_rows = config.n_kv_heads * config.head_dim
    return config.n_heads * config.head_dim, n_rows, n_rows


def _gate_up(config: GPTConfig) -> Transform:
    return stacked(config.intermediate_size, config.intermediate_size)


def _interleaved_qkv(config: GPTConfig) -> Transform:
    """Theirs: the rows of a query or key alternate between the halves of a head. Ours: one half, then the other."""
    pairs = config.head_dim // 2

    def swapped(tensor: Tensor, shape: tuple[int, int]) -> Tensor:
        return tensor.view(-1, *shape, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    plain = stacked(*_qkv_sizes(config))

    def join(parts: Any) -> Tensor:
        queries, keys, values = parts
        return torch.cat((swapped(queries, (pairs, 2)), swapped(keys, (pairs, 2)), values))

    def split(ours: Tensor) -> list[Tensor]:
        queries, keys, values = plain.split(ours)
        return [swapped(queries, (2, pairs)), swapped(keys, (2, pairs)), values]

    return Transform(join, split)
