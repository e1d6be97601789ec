"""Every family that is not ours, run by ``transformers``: encoders, cross-encoders and decoders, padded and one by one.

What makes them ours to use is the contract they are put behind; code of a checkpoint's own runs only where the user
has allowed it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .files.json_files import read_json
from .layers.pooling import pack

_UNLIMITED = 2**31 - 1

_MOST_OF_A_BYTE = 4  # parameters: a quarter of a byte for each is less than any format takes
_MOST_LAYERS = 1000
"""No network has more; a file that says so would keep transformers building for ever."""


class TransformersEncoder:
    """Any encoder that ``transformers.AutoModel`` knows, behind :class:`~langbert.models.encoder.Encoder`.

    Raises:
        CheckpointError: transformers cannot load it, or weights are missing.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
    ) -> None:
        # float32 first: what identifies an embedding space is the weights as they were published
        model, missing = _loaded("AutoModel", folder, torch.float32, trust_remote_code=trust_remote_code)
        if any("pooler" not in name for name in missing):
            raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a whole checkpoint?")
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        self._model = model.eval()
        converts = dtype != torch.float32 or device.type != "cpu"
        self._running: Any = deepcopy(model).to(device, dtype) if converts else model
        self._device, self.dtype = device, dtype
        self.hidden_size = int(model.config.hidden_size)
        self.max_length = usable_positions(model.config)
        dense = getattr(getattr(model, "pooler", None), "dense", None)
        self.pooler: nn.Module | None = None if missing or dense is None else _FirstTokenPooler(dense).to(device)

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        inputs = _padded(sequences, segments, self._model.config, self._device)
        return pack(self._running(**inputs).last_hidden_state, inputs["attention_mask"])[0]

    def weights(self) -> Mapping[str, Tensor]:
        tensors: Mapping[str, Tensor] = self._model.state_dict()
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}

    def save(self, folder: Path) -> None:
        self._model.save_pretrained(folder)


class TransformersTwoTowers:
    """Texts and pictures in one space (Radford et al. 2021, "CLIP"): any model of that kind that
    ``transformers.AutoModel`` knows, CLIP, Chinese-CLIP and SigLIP among them.

    Raises:
        CheckpointError: transformers cannot load it, weights are missing, or it has no vectors for pictures.
    """

    def __init__(self, folder: Path, *, device: torch.device) -> None:
        from transformers import AutoProcessor

        model, missing = _loaded("AutoModel", folder, torch.float32)
        if missing or not hasattr(model, "get_image_features"):
            found = f"it lacks {', '.join(missing[:5])}" if missing else f"it is a {type(model).__name__}"
            raise CheckpointError(f"{folder}: expected vectors of texts and of pictures, as CLIP has them; {found}")
        try:
            # the one that needs Pillow and no torchvision, where both are here too: they differ in their last bits
            self._processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True, backend="pil")  # type: ignore[no-untyped-call]
        except Exception as error:  # as above: whatever a foreign folder makes transformers raise
            raise CheckpointError(
                f"{folder}: how its texts and pictures are prepared cannot be read: {error}"
            ) from error
        self._model = model.eval().to(device)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """``(n, D)`` float32; the end of a text that is too long is cut off."""
        ready = self._processor(text=list(texts), return_tensors="pt", padding="max_length", truncation=True)
        return self._features("get_text_features", ready)

    def images(self, images: Sequence[Any]) -> Tensor:
        """``(n, D)`` float32 of arrays ``(h, w, 3)`` uint8."""
        return self._features("get_image_features", self._processor(images=list(images), return_tensors="pt"))

    @torch.inference_mode()
    def _features(self, name: str, ready: Any) -> Tensor:
        told = getattr(self._model, name)(**ready.to(self._model.device))
        pooled: Tensor = getattr(told, "pooler_output", told)
        return pooled.float().cpu()

    def weights(self) -> Mapping[str, Tensor]:
        tensors: Mapping[str, Tensor] = self._model.state_dict()
        return tensors


