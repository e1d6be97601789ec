"""What a :class:`langbert.Generator` needs of a decoder, and decoders out of folders and files, and into them.

Which network it is, its ``config.json`` or GGUF header says: a GPT or Llama of ours, a Transformer-XL of ours, or, for
every other architecture, decoder or encoder–decoder, that of transformers; in a GGUF file llama.cpp's, where that is
installed. Adapters are merged into their base.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..errors import CheckpointError
from .architectures.transformer_xl import MODEL_TYPE as TRANSFORMER_XL
from .architectures.transformer_xl import TransformerXL, load_transformer_xl, transformer_xl_settings
from .files.adapters import base_of, is_adapter
from .files.gguf import GGUFFile
from .files.gguf_tokenizer import gguf_tokenizer
from .files.json_files import read_json, write_json
from .files.lora import merge_adapters
from .files.tokenizer import end_token_ids, read_tokenizer, transformers_tokenizer
from .files.weights import save_tensors
from .gpt.checkpoint import hf_config, hf_settings, hf_table, load_gpt
from .gpt.decoder import GPTDecoder, PrefixCache, PreparedDecoder
from .gpt.gguf import gguf_settings, load_gguf
from .gpt.inference import PreparedGPT, can_prepare, grids_of
from .gpt.network import GPT
from .llama_cpp_models import LlamaCppDecoder, has_llama_cpp
from .transformers_models import TransformersDecoder, TransformersSeq2SeqDecoder

log = logging.getLogger("langbert")

CHAT_TEMPLATE = "chat_template.jinja"


class Session(Protocol):
    """One sequence on its way through a decoder."""

    def read(self, token_ids: Sequence[int]) -> Tensor:
        """Append ``token_ids``, at least one; logits of the token after them, (vocab_size,)."""
        ...


class Decoder(Protocol):
    """A network that can read several sequences independently."""

    @property
    def context_length(self) -> int: ...

    def start(self, capacity: int) -> Session:
        """A new sequence of at most ``capacity`` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class DecoderCheckpoint:
    """A decoder with what it takes to talk to it.

    Attributes:
        chat_template: Jinja source; None for a model that was never taught to chat.
        tokens: what the template may refer to: ``bos_token``, ``eos_token`` …
        end_ids: the ids of tokens after which nothing more is written.
    """

    decoder: Decoder
    tokenizer: Tokenizer
    chat_template: str | None
    tokens: Mapping[str, str] = field(default_factory=dict)
    end_ids: frozenset[int] = frozenset()


def prepared(decoder: Decoder, prefixes: PrefixCache, *, low_bits: bool) -> Decoder:
    """The decoder made ready for answering.

    Args:
        decoder: if it is ours it remembers prompts in ``prefixes`` from now on.
        low_bits: also lay out its weights anew for the processor, in few bits where a token at a time is read, if
            that is possible. ``decoder`` itself is then not needed any more.
    """
    if not isinstance(decoder, GPTDecoder):
        return decoder
    decoder.prefixes = prefixes
    if not (low_bits and can_prepare(decoder.model)):
        return decoder
    grids = decoder.grids if decoder.grids is not None else grids_of(decoder.model)
    return PreparedDecoder(PreparedGPT(decoder.model, grids), prefixes)


def load_decoder(
    path: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    offline: bool | None = None,
    by_llama_cpp: bool = False,
) -> DecoderCheckpoint:
    """The decoder at ``path``: a ``.gguf`` file, or a folder with ``config.json``, weights and tokenizer, or with
    adapters, whose base is then found as :func:`langbert.models.resolve` finds it.

    Args:
        by_llama_cpp: let llama.cpp run a ``.gguf`` file also where it holds one of our networks.

    Raises:
        MissingExtra: llama.cpp is not installed, and asked for.
        CheckpointError: something in it is missing, damaged, or not a decoder.
    """
    path = Path(path)
    if path.is_file():
        return _from_gguf(path, dtype, device, by_llama_cpp)
    if by_llama_cpp:
        raise CheckpointError(f"{path}: llama.cpp runs .gguf files, and this is a folder")
    if is_adapter(path):
        return _adapted(path, dtype, device, offline)
    config = read_json(path / "config.json")
    file = path / "tokenizer.json"
    tokenizer = read_tokenizer(file) if file.is_file() else transformers_tokenizer(path)
    decoder = _decoder(path, config, dtype, device)
    settings = read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
    tokens = {
        name: text for name in ("bos_token", "eos_token", "unk_token", "pad_token") if (text := _text(settings, name))
    }
    return DecoderCheckpoint(
        decoder, tokenizer, _chat_template(path, settings), tokens, _end_ids(path, config, tokens, tokenizer)
    )


