"""Text → token ids → vectors while a network learns, prompts and limits as the Embedder has them afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..models.files.tokenizer import TextTokenizer, TokenPair
from ..models.runner import plan
from ..records import Role
from .batching import padded
from .gradient_cache import encode_in_chunks
from .task import Batch

__all__ = ["TextVectors", "padded_texts"]


class TextVectors:
    """What lies between texts and a loss.

    Args:
        tokenizer: the checkpoint's.
        max_length: tokens the encoder reads, special ones included; the rest of a text is cut.
        prompts: put before each text of that role.
        include_prompt: whether a prompt's tokens take part in pooling.
        mini_batch: texts encoded at a time; see :func:`encode_in_chunks`.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        max_length: int,
        prompts: Mapping[Role, str],
        include_prompt: bool = True,
        mini_batch: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.prompts = prompts
        self.include_prompt = include_prompt
        self._mini_batch = mini_batch
        self._skip = {role: self._prompt_length(prompt) for role, prompt in prompts.items()}

    def _prompt_length(self, prompt: str) -> int:
        if self.include_prompt or not prompt:
            return 0
        return len(self.tokenizer.prefix) + len(self.tokenizer.encode([prompt])[0].ids)

    @property
    def room(self) -> int:
        """How many tokens of a document fit beside the special ones and its prompt."""
        prompt = self.tokenizer.encode([self.prompts["document"]])[0].ids
        return self.max_length - self.tokenizer.n_special - len(prompt)

    def ids(self, texts: Sequence[str], role: Role) -> list[list[int]]:
        """Token ids with prompt and special tokens, cut at the limit."""
        encodings = self.tokenizer.encode([self.prompts[role] + text for text in texts])
        return [self.framed(encoding.ids) for encoding in encodings]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """A text's ids, cut at the limit, between their special tokens."""
        return [*self.tokenizer.prefix, *ids[: self.max_length - self.tokenizer.n_special], *self.tokenizer.suffix]

    def vectors(self, network: nn.Module, token_ids: Tensor, attention_mask: Tensor, role: Role) -> Tensor:
        """``(N, T)`` ids and mask → ``(N, width)``, through which a loss reaches the weights."""
        return encode_in_chunks(partial(network, skip=self._skip[role]), token_ids, attention_mask, self._mini_batch)

    def embed(self, network: nn.Module, sequences: Sequence[Sequence[int]], role: Role, device: torch.device) -> Tensor:
        """Sequences of any lengths → ``(n, width)`` float32 on the CPU, for measuring."""
        vectors: list[Tensor] = [torch.empty(0)] * len(sequences)
        for rows in plan([len(sequence) for sequence in sequences], device.type, threads=1).batches:
            batch = {name: tensor.to(device) for name, tensor in padded_texts([sequences[i] for i in rows]).items()}
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                found = network(batch["token_ids"], batch["attention_mask"], skip=self._skip[role]).float().cpu()
            for i, vector in zip(rows, found, strict=True):
                vectors[i] = vector
        return torch.stack(vectors)


def padded_texts(sequences: Sequence[Sequence[int]]) -> Batch:
    """Token ids and attention mask, ``(N, T)`` int64, padded on the right."""
    batch = padded([TokenPair(list(ids), [0] * len(ids)) for ids in sequences])
    return {"token_ids": batch["token_ids"], "attention_mask": batch["attention_mask"]}
