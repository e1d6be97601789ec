"""TSDAE: a sentence with most of its words deleted becomes one vector, from which the whole sentence is written again.

Wang et al. 2021 ("TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised Sentence Embedding
Learning", §3): 60 % of the words go, and the decoder sees nothing of the encoder but the pooled vector.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.bert.heads import SentenceEncoder
from ..models.layers.attention import MultiHeadAttention
from ..models.layers.lookup_table import lookup_table
from .batching import padded
from .objectives import Objective
from .task import Batch
from .text_vectors import TextVectors

_STD = 0.02
_BATCH = 32


def delete_words(ids: Sequence[int], words: Sequence[int | None], ratio: float, rng: random.Random) -> list[int]:
    """``ids`` without ``ratio`` of their words, whole words at a time; one word always stays.

    Args:
        words: which word each id belongs to, as ``Encoding.word_ids``; Chinese characters are words of their own.
    """
    spans = [list(span) for _, span in groupby(range(len(ids)), key=lambda i: words[i])]
    kept = [span for span in spans if rng.random() >= ratio] or ([rng.choice(spans)] if spans else [])
    return [ids[i] for span in kept for i in span]


class Layer(nn.Module):
    """Causal self-attention, attention to the one vector, a feed-forward network; a LayerNorm after each (post-LN).

    The softmax over a single key is 1 for every query, so attention to one vector is a linear map of that vector.
    """

    def __init__(self, hidden_size: int, width: int, n_heads: int) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(hidden_size, n_heads)
        self.source = nn.Linear(width, hidden_size)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden_size, 4 * hidden_size), nn.GELU(), nn.Linear(4 * hidden_size, hidden_size)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(3))

    def forward(self, hidden_states: Tensor, vector: Tensor, mask: Tensor) -> Tensor:
        """``(B, T, H)`` and ``(B, width)`` → ``(B, T, H)``; ``mask`` is ``(1, 1, T, T)``."""
        hidden_states = self.norms[0](hidden_states + self.self_attention(hidden_states, mask))
        hidden_states = self.norms[1](hidden_states + self.source(vector)[:, None])
        normed: Tensor = self.norms[2](hidden_states + self.feed_forward(hidden_states))
        return normed


class Decoder(nn.Module):
    """Writes a text from one vector; its token table, in and out, is the encoder's."""

    def __init__(self, hidden_size: int, width: int, vocab_size: int, max_length: int, *, n_layers: int) -> None:
        super().__init__()
        self.positions = lookup_table(max_length, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        n_heads = next(n for n in (12, 8, 6, 4, 2, 1) if hidden_size % n == 0)
        self.layers = nn.ModuleList(Layer(hidden_size, width, n_heads) for _ in range(n_layers))
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.apply(_initialize)

    def forward(self, token_ids: Tensor, vector: Tensor, table: Tensor, counts: Tensor) -> Tensor:
        """What comes after each token.

        Args:
            token_ids: ``(B, T)``.
            vector: ``(B, width)``.
            table: ``(vocabulary, H)``, the encoder's.
            counts: ``(B, T)`` bool, the n positions to give logits for: there are many for each.

        Returns:
            ``(n, vocabulary)``.
        """
        length = token_ids.shape[1]
        hidden_states = self.norm(F.embedding(token_ids, table) + self.positions.weight[:length])
        mask = torch.ones(length, length, dtype=torch.bool, device=token_ids.device).tril()[None, None]
        for layer in self.layers:
            hidden_states = layer(hidden_states, vector, mask)
        return F.linear(hidden_states[counts], table, self.bias)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


class Denoiser(nn.Module):
    """The network of TSDAE: the sentence encoder that is kept, and the decoder that is thrown away."""

    def __init__(self, sentence: SentenceEncoder, decoder: Decoder) -> None:
        super().__init__()
        self.sentence = sentence
        self.decoder = decoder

    def forward(self, token_ids: Tensor, attention_mask: Tensor, original_ids: Tensor, original_mask: Tensor) -> Tensor:
        """The loss of writing the originals from the vectors of what is left of them.

        Args:
            token_ids, attention_mask: ``(B, T)``, with words deleted.
            original_ids, original_mask: ``(B, U)``, whole.

        Returns:
            the mean cross-entropy of a token, a scalar.
        """
        vectors = self.sentence(token_ids, attention_mask)
        table: Tensor = self.sentence.encoder.get_parameter("embeddings.tokens.weight")
        counts = original_mask[:, 1:].bool()
        logits = self.decoder(original_ids[:, :-1], vectors, table, counts)
        return F.cross_entropy(logits.float(), original_ids[:, 1:][counts])


class Tsdae(Objective):
    """Texts alone, learned from by writing them again.

    Args:
        texts: to learn from.
        vectors: what makes ids of them.
        delete: the share of words that is deleted.
        holdout: the share of texts kept for evaluation, at most ``max_held``.
    """

    metric = "reconstruction"
    higher_is_better = False

    def __init__(
        self,
        texts: Sequence[str],
        vectors: TextVectors,
        *,
        delete: float,
        holdout: float,
        max_held: int,
        seed: int,
    ) -> None:
        shuffled = random.Random(seed).sample(list(texts), len(texts))  # noqa: S311
        self.n_held = min(max_held, round(holdout * len(shuffled)))
        encodings = vectors.tokenizer.encode(shuffled)
        room = vectors.max_length - vectors.tokenizer.n_special
        self._texts = [(encoding.ids[:room], encoding.word_ids[:room]) for encoding in encodings]
        self._framed, self._delete = vectors.framed, delete

    def lengths(self) -> Sequence[int]:
        return [len(ids) for ids, _ in self._texts[self.n_held :]]

    def collate(self, examples: Sequence[int], rng: random.Random) -> Batch:
        return self._batch([self.n_held + i for i in examples], rng)

    def _batch(self, places: Sequence[int], rng: random.Random) -> Batch:
        noised = padded([self._framed(delete_words(*self._texts[i], self._delete, rng)) for i in places])
        whole = padded([self._framed(self._texts[i][0]) for i in places])
        return {**noised, "original_ids": whole["token_ids"], "original_mask": whole["attention_mask"]}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        loss: Tensor = network(
            batch["token_ids"], batch["attention_mask"], batch["original_ids"], batch["original_mask"]
        )
        return loss

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """The mean loss of held-out texts, the same words deleted every time."""
        if not self.n_held:
            return {}
        order = sorted(range(self.n_held), key=lambda i: len(self._texts[i][0]))
        total = 0.0
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            batch = self._batch(places, random.Random(start))  # noqa: S311
            loss = self.loss(network, {name: tensor.to(device) for name, tensor in batch.items()})
            total += float(loss) * len(places)
        return {"reconstruction": total / len(order)}
