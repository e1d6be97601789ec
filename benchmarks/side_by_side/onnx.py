"""A BERT in ONNX Runtime, in float32 and with dynamic int8, as fastembed and others run it.

In two things it is better than those: texts are sorted by length before they are put into padded batches, as
sentence-transformers does and fastembed does not, and there are 4 in a batch, which was quicker here than 16 or 32.
Int8 is ONNX Runtime's own ``quantize_dynamic`` with one scale for each column of a weight; with one for the whole
matrix it is as fast, and the vectors are much worse. Its fusing optimizer for transformers was tried and did not pay
on top of what the session does by itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langbert.models import cache_dir

from .contenders import peer_folder

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_BATCH = 4


class OnnxEmbeddings:
    """Padded batches through an ONNX Runtime session on the CPU; mean pooling, length 1.

    Args:
        model: a catalogue name of a BERT.
        kind: ``"float32"`` or ``"int8"``.
    """

    def __init__(self, model: str, kind: str, *, max_length: int, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(peer_folder(model) / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # its threads would go on spinning into the next contender's time
        options.add_session_config_entry("session.force_spinning_stop", "1")
        file = exported(model, kind)
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        vectors = np.concatenate([self._batch([texts[i] for i in batch]) for batch in batches])
        return vectors[np.argsort(order)]

    def query(self, text: str) -> NDArray[np.float32]:
        return self._batch([text])[0]

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch(texts)
        token_ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        (states,) = self._session.run(None, dict(zip(_INPUTS, (token_ids, mask, np.zeros_like(mask)), strict=True)))
        weights = mask[:, :, None].astype(np.float32)
        pooled = (states * weights).sum(axis=1) / weights.sum(axis=1)
        return (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)


def exported(model: str, kind: str) -> Path:
    """The model as ONNX, made where it is not in the cache yet."""
    folder = cache_dir() / "benchmarks"
    plain, quantized = folder / f"{model}.onnx", folder / f"{model}-int8.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    if not plain.is_file():
        _export(peer_folder(model), plain)
    if kind == "float32":
        return plain
    if not quantized.is_file():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        partial = quantized.with_suffix(f".{os.getpid()}")
        quantize_dynamic(plain, partial, weight_type=QuantType.QInt8, per_channel=True)
        partial.replace(quantized)
    return quantized


def _export(folder: Path, file: Path) -> None:
    import warnings

    import torch
    from transformers import AutoModel

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
            output = self.model(input_ids=ids, attention_mask=mask, token_type_ids=segments)
            states: torch.Tensor = output.last_hidden_state
            return states

    sample = torch.ones(2, 16, dtype=torch.int64)
    axes = {name: {0: "batch", 1: "tokens"} for name in (*_INPUTS, "last_hidden_state")}
    partial = file.with_suffix(f".{os.getpid()}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of what it fixes, and that it is the older exporter
        torch.onnx.export(
            Network(),
            (sample, sample, torch.zeros_like(sample)),
            str(partial),
            input_names=list(_INPUTS),
            output_names=["last_hidden_state"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,  # the newer exporter needs one more package
        )
    partial.replace(file)
