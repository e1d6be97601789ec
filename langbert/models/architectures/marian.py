"""The original Transformer in a folder: Marian's layout (Junczys-Dowmunt et al. 2018), which transformers computes too.

Marian adds to the Transformer a bias of the logits, which we have not; and its translation models bring no
``tokenizer.json``. So this is for networks that langbert trained, and for whoever loads them elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..files.weights import SAME, NameTable, Row, stacked
from .encoder_decoder import Seq2SeqConfig

__all__ = ["marian_config", "marian_settings", "marian_table"]


def marian_config(config: Mapping[str, Any], *, tied_head: bool) -> Seq2SeqConfig | None:
    """The network of a ``config.json``; None for a variant that :class:`Seq2Seq` does not compute.

    Raises:
        KeyError, TypeError, ValueError: an entry is missing or makes no sense.
    """
    n_heads, width = int(config["encoder_attention_heads"]), int(config["encoder_ffn_dim"])
    ours = (
        config.get("activation_function") == "relu"
        and config.get("scale_embedding", False)
        and config.get("share_encoder_decoder_embeddings", True)
        and config.get("decoder_vocab_size", config["vocab_size"]) in (None, config["vocab_size"])
        and (config["decoder_attention_heads"], config["decoder_ffn_dim"]) == (n_heads, width)
    )
    if not ours:
        return None
    return Seq2SeqConfig(
        vocab_size=int(config["vocab_size"]),
        n_layers=int(config["encoder_layers"]),
        n_decoder_layers=int(config["decoder_layers"]),
        n_heads=n_heads,
        hidden_size=int(config["d_model"]),
        intermediate_size=width,
        positions="sinusoidal" if config.get("static_position_embeddings", True) else "learned",
        context_length=int(config["max_position_embeddings"]),
        tied_head=tied_head,
        start_id=int(config["decoder_start_token_id"]),
        dropout=float(config.get("dropout", 0.1)),
    )


def marian_settings(config: Seq2SeqConfig) -> dict[str, Any]:
    """The entries of a ``config.json`` that :func:`marian_config` reads as ``config``."""
    return {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "encoder_layers": config.n_layers,
        "decoder_layers": config.n_decoder_layers,
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), config.n_heads),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), config.intermediate_size),
        "d_model": config.hidden_size,
        "max_position_embeddings": config.context_length,
        "static_position_embeddings": config.positions == "sinusoidal",
        "activation_function": "relu",
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": config.tied_head,
        "decoder_start_token_id": config.start_id,
        "pad_token_id": config.start_id,
        "forced_eos_token_id": None,
        "dropout": config.dropout,
    }


def marian_table(config: Seq2SeqConfig) -> NameTable:
    """The Hugging Face names of a network with ``config``."""
    joined = {1: SAME, **{n: stacked(*[config.hidden_size] * n) for n in (2, 3)}}
    modules: dict[str, tuple[str, ...]] = {"token_embedding": ("shared",), "head": ("lm_head",)}
    for stack in ("encoder", "decoder"):
        ours, theirs = f"{stack}.layers.{{layer}}", f"{stack}.layers.{{layer}}"
        modules |= {
            f"{stack}.positions": (f"{stack}.embed_positions",),
            f"{ours}.attention.qkv": tuple(f"{theirs}.self_attn.{part}_proj" for part in "qkv"),
            f"{ours}.attention.output": (f"{theirs}.self_attn.out_proj",),
            f"{ours}.attention_norm": (f"{theirs}.self_attn_layer_norm",),
            f"{ours}.feed_forward.up": (f"{theirs}.fc1",),
            f"{ours}.feed_forward.down": (f"{theirs}.fc2",),
            f"{ours}.feed_forward_norm": (f"{theirs}.final_layer_norm",),
        }
    ours, theirs = "decoder.layers.{layer}.cross_attention", "decoder.layers.{layer}.encoder_attn"
    modules |= {
        f"{ours}.query": (f"{theirs}.q_proj",),
        f"{ours}.key_value": (f"{theirs}.k_proj", f"{theirs}.v_proj"),
        f"{ours}.output": (f"{theirs}.out_proj",),
        f"{ours}_norm": (f"{theirs}_layer_norm",),
    }
    rows = [
        Row(f"{module}.{kind}", tuple(f"{name}.{kind}" for name in names), joined[len(names)])
        for module, names in modules.items()
        for kind in ("weight", "bias")
        if kind == "weight" or "layers." in module
    ]
    return NameTable(
        "Marian",
        tuple(rows),
        n_layers=max(config.n_layers, config.n_decoder_layers),
        prefixes=("model.",),
        ignored=(
            r"(encoder|decoder)\.embed_tokens\.weight",
            *((r"lm_head\.weight",) if config.tied_head else ()),
            *((r"(encoder|decoder)\.embed_positions\.weight",) if config.positions == "sinusoidal" else ()),
        ),
    )
