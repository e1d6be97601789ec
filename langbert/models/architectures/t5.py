"""T5 checkpoints (T5, T5 1.1, flan-T5, mT5) as Hugging Face has them: what their configuration and tensors mean to
:class:`langbert.models.architectures.encoder_decoder.Seq2Seq`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..files.weights import SAME, NameTable, Row, Transform, stacked
from .encoder_decoder import Seq2SeqConfig

__all__ = ["t5_config", "t5_settings", "t5_table"]

_FEED_FORWARDS = {"relu": "relu", "gated-gelu": "gated_gelu"}


def t5_config(config: Mapping[str, Any], *, tied_head: bool) -> Seq2SeqConfig | None:
    """The network of a ``config.json``; None for a variant that :class:`Seq2Seq` does not compute.

    Args:
        tied_head: whether the checkpoint has no output layer of its own. Its configuration does not tell for sure:
            transformers 5 writes of every T5 that it is tied, and beside it whether outputs are scaled.

    Raises:
        KeyError, TypeError, ValueError: an entry is missing or makes no sense.
    """
    feed_forward = _FEED_FORWARDS.get(config.get("feed_forward_proj", "relu"))
    if feed_forward is None:
        return None
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True)) and not _is_mt5(config)
    n_layers, start = int(config["num_layers"]), config.get("decoder_start_token_id")
    return Seq2SeqConfig(
        vocab_size=int(config["vocab_size"]),
        n_layers=n_layers,
        n_decoder_layers=int(config.get("num_decoder_layers") or n_layers),
        n_heads=int(config["num_heads"]),
        hidden_size=int(config["d_model"]),
        intermediate_size=int(config["d_ff"]),
        head_dim=int(config["d_kv"]),
        positions="relative",
        norm="rmsnorm",
        norm_eps=float(config.get("layer_norm_epsilon", 1e-6)),
        feed_forward="relu" if feed_forward == "relu" else "gated_gelu",
        bias=False,
        tied_head=tied_head,
        scaling="output" if scaled else "none",
        start_id=int(start if start is not None else config.get("pad_token_id") or 0),
        n_buckets=int(config.get("relative_attention_num_buckets", 32)),
        max_distance=int(config.get("relative_attention_max_distance", 128)),
        dropout=float(config.get("dropout_rate", 0.1)),
    )


def t5_settings(config: Seq2SeqConfig) -> dict[str, Any]:
    """The entries of a ``config.json`` that :func:`t5_config` reads as ``config``."""
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "num_layers": config.n_layers,
        "num_decoder_layers": config.n_decoder_layers,
        "num_heads": config.n_heads,
        "d_model": config.hidden_size,
        "d_ff": config.intermediate_size,
        "d_kv": config.head_dim,
        "layer_norm_epsilon": config.norm_eps,
        "feed_forward_proj": "relu" if config.feed_forward == "relu" else "gated-gelu",
        "tie_word_embeddings": config.scaling == "output",  # what transformers before version 5 goes by
        "scale_decoder_outputs": config.scaling == "output",
        "decoder_start_token_id": config.start_id,
        "pad_token_id": config.start_id,
        "relative_attention_num_buckets": config.n_buckets,
        "relative_attention_max_distance": config.max_distance,
        "dropout_rate": config.dropout,
    }


def t5_table(config: Seq2SeqConfig) -> NameTable:
    """The Hugging Face names of a network with ``config``."""
    width = config.n_heads * config.head_dim
    rows = [Row("token_embedding.weight", ("shared.weight",)), Row("head.weight", ("lm_head.weight",))]
    for stack, feed_forward in (("encoder", 1), ("decoder", 2)):
        ours, theirs = f"{stack}.layers.{{layer}}", f"{stack}.block.{{layer}}.layer"
        # the bias is every layer's, and lies in the first
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        rows += [
            Row(f"{stack}.relative.weight", (bias,)),
            Row(f"{stack}.norm.weight", (f"{stack}.final_layer_norm.weight",)),
            *_attention(f"{ours}.attention", f"{theirs}.0.SelfAttention", {"qkv": "qkv"}, width),
            Row(f"{ours}.attention_norm.weight", (f"{theirs}.0.layer_norm.weight",)),
            *_feed_forward(f"{ours}.feed_forward", f"{theirs}.{feed_forward}.DenseReluDense", config),
            Row(f"{ours}.feed_forward_norm.weight", (f"{theirs}.{feed_forward}.layer_norm.weight",)),
        ]
    ours, theirs = "decoder.layers.{layer}.cross_attention", "decoder.block.{layer}.layer.1"
    rows += _attention(ours, f"{theirs}.EncDecAttention", {"query": "q", "key_value": "kv"}, width)
    rows.append(Row(f"{ours}_norm.weight", (f"{theirs}.layer_norm.weight",)))
    return NameTable(
        "T5",
        tuple(rows),
        n_layers=max(config.n_layers, config.n_decoder_layers),
        ignored=(
            r"(encoder|decoder)\.embed_tokens\.weight",  # the shared table once more
            r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",  # never used
            *((r"lm_head\.weight",) if config.tied_head else ()),
        ),
    )


def _is_mt5(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "mt5"  # of the kind of T5 1.1, whatever its configuration says


def _attention(ours: str, theirs: str, matrices: Mapping[str, str], width: int) -> list[Row]:
    """Rows of one attention; ``matrices`` says which of their queries, keys and values lie in which of ours."""
    rows = [Row(f"{ours}.output.weight", (f"{theirs}.o.weight",))]
    for matrix, parts in matrices.items():
        names = tuple(f"{theirs}.{part}.weight" for part in parts)
        rows.append(Row(f"{ours}.{matrix}.weight", names, stacked(*[width] * len(parts))))
    return rows


def _feed_forward(ours: str, theirs: str, config: Seq2SeqConfig) -> list[Row]:
    up: tuple[str, tuple[str, ...], Transform] = ("up", ("wi",), SAME)
    if config.feed_forward == "gated_gelu":
        up = ("gate_up", ("wi_0", "wi_1"), stacked(config.intermediate_size, config.intermediate_size))
    name, parts, transform = up
    return [
        Row(f"{ours}.{name}.weight", tuple(f"{theirs}.{part}.weight" for part in parts), transform),
        Row(f"{ours}.down.weight", (f"{theirs}.wo.weight",)),
    ]
