"""A decoder into a folder that :func:`~langbert.models.gpt.loading.load_decoder` and transformers load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..architectures.transformer_xl import TransformerXL, transformer_xl_settings
from ..files.weights import save_tensors, write_json
from .checkpoint import hf_settings, hf_table
from .decoder import DecoderCheckpoint
from .network import GPT

__all__ = ["CHAT_TEMPLATE", "save_decoder"]

CHAT_TEMPLATE = "chat_template.jinja"


def save_decoder(network: GPT | TransformerXL, checkpoint: DecoderCheckpoint, folder: Path) -> None:
    """``config.json``, ``model.safetensors`` and tokenizer as Hugging Face lays them out.

    A :class:`TransformerXL` goes into the same files, which only langbert reads.

    Args:
        network: the weights, written as they are (float32 while training).
        checkpoint: tokenizer, template, control tokens and end tokens; its own decoder is not looked at.

    Raises:
        ValueError: no architecture of Hugging Face's computes what ``network`` does.
    """
    tokenizer, tokens = checkpoint.tokenizer, dict(checkpoint.tokens)
    ends = sorted(checkpoint.end_ids)
    special = {
        f"{name.removesuffix('_token')}_token_id": index
        for name, token in tokens.items()
        if (index := tokenizer.token_to_id(token)) is not None
    } | {"eos_token_id": ends[0] if len(ends) == 1 else ends}
    config, tensors, limits = _as_others_have_it(network)
    write_json({**config, **special, "dtype": "float32"}, folder / "config.json")
    write_json(special, folder / "generation_config.json")
    save_tensors(tensors, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "clean_up_tokenization_spaces": False,
        **limits,
    }
    write_json(settings, folder / "tokenizer_config.json")
    if checkpoint.chat_template is not None:
        (folder / CHAT_TEMPLATE).write_text(checkpoint.chat_template, encoding="utf-8")


def _as_others_have_it(network: GPT | TransformerXL) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, int]]:
    """Entries of ``config.json``, tensors by name, and of ``tokenizer_config.json`` how much can be read."""
    if isinstance(network, TransformerXL):
        return transformer_xl_settings(network.config), network.state_dict(), {}
    config = network.config
    inner = "transformer." if config.rotary is None else "model."
    tensors = hf_table(config).to_theirs(network.state_dict())
    named = {name if name.startswith("lm_head.") else inner + name: tensor for name, tensor in tensors.items()}
    return hf_settings(config), named, {"model_max_length": config.context_length}