class TransformersCrossEncoder:
    """Any cross-encoder that ``transformers.AutoModelForSequenceClassification`` knows.

    Raises:
        CheckpointError: transformers cannot load it, or weights are missing.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool) -> None:
        kind = "AutoModelForSequenceClassification"
        model, missing = _loaded(kind, folder, dtype, trust_remote_code=trust_remote_code)
        if missing:
            raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a trained cross-encoder?")
        self._model = model.eval().to(device)
        self._device = device
        self.n_labels = int(model.config.num_labels)
        self.max_length = usable_positions(model.config)

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        """``(total, n_labels)`` float32: a sequence's logits in the row of its first token, zeros in the others."""
        inputs = _padded(sequences, segments, self._model.config, self._device)
        logits: Tensor = self._model(**inputs).logits.float()
        rows = logits.new_zeros(*inputs["input_ids"].shape, self.n_labels)
        rows[:, 0] = logits
        return pack(rows, inputs["attention_mask"])[0]


class TransformersDecoder:
    """Any causal language model, behind :class:`~langbert.models.decoder.Decoder`.

    Raises:
        CheckpointError: transformers cannot load it, or could only by running code from the checkpoint.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device, gguf_file: str | None = None) -> None:
        self._model = _writer("AutoModelForCausalLM", folder, dtype, gguf_file).to(device).eval()

    @property
    def context_length(self) -> int:
        return _context_length(self._model.config)

    def start(self, capacity: int) -> _CausalSession:
        return _CausalSession(self._model)


class _CausalSession:
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


class TransformersSeq2SeqDecoder:
    """Any encoder–decoder (T5, Marian, BART …): what a session reads first is the source, which the encoder reads once;
    from there on the decoder writes.

    Attributes:
        model: the network, an ``AutoModelForSeq2SeqLM``.
        start_id: the token that stands before every target.

    Raises:
        CheckpointError: transformers cannot load it, or it does not say how a target begins.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        self.model = _writer("AutoModelForSeq2SeqLM", folder, dtype).to(device).eval()
        settings = self.model.generation_config
        start = settings.decoder_start_token_id
        self.start_id = start if start is not None else self.model.config.pad_token_id
        if not isinstance(self.start_id, int) or not 0 <= self.start_id < self.model.config.vocab_size:
            raise CheckpointError(f"{folder}: has the decoder_start_token_id {start}; nothing says how a target begins")
        self._never = [ids[0] for ids in settings.bad_words_ids or () if len(ids) == 1]  # Marian's padding

    @property
    def context_length(self) -> int:
        return _context_length(self.model.config)

    def start(self, capacity: int) -> _Seq2SeqSession:
        return _Seq2SeqSession(self.model, self.start_id, self._never)


class _Seq2SeqSession:
    def __init__(self, model: Any, start_id: int, never: list[int]) -> None:
        self._model, self._start_id, self._never = model, start_id, never
        self._source: Any = None
        self._past = _empty_cache()

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._model.device)  # (1, T)
        if self._source is None:
            self._source = self._model.get_encoder()(input_ids=new)
            new = torch.full_like(new[:, :1], self._start_id)
        output = self._model(
            encoder_outputs=self._source, decoder_input_ids=new, past_key_values=self._past, use_cache=True
        )
        logits: Tensor = output.logits[0, -1]
        logits[self._never] = -torch.inf
        return logits


class _FirstTokenPooler(nn.Module):
    """The layer of a transformers pooler, which itself takes all hidden states, on first tokens alone."""

    def __init__(self, dense: nn.Module) -> None:
        super().__init__()
        self.dense = deepcopy(dense)

    def forward(self, first_tokens: Tensor) -> Tensor:
        """``(n, H)`` → ``(n, H)``."""
        return torch.tanh(self.dense(first_tokens))


@torch.no_grad()
def written_greedily(
    model: Any, source_ids: Tensor, source_mask: Tensor, *, max_tokens: int, end_ids: Collection[int]
) -> list[list[int]]:
    """What an ``AutoModelForSeq2SeqLM`` writes for each source of a batch, as
    :func:`langbert.models.architectures.encoder_decoder.greedy` does it for ours."""
    rows = model.generate(
        input_ids=source_ids,
        attention_mask=source_mask,
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(end_ids),
        past_key_values=_empty_cache(),
    )
    written = []
    for row in rows[:, 1:].tolist():
        end = next((place for place, token in enumerate(row) if token in end_ids), len(row))
        written.append(row[:end])
    return written


