"""Transformer-XL: a decoder that remembers what stood before the segment it reads.

Dai et al. 2019, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context":

* Segment-level recurrence (§3.2): keys and values also come from the hidden states of earlier segments, kept layer by
  layer and never differentiated. N layers see N times the memory's length back, at the cost of one segment.
* Relative positions (§3.3): what stands i - j tokens back is told by a wave of that distance, so that a hidden state
  means the same in whichever segment it is looked at.

The rest is the Transformer's: LayerNorm behind each residual sum, ReLU, the token embedding as output layer. The
adaptive softmax of the paper's large vocabularies is not made. Nobody else computes it (transformers 5 has none any
more), so its tensors on disk are called what they are called here.

Shapes: B sequences, T tokens of one segment, M remembered ones, S = M + T, D = hidden_size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import CheckpointError
from ..files.weights import NameTable, Row, build_empty, load_strict, read_tensors
from ..layers.lookup_table import lookup_table
from .encoder_decoder import FeedForward, sinusoids

MODEL_TYPE = "langbert-transformer-xl"
"""What a ``config.json`` calls it; transformers 4 had another layout of the same idea as ``transfo-xl``."""

_UNLIMITED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TransformerXLConfig:
    """Everything that decides the shape and the arithmetic of a Transformer-XL.

    Attributes:
        segment_length: tokens read at once; longer texts are read segment by segment.
        memory_length: the most tokens remembered from before a segment; 0 remembers none.
        intermediate_size: width of the feed-forward network.
        dropout: of embeddings, positions, attention weights and each residual branch; only in training.
    """

    vocab_size: int
    n_layers: int
    n_heads: int
    hidden_size: int
    intermediate_size: int
    segment_length: int
    memory_length: int
    norm_eps: float = 1e-5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "n_layers", "n_heads", "hidden_size", "intermediate_size", "segment_length")
        for name, least in {**dict.fromkeys(sizes, 1), "memory_length": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of n_heads ({self.n_heads})")
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size is {self.hidden_size}, expected an even one: waves come in pairs")


class TransformerXL(nn.Module):
    """Token ids → logits, for texts of any length.

    Read on where one stopped::

        hidden, memory = model.read(first_ids)             # (1, any length)
        hidden, memory = model.read(next_ids, memory)
        logits = model.logits(hidden[:, -1])
    """

    def __init__(self, config: TransformerXLConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = lookup_table(config.vocab_size, config.hidden_size)
        head_dim = config.hidden_size // config.n_heads
        # u and v of §3.3: what a query asks of every token, and of every distance; one of each for all layers
        self.content_bias = nn.Parameter(torch.empty(config.n_heads, head_dim))
        self.distance_bias = nn.Parameter(torch.empty(config.n_heads, head_dim))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        if not self.token_embedding.weight.is_meta:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh weights: matrices N(0, 1 / √inputs), embeddings and both biases of scores N(0, 0.02).

        The paper's code has 0.02 everywhere, for widths of 410 and more. In a narrow network branches of that size add
        next to nothing to what the norms make large, and it goes on guessing by frequency for hundreds of steps.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 1.0 if name.endswith("norm.weight") else 0.0)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5 if name.startswith("layers.") else 0.02)

    def forward(self, token_ids: Tensor, *, at: Tensor | None = None) -> Tensor:
        """Logits of the next token after every token of (B, any length), (B, any length, vocab_size).

        Args:
            at: bool, as ``token_ids``; logits after these n tokens only, (n, vocab_size).
        """
        hidden, _ = self.read(token_ids)
        return self.logits(hidden if at is None else hidden[at])

    def read(self, token_ids: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read (B, any length), segment by segment.

        Args:
            memory: what :meth:`read` gave for the text before; None at the beginning of a text.

        Returns:
            The last layer's output, (B, any length, D), and the memory to read on with, (n_layers, B, M, D): what went
            into each layer, without gradients.
        """
        if memory is None:
            memory = self.no_memory(len(token_ids))
        outputs = []
        for segment in torch.split(token_ids, self.config.segment_length, dim=1):
            hidden, memory = self._segment(segment, memory)
            outputs.append(hidden)
        return torch.cat(outputs, dim=1), memory

    def no_memory(self, batch: int) -> Tensor:
        """The memory of ``batch`` sequences before their first token, (n_layers, B, 0, D)."""
        return self.token_embedding.weight.new_empty(self.config.n_layers, batch, 0, self.config.hidden_size)

    def _segment(self, token_ids: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) and (n_layers, B, M, D) → (B, T, D), and the memory afterwards."""
        total = memory.shape[2] + token_ids.shape[1]
        hidden: Tensor = self.dropout(self.token_embedding(token_ids))
        distances = torch.arange(total - 1, -1, -1, device=hidden.device)
        waves = self.dropout(sinusoids(distances, self.config.hidden_size, hidden.dtype))  # (S, D), the farthest first
        remembered = []
        for layer, before in zip(self.layers, memory, strict=True):
            # inside autocast, layers give a shorter float than the embedding
            remembered.append(torch.cat((before, hidden.detach().to(before.dtype)), dim=1))
            hidden = layer(hidden, before.to(hidden.dtype), waves, self.content_bias, self.distance_bias)
        kept = min(total, self.config.memory_length)
        return hidden, torch.stack(remembered)[:, :, total - kept :]

    def logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) → (…, vocab_size)."""
        return F.linear(hidden_states, self.token_embedding.weight)


