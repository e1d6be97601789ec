"""What a :class:`langbert.Generator` needs of a decoder, and the two that give it: ours and transformers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..errors import CheckpointError
from ..nn.gpt import GPT, GPTConfig

__all__ = [
    "Decoder",
    "DecoderCheckpoint",
    "GPTDecoder",
    "Session",
    "TransformersDecoder",
    "end_token_ids",
    "read_tokenizer",
]

_END_TOKENS = frozenset(
    ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|end_of_text|>", "<end_of_turn>", "</s>")
)
"""Control tokens that end a turn or a text, whatever the configuration calls ``eos``."""

_UNLIMITED = 2**31 - 1


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


def end_token_ids(tokenizer: Tokenizer, named: Sequence[object]) -> frozenset[int]:
    """The ids that a configuration names (what is no id is left out) and those of the usual end tokens."""
    added = tokenizer.get_added_tokens_decoder().items()
    usual = {index for index, token in added if token.special and token.content in _END_TOKENS}
    return frozenset(usual | {value for value in named if isinstance(value, int) and not isinstance(value, bool)})


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``.

    Raises:
        CheckpointError: it is missing or cannot be read.
    """
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{file}: cannot be read as a tokenizer ({error})") from error
    tokenizer.no_truncation()  # some files carry the settings of their training
    tokenizer.no_padding()
    return tokenizer


def transformers_tokenizer(folder: Path, *, gguf_file: str | None = None) -> Tokenizer:
    """The tokenizer that transformers makes of what lies in ``folder``, for what is not a ``tokenizer.json``.

    Raises:
        CheckpointError: transformers cannot, or its tokenizer has no fast form.
    """
    from transformers import AutoTokenizer

    options = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # as above, anything
        raise CheckpointError(f"{folder}: has no tokenizer that can be read: {error}") from error
    tokenizer: Tokenizer | None = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise CheckpointError(f"{folder}: its tokenizer has no tokenizer.json form; save it as a fast tokenizer first")
    return tokenizer


def empty_network(config: GPTConfig, source: Path) -> GPT:
    """A network without memory for its weights, to be filled by assignment.

    Raises:
        CheckpointError: its sizes are beyond what a tensor can have.
    """
    try:
        with torch.device("meta"):
            return GPT(config)
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: describes a network that cannot be built: {error}") from error


class GPTDecoder:
    """:class:`langbert.nn.gpt.GPT` behind the :class:`Decoder` protocol."""

    def __init__(self, model: GPT) -> None:
        self.model = model.eval().requires_grad_(False)

    @property
    def context_length(self) -> int:
        return self.model.config.context_length

    def start(self, capacity: int) -> Session:
        return _GPTSession(self.model, capacity)


class _GPTSession:
    def __init__(self, model: GPT, capacity: int) -> None:
        self._model = model
        self._cache = model.new_cache(capacity)
        self._device = model.token_embedding.weight.device

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._device)  # (1, T)
        hidden = self._model.hidden_states(new, cache=self._cache)
        return self._model.logits(hidden[0, -1])


class TransformersDecoder:
    """Any causal language model of transformers, for architectures we have not written.

    Raises:
        CheckpointError: transformers cannot load it, or could only by running code from the checkpoint.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device, gguf_file: str | None = None) -> None:
        from transformers import AutoModelForCausalLM

        options: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, trust_remote_code=False, **options
            )
        except Exception as error:  # on a damaged or hostile checkpoint transformers may raise anything
            raise CheckpointError(
                f"{folder / (gguf_file or '')}: not a decoder that langbert or transformers can load: {error}"
            ) from error
        self._model = model.to(device).eval()

    @property
    def context_length(self) -> int:
        config = self._model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or _UNLIMITED)

    def start(self, capacity: int) -> Session:
        return _TransformersSession(self._model)


class _TransformersSession:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._past: Any = None

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._model.device)  # (1, T)
        output = self._model(input_ids=new, past_key_values=self._past, use_cache=True, logits_to_keep=1)
        self._past = output.past_key_values
        logits: Tensor = output.logits[0, -1]
        return logits