def usable_positions(config: Any) -> int | None:
    """How many tokens a transformers config has positions for; None if it sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    # RoBERTa's descendants number positions from after the padding token's id
    shifted = any(kin in config.model_type for kin in ("roberta", "camembert", "mpnet", "xmod", "longformer"))
    return positions - (config.pad_token_id + 1 if shifted else 0)


def _loaded(
    kind: str, folder: Path, dtype: torch.dtype, *, trust_remote_code: bool | None = None, gguf_file: str | None = None
) -> tuple[Any, list[str]]:
    """A model of one of transformers' ``Auto`` classes, and the weights that its checkpoint lacks.

    Args:
        trust_remote_code: None where the user is not asked: then never.
    """
    import transformers

    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    for key, value in config.items():
        if key.endswith("layers") and isinstance(value, int) and value > _MOST_LAYERS:
            raise CheckpointError(f"{folder / 'config.json'}: {key} is {value}, more layers than any network has")
    if not trust_remote_code and not gguf_file:
        _check_size(kind, folder)
    try:
        with _no_progress_bar():
            model, report = getattr(transformers, kind).from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=bool(trust_remote_code),
                dtype=dtype,
                output_loading_info=True,
                **({"gguf_file": gguf_file} if gguf_file else {}),
            )
    except Exception as error:  # on a damaged or hostile checkpoint transformers may raise anything
        hint = ""
        if trust_remote_code is False and "trust_remote_code" in str(error):
            hint = " (it brings code of its own; read that code, then allow it with trust_remote_code=True)"
        place = folder / (gguf_file or "")
        raise CheckpointError(f"{place}: neither langbert nor transformers can load it: {error}{hint}") from error
    return model, sorted(report["missing_keys"])


def _check_size(kind: str, folder: Path) -> None:
    """Refuse a network that is larger than its weights, before any memory is had for it."""
    import transformers

    held = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            network = getattr(transformers, kind).from_config(config)
    except Exception:  # loading it says why
        return
    asked = sum(parameter.numel() for parameter in network.parameters())
    if asked > _MOST_OF_A_BYTE * held:
        raise CheckpointError(
            f"{folder / 'config.json'}: it describes a network of {asked:,} parameters, and its weights have {held:,} "
            "bytes: they are of another model, or not whole; fetch both again"
        )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws one on stderr for every loading, unasked."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _padded(
    sequences: Sequence[Sequence[int]],
    segments: Sequence[Sequence[int]] | None,
    config: Any,
    device: torch.device,
) -> dict[str, Tensor]:
    """What a transformers model is called with, padded on the right; segments only where it tells them apart."""
    longest = max(map(len, sequences))
    token_ids = torch.full((len(sequences), longest), config.pad_token_id or 0, dtype=torch.int64)
    mask, types = torch.zeros_like(token_ids), torch.zeros_like(token_ids)
    for i, sequence in enumerate(sequences):
        token_ids[i, : len(sequence)] = torch.tensor(sequence)
        mask[i, : len(sequence)] = 1
        if segments is not None:
            types[i, : len(sequence)] = torch.tensor(segments[i])
    inputs = {"input_ids": token_ids, "attention_mask": mask}
    if segments is not None and getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = types
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def _writer(kind: str, folder: Path, dtype: torch.dtype, gguf_file: str | None = None) -> Any:
    """A whole model that writes; code of a checkpoint's own is never run for one."""
    model, missing = _loaded(kind, folder, dtype, gguf_file=gguf_file)
    if missing:
        raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a whole checkpoint?")
    return model


def _context_length(config: Any) -> int:
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or _UNLIMITED)


def _empty_cache() -> Any:
    """For as many layers as there will be: the one transformers makes has the encoder's number of them."""
    from transformers import DynamicCache, EncoderDecoderCache

    return EncoderDecoderCache(DynamicCache(), DynamicCache())
