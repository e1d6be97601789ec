"""Generator: a conversation in, the assistant's turn out, piece by piece.

A GPT-style decoder reads the prompt in one pass and then writes token by token from its KV cache. Runs on this machine.
"""

from __future__ import annotations

import threading
from collections.abc import Generator as PythonGenerator
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GenerationError
from ..models import BY_LLAMA_CPP, resolve
from ..models.configured import Configured
from ..models.decoder import load_decoder, prepared
from ..models.gpt.decoder import PrefixCache
from ..models.hardware import Precision, planned_threads, resolve_device, resolve_precision, using_threads
from ..records import Generation, Message
from .chat import ChatFormat, checked_messages
from .sampling import Sampler, Sampling
from .streaming import Detokenizer, GenerationStream, StopStrings

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Unpack

    from ..models.decoder import Decoder, Session
    from .sampling import OwnOptions


class Generator(Configured):
    """A decoder that writes answers.

    Safe to use from several threads: their generations take turns, a token each.

    Args:
        model: a catalogue name, a ``.gguf`` file, a Hugging Face folder, a folder of adapters, or a hub id. GGUF files
            of families that langbert has no network for are run by llama.cpp where ``langbert[llama-cpp]`` is
            installed, else by transformers; ``"llama.cpp:NAME"`` lets it run any.
        precision: ``"auto"`` is bfloat16 where the processor multiplies it, else float32. On a CPU it then also means
            that single tokens are read with weights of 4 bits, if those of the checkpoint are no finer, or of 8.
        device: ``"auto"``, or torch's name for one.
        threads: for one forward pass; None plans them for the cores this process may use.
        offline: touch no network to find the model; None means what the environment says.
        prefix_cache_mb: megabytes of what was read that are kept for prompts which begin alike; 0 keeps nothing. For
            GPT-2 and Llama families; the answers are the same.

    Raises:
        ModelError: the model cannot be found, fetched or loaded.
    """

    def __init__(
        self,
        model: str | Path = "smollm2-135m-instruct",
        *,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        offline: bool | None = None,
        prefix_cache_mb: float = 64,
    ) -> None:
        self.name = str(model)
        prefixes = PrefixCache(int(prefix_cache_mb * 1e6))
        self._threads = planned_threads(threads)
        self._lock = threading.Lock()
        place = resolve_device(device)
        dtype = resolve_precision(precision, place)
        with using_threads(self._threads):
            path = resolve(self.name.removeprefix(BY_LLAMA_CPP), offline=offline)
            by_llama_cpp = self.name.startswith(BY_LLAMA_CPP)
            checkpoint = load_decoder(path, dtype=dtype, device=place, offline=offline, by_llama_cpp=by_llama_cpp)
            self._decoder = prepared(checkpoint.decoder, prefixes, low_bits=precision == "auto")
        self._tokenizer = checkpoint.tokenizer
        self._end_ids = checkpoint.end_ids
        self._chat = ChatFormat(checkpoint.tokenizer, checkpoint.chat_template, checkpoint.tokens)

    @property
    def decoder(self) -> Decoder:
        """What computes: one of :mod:`langbert.models.decoder`."""
        return self._decoder

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and answer may have together."""
        return self._decoder.context_length

    def encode(self, messages: Sequence[Message] | str) -> list[int]:
        """Token ids of the prompt they become, template included; a string is one user message."""
        return self._chat.encode(checked_messages(messages))

    def count_tokens(self, messages: Sequence[Message] | str) -> int:
        """Messages: tokens of the prompt they become, template included. A string: tokens of that text alone."""
        if isinstance(messages, str):
            return len(self._chat.encode_text(messages))
        return len(self.encode(messages))

    def stream(
        self,
        messages: Sequence[Message] | str,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
    ) -> GenerationStream:
        """The assistant's next turn, in pieces as they are written; work is done only as pieces are asked for.

        Args:
            messages: the conversation; a string is one user message.
            max_tokens: the longest answer.
            stop: writing ends where one of these is completed; it and what follows is left out.
            temperature, top_p, top_k, repetition_penalty, seed: see :class:`langbert.generation.sampling.Sampling`.

        Raises:
            GenerationError: the prompt with ``max_tokens`` is longer than the context, or there are no messages.
            ValueError: an argument is out of its range.
        """
        sampling = Sampling(temperature, top_p, top_k, repetition_penalty, seed)
        stops = StopStrings(stop)
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}, expected at least 1")
        prompt_ids = self.encode(messages)
        if not prompt_ids:
            raise GenerationError("the prompt is empty: give a message with at least one character")
        needed = len(prompt_ids) + max_tokens
        if needed > self.context_length:
            raise GenerationError(
                f"the prompt has {len(prompt_ids)} tokens and the answer may have {max_tokens}: together {needed}, "
                f"{self.name} reads {self.context_length}; shorten the prompt or lower max_tokens"
            )
        return GenerationStream(partial(self._write, prompt_ids, max_tokens, stops, sampling))

    def generate(self, messages: Sequence[Message] | str, **options: Unpack[OwnOptions]) -> Generation:
        """The assistant's next turn, whole; options and errors are those of :meth:`stream`."""
        return self.stream(messages, **options).finish()

    def _write(
        self, prompt_ids: list[int], max_tokens: int, stops: StopStrings, sampling: Sampling, closed: threading.Event
    ) -> PythonGenerator[str, None, Generation | None]:
        session = self._decoder.start(len(prompt_ids) + max_tokens)
        sampler = Sampler(sampling, prompt_ids)
        detokenizer = Detokenizer(self._decode)
        shown: list[str] = []
        new_ids, n_written, ended = prompt_ids, 0, False
        while n_written < max_tokens and not ended:
            token = sampler.choose(self._read(session, new_ids))
            if closed.is_set():
                return None
            if token in self._end_ids:
                ended = True
            else:
                new_ids, n_written = [token], n_written + 1
                if piece := stops.push(detokenizer.push(token)):
                    shown.append(piece)
                    yield piece
                ended = stops.stopped
        if piece := stops.push(detokenizer.flush()) + stops.flush():
            shown.append(piece)
            yield piece
        return Generation(
            text="".join(shown),
            prompt_tokens=len(prompt_ids),
            completion_tokens=n_written,
            finish_reason="stop" if ended or stops.stopped else "length",
        )

    def _read(self, session: Session, token_ids: Sequence[int]) -> Tensor:
        try:
            with self._lock, using_threads(self._threads):
                logits = session.read(token_ids)
        except Exception as error:  # out of memory, an id without a row …: torch has many words for it
            reason = str(error) or type(error).__name__
            raise GenerationError(f"{self.name} could not go on: {reason}") from error
        if not bool(logits.sum().isfinite()) and bool(logits.isnan().any()):
            raise GenerationError(f"{self.name} computed logits that are not numbers: is the checkpoint sound?")
        return logits

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=True)
        return text
