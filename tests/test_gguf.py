"""GGUF files: written by the ``gguf`` package from tiny random models, read by us; broken ones refused."""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Quantization
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from langbert import Generator
from langbert.errors import CheckpointError
from langbert.models.decoder import DecoderCheckpoint, load_decoder
from langbert.models.files.gguf import GGUFFile
from langbert.models.files.gguf_tokenizer import gguf_tokenizer
from langbert.models.gpt import gguf as decoder_gguf

CPU = torch.device("cpu")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LANGBERT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """A byte-level BPE of 320 tokens, cut as SmolLM's is."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(
        ["the cat sat on the mat, then the rat ate that hat " * 3, "机器学习 学习机器"], trainer
    )
    return tokenizer


def permuted(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """What convert_hf_to_gguf.py does to the queries and keys of a llama."""
    return (
        weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:])
        .swapaxes(1, 2)
        .reshape(weight.shape)
    )


Blocks = tuple[np.ndarray, Quantization]


def write_gguf(
    path: Path,
    model: Any,
    tokenizer: Tokenizer,
    quantization: Quantization,
    blocks: Mapping[str, Blocks] = MappingProxyType({}),
    **overrides: Any,
) -> Path:
    """``model`` as a GGUF file; tensors that are among ``blocks`` as they are there."""
    config = model.config
    family = config.model_type
    writer = GGUFWriter(path, family)
    writer.add_block_count(overrides.get("n_layers", config.num_hidden_layers))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    writer.add_tokenizer_model(overrides.get("tokenizer_model", "gpt2"))
    writer.add_tokenizer_pre(overrides.get("pre", "smollm"))
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in vocabulary])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(overrides.get("template", TEMPLATE))
    for name, tensor in gguf_names(model).items():
        values = tensor.numpy()
        if name in blocks:
            raw, kind = blocks[name]
            writer.add_tensor(name, raw, raw_dtype=kind)
        elif values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_names(model: Any) -> dict[str, torch.Tensor]:
    config = model.config
    kind = getattr(gguf.MODEL_ARCH, config.model_type.upper())
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, ending = name.rpartition(".")
        if config.model_type == "llama" and stem.endswith(("q_proj", "k_proj")):
            n_heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
            tensor = torch.from_numpy(permuted(tensor.numpy(), n_heads).copy())
        tensors[f"{names.get_name(stem)}.{ending}"] = tensor
    return tensors


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def reference(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(5)
    sizes = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    }
    if request.param == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "emb" not in name:
                parameter.mul_(4).add_(torch.randn_like(parameter) * 0.05)
    return model.eval().requires_grad_(False)


@pytest.fixture
def file(reference: Any, trained: Tokenizer, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", reference, trained, Quantization.F32)


def load(path: Path, dtype: torch.dtype = torch.float32) -> DecoderCheckpoint:
    return load_decoder(path, dtype=dtype, device=CPU)


def logits(checkpoint: DecoderCheckpoint, ids: list[int]) -> torch.Tensor:
    return checkpoint.decoder.start(len(ids)).read(ids).float()


@torch.inference_mode()
def test_the_decoder_in_it_is_the_one_that_was_written(reference: Any, file: Path) -> None:
    ids = list(range(3, 60))
    expected = reference(torch.tensor([ids])).logits[0, -1]
    for _ in range(2):  # converted, then from the cache
        torch.testing.assert_close(logits(load(file), ids), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("quantization", [Quantization.F16, Quantization.Q8_0, Quantization.BF16, Quantization.Q4_1])
def test_quantised_weights_come_near(
    reference: Any, trained: Tokenizer, tmp_path: Path, quantization: Quantization
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", reference, trained, quantization)
    read = GGUFFile(file)
    for name, tensor in gguf_names(reference).items():
        tolerance = 0.0 if tensor.dim() == 1 else {"Q4_1": 0.15, "Q8_0": 0.01}.get(quantization.name, 0.01)
        ours = read.tensor(name)
        assert ours.dtype == torch.float32
        assert ours.shape == tensor.shape
        assert float((ours - tensor).abs().max()) <= tolerance * float(tensor.abs().max()), name
    load(file)


SCALES = {  # where a block holds float16 scales, and the largest weight that a scale of 1 makes
    Quantization.Q4_K: ((0, 2), 63 * 15),
    Quantization.Q5_0: ((0,), 16),
    Quantization.Q6_K: ((208,), 128 * 32),
    Quantization.Q8_0: ((0,), 128),
}


def random_blocks(shape: tuple[int, ...], kind: Quantization, random: np.random.Generator) -> Blocks:
    """Any bits with scales that make weights of about the size of trained ones: nobody quantises to these in Python."""
    n_weights, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, (shape[0], shape[1] // n_weights, n_bytes), dtype=np.uint8)
    places, largest = SCALES[kind]
    for at in places:
        raw[..., at : at + 2] = np.frombuffer(np.float16(0.3 / largest).tobytes(), np.uint8)
    return raw.reshape(shape[0], -1), kind


@torch.inference_mode()
def test_greedy_text_of_a_mixture_of_blocks_is_that_of_transformers(trained: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(5)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_()
    random = np.random.default_rng(3)
    kinds = {"attn_v": Quantization.Q8_0, "ffn_down": Quantization.Q6_K, "token_embd": Quantization.Q8_0}
    kinds |= {"attn_q": Quantization.Q5_0, "attn_k": Quantization.Q5_0, "attn_output": Quantization.Q5_0}
    tensors = gguf_names(model)
    blocks = {
        name: random_blocks(tuple(tensor.shape), kinds.get(name.split(".")[-2], Quantization.Q4_K), random)
        for name, tensor in tensors.items()
        if tensor.dim() == 2
    }
    assert {kind for _, kind in blocks.values()} == set(SCALES)
    file = write_gguf(tmp_path / "mixed.gguf", model, trained, Quantization.F32, blocks)
    read = GGUFFile(file)
    for name, tensor in tensors.items():
        tensor.copy_(read.tensor(name))  # the model's own memory
    generator = Generator(file, precision="float32", offline=True)
    for question in ("the cat", "学习", "where is the hat?"):
        ids = torch.tensor([generator.encode(question)])
        expected = model.generate(ids, do_sample=False, max_new_tokens=24, eos_token_id=[0, 2], pad_token_id=0)
        written = trained.decode(expected[0, ids.shape[1] :].tolist(), skip_special_tokens=True)
        assert generator.generate(question, max_tokens=24).text == written.rstrip("\ufffd")
        assert len(set(expected[0, ids.shape[1] :].tolist())) > 3


def test_its_tokenizer_is_the_one_that_was_written(file: Path, trained: Tokenizer) -> None:
    tokenizer = gguf_tokenizer(GGUFFile(file))
    for text in [
        "the cat sat",
        "学习 2024\n\n10 mats",
        "  def f(x):\n    return 12",
        "😀 naïve",
        "<|im_start|>the<|im_end|>",
    ]:
        assert tokenizer.encode(text).ids == trained.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    checkpoint = load(file)
    assert checkpoint.end_ids == {0, 2}
    assert checkpoint.chat_template == TEMPLATE
    assert checkpoint.tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def kept_folder(cache: Path) -> Path:
    (folder,) = (path for path in (cache / "gguf").iterdir() if not path.name.startswith("."))
    return folder


@pytest.mark.parametrize("damage", ["cut", "garbled tokenizer", "another shape", "no config"])
def test_a_damaged_cache_is_made_anew(
    file: Path, private_cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(load(file), [5, 6, 7])
    kept = kept_folder(private_cache)
    weights = kept / "model-00001.safetensors"
    if damage == "cut":
        os.truncate(weights, weights.stat().st_size // 2)
    elif damage == "garbled tokenizer":
        (kept / "tokenizer.json").write_text('{"model": null}')
    elif damage == "another shape":
        config = (kept / "config.json").read_text()
        (kept / "config.json").write_text(config.replace('"intermediate_size": 96', '"intermediate_size": 32'))
    else:
        (kept / "config.json").unlink()
    with caplog.at_level(logging.WARNING, logger="langbert"):
        assert torch.equal(logits(load(file), [5, 6, 7]), expected)
    assert "damaged" in caplog.text
    caplog.clear()
    assert torch.equal(logits(load(file), [5, 6, 7]), expected)
    assert "damaged" not in caplog.text


def test_each_precision_and_each_file_has_its_own_cache(
    file: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(file)
    load(file, torch.bfloat16)
    assert len(list((private_cache / "gguf").glob("[!.]*"))) == 2
    monkeypatch.setattr(decoder_gguf, "_VERSION", 10**6)
    load(file)
    file.write_bytes(file.read_bytes() + b"\0")
    load(file)
    assert len(list((private_cache / "gguf").glob("[!.]*"))) == 4


def test_a_folder_that_cannot_be_written_costs_only_time(
    file: Path, private_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (private_cache / "gguf").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, logger="langbert"):
        assert logits(load(file), [5]).shape == (320,)
    assert "cannot be kept" in caplog.text


@pytest.fixture(scope="module")
def whole(trained: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch.manual_seed(6)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config).requires_grad_(False)
    return write_gguf(tmp_path_factory.mktemp("whole") / "whole.gguf", model, trained, Quantization.Q8_0).read_bytes()


def attempt(content: bytes, folder: Path) -> DecoderCheckpoint | None:
    path = folder / "file.gguf"
    path.write_bytes(content)
    try:
        return load(path)
    except CheckpointError as error:
        names_the_file = "file.gguf" in str(error)
    assert names_the_file
    return None


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(whole: bytes, tmp_path: Path, share: float) -> None:
    assert attempt(whole[: int(share * len(whole))], tmp_path) is None


def garbled(whole: bytes, rng: random.Random) -> bytes:
    """A few bytes changed or a stretch cut out, in the header above all."""
    changed = bytearray(whole)
    header = whole.index(b"tokenizer.ggml.tokens")
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(rng.choice([header, header, len(whole)]) - 8)
        edges = (b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0\0\0\x80\0\0\0\0")
        changed[start : start + 8] = rng.choice((*edges, rng.randbytes(8), rng.randbytes(8), b""))
    return bytes(changed)


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_garbled_file_is_refused_or_read_but_never_crashes(whole: bytes, tmp_path: Path, count: int) -> None:
    rng = random.Random(count)
    read = sum(attempt(garbled(whole, rng), tmp_path) is not None for _ in range(count))
    assert 0 < read < count


def header(n_tensors: int, n_entries: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + np.uint32(version).tobytes() + np.array([n_tensors, n_entries], np.uint64).tobytes() + rest


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return np.uint64(len(key)).tobytes() + key + np.uint32(kind).tobytes() + value


HUGE = np.uint64(2**62).tobytes()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 a zip", "expected b'GGUF'"),
        (header(0, 0, version=1), "version 1"),
        (header(2**62, 0), "4611686018427387904 items announced"),
        (header(0, 2**62), "4611686018427387904 items announced"),
        (header(0, 1, HUGE), "items announced|not a whole"),
        (header(0, 1, entry(b"key", 8, HUGE)), "items announced"),
        (header(0, 1, entry(b"key", 9, np.uint32(4).tobytes() + HUGE)), "items announced"),
        (header(0, 1, entry(b"key", 9, np.uint32(9).tobytes() + HUGE)), "array of value type 9"),
        (header(0, 1, entry(b"key", 99, b"\0" * 8)), "value type 99"),
        (header(0, 2, entry(b"key", 4, b"\0" * 4) * 2), "occurs twice"),
        (header(0, 1, entry(b"general.alignment", 4, np.uint32(3).tobytes())), "power of two"),
        (header(0, 1, entry(b"k\xff", 4, b"\0" * 4)), "utf-8"),
        (header(0, 0, b"\0" * 64), "token_embd.weight"),
    ],
)
def test_lies_in_the_header_are_found_before_they_cost_memory(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "lie.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load(path)
    assert "lie.gguf" in str(caught.value)


def test_more_layers_than_tensors_is_a_lie(reference: Any, trained: Tokenizer, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "deep.gguf", reference, trained, Quantization.F32, n_layers=2**31)
    with pytest.raises(CheckpointError, match="announces 2147483648 layers"):
        load(path)


def test_an_unknown_pre_tokenizer_is_refused_not_guessed(reference: Any, trained: Tokenizer, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "other.gguf", reference, trained, Quantization.F32, pre="tekken")
    with pytest.raises(CheckpointError, match="'tekken' is unknown; expected one of 'gpt-2', 'smollm'"):
        load(path)
    path = write_gguf(tmp_path / "other.gguf", reference, trained, Quantization.F32, tokenizer_model="llama")
    with pytest.raises(CheckpointError, match="only 'gpt2'"):
        load(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.gguf: cannot be read"):
        GGUFFile(tmp_path / "nowhere.gguf")
