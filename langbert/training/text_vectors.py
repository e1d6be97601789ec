"""Text → token ids → vectors while a network learns, prompts and limits as the Embedder has them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..models.files.tokenizer import TextTokenizer
from ..models.runner import plan
from ..records import Role
from .batching import padded


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
            batch = {name: tensor.to(device) for name, tensor in padded([sequences[i] for i in rows]).items()}
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                found = network(batch["token_ids"], batch["attention_mask"], skip=self._skip[role]).float().cpu()
            for i, vector in zip(rows, found, strict=True):
                vectors[i] = vector
        return torch.stack(vectors)


def encode_in_chunks(
    encode: Callable[[Tensor, Tensor], Tensor], token_ids: Tensor, attention_mask: Tensor, size: int = 0
) -> Tensor:
    """Vectors whose gradient costs the memory of ``size`` texts and the time of a second forward pass.

    A query's loss depends on every vector of its batch, so a batch cannot be cut as accumulation would cut it. Gao et
    al. 2021 ("Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", §3) encode without keeping
    activations, take the gradient of the loss with respect to the vectors, then encode once more, a few texts at a
    time, and carry that gradient on into the weights. Checkpointing the encoder, one checkpoint for every few texts,
    is that very computation, with random states kept, and autograd does it inside an ordinary ``backward()``.

    Args:
        encode: ``(n, T)`` ids and mask → ``(n, D)``, each row for itself.
        token_ids, attention_mask: ``(N, T)``, padded on the right.
        size: texts encoded at a time; 0 takes all at once, and every activation is kept.

    Returns:
        ``(N, D)``.
    """
    if not size or len(token_ids) <= size or not torch.is_grad_enabled():
        return encode(*_trimmed(token_ids, attention_mask))
    chunks = zip(torch.split(token_ids, size), torch.split(attention_mask, size), strict=True)
    return torch.cat([checkpoint(encode, *_trimmed(*chunk), use_reentrant=False) for chunk in chunks])


def _trimmed(token_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Without the columns that are padding in every row."""
    longest = int(attention_mask.sum(dim=1).max())
    return token_ids[:, :longest], attention_mask[:, :longest]