def _from_gguf(path: Path, dtype: torch.dtype, device: torch.device, by_llama_cpp: bool) -> DecoderCheckpoint:
    found = None if by_llama_cpp else load_gguf(path, dtype)
    if found is not None:
        decoder: Decoder = GPTDecoder(found.network.to(device), found.grids)
        tokenizer, settings = found.tokenizer, found.settings
    else:
        file = GGUFFile(path)
        if by_llama_cpp or has_llama_cpp():
            own = LlamaCppDecoder(path, device=device)
            decoder, tokenizer = own, cast(Tokenizer, own.tokenizer)  # as far as writing needs one
        else:
            family = file.metadata.get("general.architecture")
            log.info("%s holds a %s network: loading it through transformers", path, family)
            decoder, tokenizer = _by_transformers(path, file, dtype, device)
        settings = gguf_settings(file, tokenizer)
    return DecoderCheckpoint(
        decoder, tokenizer, settings["chat_template"], settings["tokens"], frozenset(settings["end_ids"])
    )


def _by_transformers(path: Path, file: GGUFFile, dtype: torch.dtype, device: torch.device) -> tuple[Decoder, Tokenizer]:
    try:
        decoder = TransformersDecoder(path.parent, dtype=dtype, device=device, gguf_file=path.name)
        if file.metadata.get("tokenizer.ggml.model") == "gpt2":
            return decoder, gguf_tokenizer(file)
        return decoder, transformers_tokenizer(path.parent, gguf_file=path.name)
    except CheckpointError as error:
        raise CheckpointError(f'{error}; llama.cpp may know it: pip install "langbert[llama-cpp]"') from error


def _adapted(folder: Path, dtype: torch.dtype, device: torch.device, offline: bool | None) -> DecoderCheckpoint:
    """Adapters merged into their base in float32; a chat template beside them goes before the base's own."""
    layers = [folder.absolute()]  # adapters may stand on adapters
    while is_adapter(base := base_of(layers[0], offline=offline)):
        if base in layers:
            raise CheckpointError(f"{folder}: its adapters are said to be their own base ({base})")
        layers.insert(0, base)
    checkpoint = load_decoder(base, dtype=torch.float32, device=torch.device("cpu"))
    if not isinstance(checkpoint.decoder, GPTDecoder):
        raise CheckpointError(f"{folder}: its base {base} is not a GPT-2 or Llama that adapters could be merged into")
    model = checkpoint.decoder.model
    template = checkpoint.chat_template
    for layer in layers:
        merge_adapters(model, layer)
        template = _chat_template(layer, {}) or template
    return replace(checkpoint, decoder=GPTDecoder(model.to(device, dtype)), chat_template=template)


def _decoder(folder: Path, config: dict[str, Any], dtype: torch.dtype, device: torch.device) -> Decoder:
    if config.get("is_encoder_decoder"):
        return TransformersSeq2SeqDecoder(folder, dtype=dtype, device=device)
    if config.get("model_type") == TRANSFORMER_XL:
        return load_transformer_xl(folder, config, dtype=dtype, device=device)
    try:
        ours = hf_config(config)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: does not describe a decoder: {error!r}") from error
    if ours is None:
        log.info("%s holds a %s network: loading it through transformers", folder, config.get("model_type"))
        return TransformersDecoder(folder, dtype=dtype, device=device)
    return GPTDecoder(load_gpt(folder, ours, dtype).to(device))


def _text(settings: dict[str, Any], name: str) -> str | None:
    """A token of ``tokenizer_config.json``: a string, or an object that has it as ``content``."""
    value = settings.get(name)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    """``chat_template.jinja`` where there is one, else the (default) template of ``tokenizer_config.json``."""
    file = folder / CHAT_TEMPLATE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error})") from error
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _end_ids(folder: Path, config: dict[str, Any], tokens: dict[str, str], tokenizer: Tokenizer) -> frozenset[int]:
    """What ``generation_config.json``, ``config.json`` and the tokenizer call the end."""
    file = folder / "generation_config.json"
    named: list[object] = [tokenizer.token_to_id(tokens.get("eos_token", ""))]
    for source in (config, read_json(file) if file.is_file() else {}):
        value = source.get("eos_token_id")
        named += value if isinstance(value, list) else [value]
    return end_token_ids(tokenizer, named)


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
