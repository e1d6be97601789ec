"""Decoders run by llama.cpp: a family that langbert has no network for, beside transformers; and one that it has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from generation_tools import CHATML, TOKENIZER, save_folder, sharpened, tiny_llama
from gguf import GGMLQuantizationType as Quantization
from test_gguf import write_gguf
from transformers import Qwen3Config, Qwen3ForCausalLM

from langbert import Generator, Message
from langbert.errors import CheckpointError, GenerationError, MissingExtra
from langbert.models.llama_cpp_models import LlamaCppDecoder, has_llama_cpp

CPU = torch.device("cpu")
needs_it = pytest.mark.skipif(not has_llama_cpp(), reason="llama-cpp-python is not installed")
SIZE = TOKENIZER.get_vocab_size()  # llama.cpp takes no network that knows more tokens than the tokenizer
TEXTS = ["the cat sat on the mat", "机器学习 😀 12", "", " two  spaces\n", "an <|im_end|> that was written out"]


def qwen3() -> Any:
    torch.manual_seed(3)
    config = Qwen3Config(
        vocab_size=SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=800,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    return sharpened(Qwen3ForCausalLM(config)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def reference() -> Any:
    return qwen3()


@pytest.fixture(scope="module")
def file(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen3") / "tiny.gguf"
    return write_gguf(path, reference, TOKENIZER, Quantization.F32, pre="gpt-2", template=CHATML)


@needs_it
def test_logits_are_those_of_transformers_however_the_tokens_come(reference: Any, file: Path) -> None:
    decoder = LlamaCppDecoder(file, device=CPU)
    assert decoder.context_length == 800
    ids = torch.randint(3, SIZE, (700,), generator=torch.Generator().manual_seed(1)).tolist()
    first, second = decoder.start(720), decoder.start(720)
    found = [first.read(ids[:600])]  # more than are read at once
    other = second.read(ids[5:25])  # between, a sequence of its own
    found += [first.read([token]) for token in ids[600:603]] + [first.read(ids[603:])]
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0, [599, 600, 601, 602, 699]]
        expected_other = reference(torch.tensor([ids[5:25]])).logits[0, -1]
    # keys and values are kept in 16 bits
    torch.testing.assert_close(torch.stack(found), expected, atol=0.05, rtol=0.01)
    torch.testing.assert_close(other, expected_other, atol=0.05, rtol=0.01)


@needs_it
@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_cut_as_the_files_tokenizer_cuts_them(file: Path, text: str) -> None:
    tokenizer = LlamaCppDecoder(file, device=CPU).tokenizer
    theirs = type(TOKENIZER).from_str(TOKENIZER.to_str())
    theirs.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == theirs.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([1, *ids, 2]) == text
    added = tokenizer.get_added_tokens_decoder()
    assert {i: token.content for i, token in added.items()} == {0: "<|endoftext|>", 1: "<|im_start|>", 2: "<|im_end|>"}


@needs_it
def test_a_family_without_a_network_here_writes_through_the_same_generator(reference: Any, file: Path) -> None:
    generator = Generator(file)
    assert isinstance(generator.decoder, LlamaCppDecoder)
    messages = [Message("system", "the cat"), Message("user", "where <|im_end|> is the hat?")]
    ids = generator.encode(messages)
    assert ids.count(2) == 2  # what was written out ends no turn
    stream = generator.stream(messages, max_tokens=12)
    pieces = list(stream)
    assert "".join(pieces) == stream.generation.text
    assert len(pieces) > 1
    written = list(ids)
    with torch.no_grad():
        for _ in range(stream.generation.completion_tokens):
            written.append(int(reference(torch.tensor([written])).logits[0, -1].argmax()))
    assert TOKENIZER.decode(written[len(ids) :], skip_special_tokens=True).startswith(stream.generation.text[:8])
    text = generator.generate(messages, max_tokens=12).text
    assert generator.generate(messages, max_tokens=12, stop=[text[3:5]]).text == text[:3]
    assert generator.generate(messages, max_tokens=12, temperature=1.0, seed=4) == generator.generate(
        messages, max_tokens=12, temperature=1.0, seed=4
    )
    with pytest.raises(GenerationError, match="shorten the prompt"):
        generator.stream(messages, max_tokens=800)


@needs_it
def test_by_name_it_runs_what_langbert_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGBERT_CACHE", str(tmp_path / "cache"))
    network = tiny_llama()
    network.resize_token_embeddings(SIZE)
    path = write_gguf(tmp_path / "llama.gguf", network, TOKENIZER, Quantization.F32, pre="gpt-2", template=CHATML)
    ours, theirs = Generator(path, precision="float32"), Generator(f"llama.cpp:{path}")
    assert isinstance(theirs.decoder, LlamaCppDecoder)
    assert theirs.encode("the cat") == ours.encode("the cat")
    assert theirs.generate("the cat", max_tokens=8) == ours.generate("the cat", max_tokens=8)


@needs_it
def test_what_it_cannot_run_is_said(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"broken\.gguf"):
        Generator(broken)
    with pytest.raises(CheckpointError, match="is a folder"):
        Generator(f"llama.cpp:{save_folder(tiny_llama(), tmp_path)}")


def test_without_the_extra_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MissingExtra, match=r"langbert\[llama-cpp\]"):
        Generator(f"llama.cpp:{file}")
