"""Decoders run by llama.cpp: GGUF files of any family it knows, with the tokenizer that lies in them.

``pip install langbert[llama-cpp]`` builds it for the processor at hand. Through its own C interface (``llama.h``), so
that prompts, sampling, stopping and streaming stay those of every other decoder.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import AddedToken
from torch import Tensor

from ..errors import CheckpointError, GenerationError, MissingExtra

_BATCH = 512  # tokens that are read at once


def has_llama_cpp() -> bool:
    """Whether it is installed."""
    return find_spec("llama_cpp") is not None


def _library() -> Any:
    """The C interface, which says nothing on its own account.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import llama_cpp
    except ImportError as error:
        raise MissingExtra("llama_cpp", "llama-cpp", "a decoder run by llama.cpp") from error
    llama_cpp.llama_log_set(_SILENCE.kept(llama_cpp), None)
    return llama_cpp


class _SILENCE:
    """What llama.cpp is to call with its messages; it must outlive all calls."""

    callback: Any = None

    @classmethod
    def kept(cls, library: Any) -> Any:
        if cls.callback is None:
            cls.callback = library.llama_log_callback(lambda level, text, data: None)
        return cls.callback


class _Model:
    """The weights and the vocabulary, freed with the last who holds this."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.library = library = _library()
        options = library.llama_model_default_params()
        options.n_gpu_layers = 0 if device.type == "cpu" else -1
        self.pointer = library.llama_model_load_from_file(str(path).encode(), options)
        if not self.pointer:
            raise CheckpointError(f"{path}: llama.cpp cannot load it: is it damaged, or newer than what is installed?")
        weakref.finalize(self, library.llama_model_free, self.pointer)
        if library.llama_model_has_encoder(self.pointer):
            raise CheckpointError(f"{path}: its network has an encoder; expected a decoder")
        self.vocabulary = library.llama_model_get_vocab(self.pointer)
        self.vocab_size = int(library.llama_vocab_n_tokens(self.vocabulary))


class LlamaCppDecoder:
    """A GGUF file, behind :class:`~langbert.models.decoder.Decoder`.

    Args:
        device: a CPU, or whatever llama.cpp was built for.

    Attributes:
        tokenizer: the one in the file.

    Raises:
        MissingExtra: llama.cpp is not installed.
        CheckpointError: it cannot load the file, or the network in it does not write by itself.
    """

    def __init__(self, path: Path, *, device: torch.device) -> None:
        self._model = _Model(path, device)
        self.tokenizer = LlamaCppTokenizer(self._model)

    @property
    def context_length(self) -> int:
        return int(self._model.library.llama_model_n_ctx_train(self._model.pointer))

    def start(self, capacity: int) -> _Session:
        return _Session(self._model, capacity)


class _Session:
    """A context of its own, for one sequence."""

    def __init__(self, model: _Model, capacity: int) -> None:
        self._model = model
        library = model.library
        options = library.llama_context_default_params()
        options.n_ctx = capacity
        options.n_batch = options.n_ubatch = min(capacity, _BATCH)
        self._context = library.llama_init_from_model(model.pointer, options)
        if not self._context:
            raise GenerationError(f"llama.cpp has no memory for {capacity} tokens: shorten the prompt or the answer")
        weakref.finalize(self, library.llama_free, self._context)

    def read(self, token_ids: Sequence[int]) -> Tensor:
        library, threads = self._model.library, torch.get_num_threads()
        library.llama_set_n_threads(self._context, threads, threads)
        for start in range(0, len(token_ids), _BATCH):
            part = token_ids[start : start + _BATCH]
            tokens = (library.llama_token * len(part))(*part)
            status = library.llama_decode(self._context, library.llama_batch_get_one(tokens, len(part)))
            if status:
                raise RuntimeError(f"llama.cpp could not read {len(part)} tokens (status {status})")
        logits = library.llama_get_logits_ith(self._context, -1)
        return torch.from_numpy(np.ctypeslib.as_array(logits, (self._model.vocab_size,)).copy())


class Encoded(NamedTuple):
    """A text's tokens, as ``tokenizers.Encoding`` has them."""

    ids: list[int]


class LlamaCppTokenizer:
    """What :class:`~langbert.generation.chat.ChatFormat` asks of a ``tokenizers.Tokenizer``, of the one in the file.

    Control tokens written out in a text are always plain text to it.
    """

    model = None
    encode_special_tokens = True

    def __init__(self, model: _Model) -> None:
        self._model = model  # which the vocabulary is part of
        self._library, self._vocabulary, self._size = model.library, model.vocabulary, model.vocab_size

    def encode(self, text: str, add_special_tokens: bool = True) -> Encoded:
        data = text.encode()
        room = len(data) + 8  # no token stands for less than a byte, but for the special ones
        tokens = (self._library.llama_token * room)()
        count = self._library.llama_tokenize(self._vocabulary, data, len(data), tokens, room, add_special_tokens, False)
        return Encoded(list(tokens[:count]))

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        tokens = (self._library.llama_token * len(ids))(*ids)
        room = 64 + 16 * len(ids)
        while True:
            text = ctypes.create_string_buffer(room)
            size = self._library.llama_detokenize(
                self._vocabulary, tokens, len(ids), text, room, False, not skip_special_tokens
            )
            if size >= 0:
                return text.raw[:size].decode("utf-8", "replace")
            room = -size

    def id_to_token(self, index: int) -> str | None:
        if not 0 <= index < self._size:
            return None
        piece: bytes = self._library.llama_vocab_get_text(self._vocabulary, index)
        return piece.decode("utf-8", "replace")

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        control = filter(lambda i: self._library.llama_vocab_is_control(self._vocabulary, i), range(self._size))
        return {i: AddedToken(self.id_to_token(i), special=True) for i in control}
