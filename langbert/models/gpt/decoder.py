"""What a :class:`langbert.Generator` needs of a decoder, and what gives it: our network as it is, our network prepared
for this processor, and those of transformers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ...errors import CheckpointError
from ..layers.kv_cache import KVCache
from ..layers.low_bit_linear import Grid, find_grid
from .inference import PreparedGPT, can_prepare
from .network import GPT, GPTConfig
from .prefix_cache import PrefixCache, parts
from .prompt_lookup import PromptLookup
from .steps import Stepper

__all__ = [
    "Decoder",
    "DecoderCheckpoint",
    "GPTDecoder",
    "PreparedDecoder",
    "Session",
    "TransformersDecoder",
    "end_token_ids",
    "grids_of",
    "prepared",
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
    """:class:`langbert.models.gpt.network.GPT` behind the :class:`Decoder` protocol.

    Args:
        grids: where they are known already, the grids that the linear layers' weights lie on, by module name.
    """

    def __init__(self, model: GPT, grids: Mapping[str, Grid] | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.grids = grids
        self.prefixes = PrefixCache(0)

    @property
    def context_length(self) -> int:
        return self.model.config.context_length

    def start(self, capacity: int) -> Session:
        return _GPTSession(self.model, capacity, self.prefixes)


class _GPTSession:
    def __init__(self, model: GPT, capacity: int, prefixes: PrefixCache) -> None:
        self._model, self._prefixes = model, prefixes
        self._cache = model.new_cache(capacity)
        self._device = model.token_embedding.weight.device

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        hidden = _read_on(token_ids, self._cache, self._prefixes, self._hidden)
        return self._model.logits(hidden)

    def _hidden(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._device)  # (1, T)
        return self._model.hidden_states(new, cache=self._cache)[0, -1]


class PreparedDecoder:
    """:class:`langbert.models.gpt.inference.PreparedGPT` behind the :class:`Decoder` protocol.

    Args:
        guesses: tokens that a step reads ahead at most; on answers from passages three take a quarter off the time.
    """

    def __init__(self, model: PreparedGPT, prefixes: PrefixCache, guesses: int = 3) -> None:
        self.model, self.prefixes, self.guesses = model, prefixes, guesses

    @property
    def context_length(self) -> int:
        return self.model.config.context_length

    def start(self, capacity: int) -> Session:
        return _PreparedSession(self.model, capacity, self.prefixes, self.guesses)


class _PreparedSession:
    """Reads what comes first as a prompt, and what follows in steps, ahead of what is given where that can be guessed.

    A guess that does not come true is forgotten: the logits are those of the tokens that were given, in any case.
    """

    def __init__(self, model: PreparedGPT, capacity: int, prefixes: PrefixCache, guesses: int) -> None:
        self._model, self._capacity, self._prefixes, self._guesses = model, capacity, prefixes, guesses
        self._prompt: KVCache | None = None
        self._stepper: Stepper | None = None
        self._lookup = PromptLookup(())
        self._ahead: deque[tuple[int, Tensor]] = deque()  # tokens read as guesses, and their outputs, (1, D) each

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        if self._prompt is None:
            if len(token_ids) > self._capacity:
                raise ValueError(f"a session for {self._capacity} tokens was given {len(token_ids)}")
            cache = self._prompt = self._model.new_cache(len(token_ids))
            hidden = _read_on(token_ids, cache, self._prefixes, lambda ids: self._model.read(torch.tensor(ids), cache))
            self._lookup = PromptLookup(token_ids)
            return self._model.logits(hidden)[0]
        if self._stepper is None:
            self._stepper = Stepper(self._model, self._prompt, self._capacity)
        return self._model.logits([self._step(token, self._stepper) for token in token_ids][-1])[0]

    def _step(self, token: int, stepper: Stepper) -> Tensor:
        """Append ``token``; its normalised output, (1, D)."""
        guesses = self._lookup.guess(token, self._guesses)
        if self._ahead and self._ahead[0][0] == token:
            return self._ahead.popleft()[1]
        stepper.truncate(stepper.length - len(self._ahead))  # without the guesses that did not come true
        guesses = guesses[: max(0, stepper.capacity - stepper.length - 1)]
        outputs = stepper.read([token, *guesses])
        self._ahead = deque((guess, outputs[i : i + 1]) for i, guess in enumerate(guesses, start=1))
        return outputs[:1]


def _read_on(
    token_ids: Sequence[int], cache: KVCache, prefixes: PrefixCache, read: Callable[[Sequence[int]], Tensor]
) -> Tensor:
    """What ``read`` gives for the end of ``token_ids``; the head of a prompt that is known is not read again."""
    if cache.length or not prefixes.max_bytes:
        return read(token_ids)
    known = prefixes.fill(token_ids, cache)
    last = [read(token_ids[part]) for part in parts(known, len(token_ids))][-1]
    prefixes.keep(token_ids, cache)
    return last


def prepared(decoder: Decoder, prefixes: PrefixCache, *, few_bits: bool) -> Decoder:
    """The decoder made ready for answering.

    Args:
        decoder: if it is ours it remembers prompts in ``prefixes`` from now on.
        few_bits: also lay out its weights anew for the processor, in few bits where a token at a time is read, if
            that is possible. ``decoder`` itself is then not needed any more.
    """
    if not isinstance(decoder, GPTDecoder):
        return decoder
    decoder.prefixes = prefixes
    if not (few_bits and can_prepare(decoder.model)):
        return decoder
    grids = decoder.grids if decoder.grids is not None else grids_of(decoder.model)
    return PreparedDecoder(PreparedGPT(decoder.model, grids), prefixes)


def grids_of(model: GPT) -> dict[str, Grid]:
    """The linear layers of ``model`` that lie on grids of 16 levels, by module name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and (grid := find_grid(module.weight)) is not None:
            found[name] = grid
    return found


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
