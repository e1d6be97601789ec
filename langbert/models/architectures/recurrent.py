"""Recurrent encoders: one vector per token from a network that reads word by word, in one direction or in both.

* ``rnn``: Elman 1990, "Finding Structure in Time".
* ``lstm``: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", with the forget gate of Gers et al. 2000.
* ``gru``: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder–Decoder", §2.3.
* Both directions side by side: Schuster and Paliwal 1997; for vectors of texts Conneau et al. 2017, for labels of
  words Huang et al. 2015.

The cells are torch's own, the layout on disk is ours, since nobody else has one: ``config.json`` with our
``model_type``, and ``model.safetensors`` under the names the tensors have here. There are no positions to run out of: a
text may be of any length, at a cost that grows with it and not with its square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from ...errors import require_choice
from ..files.json_files import read_json, write_json
from ..files.weights import NameTable, Row, build_empty, load_strict, parse_fields, read_tensors, save_tensors
from ..layers.lookup_table import lookup_table

_MODEL_TYPE = "langbert-recurrent"

Cell = Literal["lstm", "gru", "rnn"]

CELLS: dict[Cell, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True, slots=True)
class RecurrentConfig:
    """Everything that decides the shape of a recurrent encoder.

    Attributes:
        cell: one of :data:`CELLS`.
        embedding_size: width of the word vectors.
        hidden_size: width of a token's vector, of both directions together.
        bidirectional: half of every vector has read the text from its end.
        dropout: of word vectors, and between layers; only in training.
    """

    vocab_size: int
    cell: Cell = "lstm"
    embedding_size: int = 256
    hidden_size: int = 256
    n_layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.1

    max_positions: ClassVar[int | None] = None
    """No limit."""

    def __post_init__(self) -> None:
        require_choice("cell", self.cell, CELLS)
        for name in ("vocab_size", "embedding_size", "hidden_size", "n_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"hidden_size is {self.hidden_size}, expected an even one: half for each direction")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected 0 or more and less than 1")


class RecurrentEncoder(nn.Module):
    """Token ids in, one contextual vector per token out, as :class:`~langbert.models.bert.network.Bert` has it."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = lookup_table(config.vocab_size, config.embedding_size)
        self.dropout = nn.Dropout(config.dropout)
        self.cells = CELLS[config.cell](
            config.embedding_size,
            config.hidden_size // (2 if config.bidirectional else 1),
            config.n_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        if not self.tokens.weight.is_meta:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh weights: word vectors N(0, 0.1), cells as torch begins them, forget gates open.

        A forget gate that begins half shut lets an LSTM remember a few words only (Jozefowicz et al. 2015, §3.2).
        """
        nn.init.normal_(self.tokens.weight, std=0.1)
        self.cells.reset_parameters()
        if self.config.cell == "lstm":
            for name, bias in self.cells.named_parameters():
                if name.startswith("bias_ih"):
                    quarter = len(bias) // 4  # gates: input, forget, cell, output
                    bias[quarter : 2 * quarter] += 1.0

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """Encode padded sequences; padding, on whichever side, is never read.

        Args:
            token_ids: ``(B, T)`` int64.
            attention_mask: ``(B, T)``, 1 or True for real tokens; None if there is no padding.
            segment_ids: taken so that a BERT may be replaced; a recurrent network tells no segments apart.

        Returns:
            hidden states ``(B, T, H)``; zeros for padding.
        """
        is_token = torch.ones_like(token_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        states = self.packed(token_ids[is_token], is_token.sum(dim=1).tolist())
        padded = states.new_zeros(*token_ids.shape, self.config.hidden_size)
        return padded.masked_scatter(is_token[..., None], states)

    def packed(self, token_ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """Sequences one after the other, ``(total,)``, of these lengths → their hidden states ``(total, H)``.

        In step t the cells read the t-th tokens of the sequences that have one: nothing is computed for padding.
        """
        embedded: Tensor = self.dropout(self.tokens(token_ids))
        read = [sequence for sequence in torch.split(embedded, list(lengths)) if len(sequence)]
        if not read:
            return embedded.new_zeros(0, self.config.hidden_size)
        outputs: PackedSequence = self.cells(pack_sequence(read, enforce_sorted=False))[0]
        padded, found = pad_packed_sequence(outputs, batch_first=True)
        states: Tensor = padded[(torch.arange(padded.shape[1]) < found[:, None]).to(padded.device)]
        return states


class PreparedRecurrent:
    """A frozen :class:`RecurrentEncoder` for inference, as a BERT becomes a
    :class:`~langbert.models.bert.inference.PreparedBert`.

    Args:
        dtype: what to compute in: float32, or bfloat16 where the hardware multiplies it.
    """

    def __init__(
        self, encoder: RecurrentEncoder, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.dtype, self.device = encoder.config, dtype, torch.device(device)
        with torch.device("meta"):
            self._encoder = RecurrentEncoder(encoder.config)
        weights = {name: tensor.detach().to(self.device, dtype) for name, tensor in encoder.state_dict().items()}
        self._encoder.load_state_dict(weights, assign=True)
        self._encoder.eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        """Token ids → their hidden states, one sequence after the other: ``(total, H)``; it tells no segments apart."""
        ids = torch.tensor([i for sequence in sequences for i in sequence], dtype=torch.int64, device=self.device)
        return self._encoder.packed(ids, [len(sequence) for sequence in sequences])


class RecurrentTextEncoder:
    """A recurrent network as :class:`~langbert.models.encoder.Encoder` has it: texts may be of any length."""

    def __init__(self, network: RecurrentEncoder, *, dtype: torch.dtype, device: torch.device) -> None:
        self.network, self.dtype = network, dtype
        self._prepared = PreparedRecurrent(network, dtype=dtype, device=device)
        self.hidden_size = network.config.hidden_size
        self.max_length: int | None = None
        self.pooler: nn.Module | None = None

    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        return self._prepared(sequences)

    def weights(self) -> Mapping[str, Tensor]:
        return self.network.state_dict()

    def save(self, folder: Path) -> None:
        write_json(unparse_recurrent(self.network.config), folder / "config.json")
        save_tensors(self.network.state_dict(), folder / "model.safetensors")


def is_recurrent(settings: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a recurrent network of ours."""
    return settings.get("model_type") == _MODEL_TYPE


def parse_recurrent(settings: Mapping[str, Any], source: str | Path = "config.json") -> RecurrentConfig:
    """A ``config.json``'s object as a :class:`RecurrentConfig`.

    Raises:
        CheckpointError: a value is missing or of the wrong kind, or makes no sense.
    """
    names = {field.name: field.name for field in fields(RecurrentConfig)}
    return parse_fields(RecurrentConfig, settings, names, source, complete=True)


def unparse_recurrent(config: RecurrentConfig) -> dict[str, Any]:
    """The ``config.json`` object that :func:`parse_recurrent` reads as ``config``."""
    return {"model_type": _MODEL_TYPE, "architectures": ["RecurrentEncoder"], **asdict(config)}


def recurrent_rows(network: RecurrentEncoder, prefix: str = "") -> list[Row]:
    """Rows of a name table: what the network's tensors are called here, they are called on disk."""
    return [Row(f"{prefix}{name}", (f"{prefix}{name}",)) for name in network.state_dict()]


def load_recurrent(folder: str | Path) -> RecurrentEncoder:
    """The encoder in a folder, in float32 and evaluation mode.

    Raises:
        CheckpointError: ``config.json`` makes no sense, or tensors are missing, unexpected or misshapen.
    """
    folder = Path(folder)
    config = parse_recurrent(read_json(folder / "config.json"), folder / "config.json")
    tensors = read_tensors(folder)
    network = build_empty(lambda: RecurrentEncoder(config), folder, n_layers=config.n_layers, n_tensors=len(tensors))
    load_strict(network, tensors, NameTable("recurrent encoder", tuple(recurrent_rows(network))), source=folder)
    return network.eval()