class Layer(nn.Module):
    """``norm(x + attention(memory, x))``, then ``norm(x + feed_forward(x))``."""

    def __init__(self, config: TransformerXLConfig) -> None:
        super().__init__()
        self.attention = RelativeAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.feed_forward = FeedForward(config.hidden_size, config.intermediate_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, before: Tensor, waves: Tensor, content_bias: Tensor, distance_bias: Tensor
    ) -> Tensor:
        """(B, T, D) → (B, T, D); ``before`` (B, M, D) is what this layer was given for the M tokens before."""
        attended = self.attention(hidden, before, waves, content_bias, distance_bias)
        hidden = self.attention_norm(hidden + self.dropout(attended))
        output: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return output


class RelativeAttention(nn.Module):
    """Attention over memory and segment by content and distance (§3.3).

    A query ``q`` at position i scores the key ``k`` at position j ``((q + u)·k + (q + v)·(W R))/√head_dim``, where R is
    the wave of i - j: the paper's terms (a) and (c), (b) and (d).
    """

    def __init__(self, config: TransformerXLConfig) -> None:
        super().__init__()
        self.n_heads, self.dropout = config.n_heads, config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key_value = nn.Linear(config.hidden_size, 2 * config.hidden_size, bias=False)
        self.distance = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self, hidden: Tensor, before: Tensor, waves: Tensor, content_bias: Tensor, distance_bias: Tensor
    ) -> Tensor:
        """(B, T, D) and memory (B, M, D) → (B, T, D); ``waves`` (S, D), both biases (n_heads, head_dim)."""
        length, width = hidden.shape[1:]
        queries = self._heads(self.query(hidden))  # (B, n_heads, T, head_dim)
        keys, values = map(self._heads, self.key_value(torch.cat((before, hidden), dim=1)).chunk(2, dim=-1))
        distances = self._heads(self.distance(waves))  # (n_heads, S, head_dim)
        by_content = (queries + content_bias[:, None]) @ keys.transpose(-1, -2)  # (B, n_heads, T, S)
        by_distance = (queries + distance_bias[:, None]) @ distances.transpose(-1, -2)
        scores = (by_content + relative_shift(by_distance)) * queries.shape[-1] ** -0.5
        total = keys.shape[-2]
        later = torch.ones(length, total, dtype=torch.bool, device=hidden.device).triu(total - length + 1)
        weights = F.softmax(scores.masked_fill(later, -torch.inf), dim=-1)
        mixed = F.dropout(weights, self.dropout, self.training) @ values
        output: Tensor = self.output(mixed.transpose(1, 2).reshape(-1, length, width))
        return output

    def _heads(self, projected: Tensor) -> Tensor:
        """(…, T, D) → (…, n_heads, T, head_dim)."""
        return projected.view(*projected.shape[:-1], self.n_heads, -1).transpose(-2, -3)


def relative_shift(scores: Tensor) -> Tensor:
    """From scores by distance to scores by key, without a copy for each query (appendix B).

    Args:
        scores: (…, T, S); column c belongs to distance S - 1 - c. The last T of S keys are the queries' own tokens.

    Returns:
        (…, T, S); row i, column j belongs to distance S - T + i - j. Of keys behind their query (j > S - T + i) the
        values mean nothing.
    """
    length, total = scores.shape[-2:]
    padded = F.pad(scores, (1, 0)).reshape(*scores.shape[:-2], total + 1, length)
    return padded[..., 1:, :].reshape(scores.shape)


class TransformerXLDecoder:
    """:class:`TransformerXL` as a decoder: it never runs out of context, it forgets."""

    def __init__(self, model: TransformerXL) -> None:
        self.model = model.eval().requires_grad_(False)

    @property
    def context_length(self) -> int:
        return _UNLIMITED

    def start(self, capacity: int) -> _TransformerXLSession:
        return _TransformerXLSession(self.model)


class _TransformerXLSession:
    def __init__(self, model: TransformerXL) -> None:
        self._model = model
        self._memory: Tensor | None = None

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._model.token_embedding.weight.device)  # (1, T)
        hidden, self._memory = self._model.read(new, self._memory)
        return self._model.logits(hidden[0, -1])


def transformer_xl_settings(config: TransformerXLConfig) -> dict[str, Any]:
    """The entries of a ``config.json`` that :func:`load_transformer_xl` reads as ``config``."""
    return {"model_type": MODEL_TYPE, "architectures": ["TransformerXL"], **asdict(config)}


def load_transformer_xl(
    folder: Path, settings: Mapping[str, Any], *, dtype: torch.dtype, device: torch.device
) -> TransformerXLDecoder:
    """The network in ``folder``, whose ``config.json`` is ``settings``.

    Raises:
        CheckpointError: it is damaged: ``settings`` make no sense, or tensors are missing, unexpected or misshapen.
    """
    tensors = read_tensors(folder)
    try:
        config = TransformerXLConfig(**{field.name: settings[field.name] for field in fields(TransformerXLConfig)})
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: does not describe a Transformer-XL: {error!r}") from error
    model = build_empty(lambda: TransformerXL(config), folder, n_layers=config.n_layers, n_tensors=len(tensors))
    table = NameTable("Transformer-XL", tuple(Row(name, (name,)) for name in model.state_dict()))
    load_strict(model, tensors, table, source=folder, dtype=dtype)
    return TransformerXLDecoder(model.to(device))
