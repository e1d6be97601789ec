"""e5-small: the container it comes in, its word table of few bits, and networks of RoBERTa's names, on tiny weights."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from langbert.errors import CheckpointError
from langbert.models.bert.checkpoint import parse_config
from langbert.models.bert.e5 import E5_WEIGHTS
from langbert.models.bert.evidence import HEADS, EvidenceEncoder, load_evidence_encoder
from langbert.models.bert.inference import PreparedBert
from langbert.models.bert.int8 import activation_ranges, int8_weights
from langbert.models.bert.loading import load_bert, load_cross_encoder
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.encoder import load_encoder
from langbert.models.files.digests import remembered
from langbert.models.files.e5_file import E5File
from langbert.models.files.json_files import write_json
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.files.weights import save_tensors, tensors_sha256
from langbert.models.layers.low_bit_table import BLOCK_BYTES, LowBitTable, decode_q4_0

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 50,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
}
CONFIG = {"model_type": "bert", **SIZES}


def quantized(tensor: Tensor) -> bytes:
    """GGML's Q4_0 as llama.cpp has it: the number furthest from 0 becomes -8."""
    blocks = tensor.detach().reshape(-1, 32).numpy()
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scales = (furthest / -8).astype(np.float16)
    numbers = np.clip(np.round(blocks / np.where(scales == 0, 1, scales).astype(np.float32)) + 8, 0, 15).astype(
        np.uint8
    )
    packed = numbers[:, :16] | (numbers[:, 16:] << 4)
    return np.concatenate([scales.view(np.uint8), packed], axis=1).tobytes()


def e5_bytes(bert: Bert, *, header: dict[str, int] | None = None) -> bytes:
    """A file of ``bert``'s weights; ``header`` changes what it claims of sizes."""
    state = bert.state_dict()
    tensors = {"emb.word": state["embeddings.tokens.weight"], "emb.pos": state["embeddings.positions.weight"]}
    tensors["emb.type"] = state["embeddings.segments.weight"]
    tensors |= {f"emb.ln.{k[0]}": state[f"embeddings.norm.{k}"] for k in ("weight", "bias")}
    for i in range(bert.config.n_layers):
        for kind in ("weight", "bias"):
            parts = state[f"layers.{i}.attention.qkv.{kind}"].chunk(3)
            tensors |= {f"l{i}.{name}.{kind[0]}": part for name, part in zip("qkv", parts, strict=True)}
            for ours, theirs in (("attention.output", "ao"), ("up", "fi"), ("down", "fo")):
                tensors[f"l{i}.{theirs}.{kind[0]}"] = state[f"layers.{i}.{ours}.{kind}"]
            for ours, theirs in (("attention_norm", "aln"), ("output_norm", "oln")):
                tensors[f"l{i}.{theirs}.{kind[0]}"] = state[f"layers.{i}.{ours}.{kind}"]
    sizes = {**SIZES, **(header or {})}
    head = struct.pack("<4sI7ifi", b"E5S1", 1, *sizes.values(), 1e-12, 32)
    head += struct.pack("<5iQ", 2, 0, 2, 1, 3, 5) + bytes(4 * 3 + 4 * 2 + 5) + struct.pack("<iI", 7, 3) + b"abc"
    head += struct.pack("<i", len(tensors))
    data = {
        name: quantized(tensor) if tensor.ndim > 1 and name not in ("emb.pos", "emb.type") else tensor.numpy().tobytes()
        for name, tensor in tensors.items()
    }
    offset = len(head) + sum(2 + len(name) + 21 for name in data)
    body = b""
    for name, raw in data.items():
        kind = int(len(raw) != 4 * tensors[name].numel())
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, tensors[name].numel(), offset + len(body), len(raw))
        body += raw
    return head + body


@pytest.fixture(scope="module")
def bert() -> Bert:
    torch.manual_seed(0)
    return Bert(parse_config(CONFIG), pooler=False).eval()


@pytest.fixture
def folder(tmp_path: Path, bert: Bert) -> Path:
    (tmp_path / E5_WEIGHTS).write_bytes(e5_bytes(bert))
    write_json(CONFIG, tmp_path / "config.json")
    return tmp_path


def test_a_table_of_few_bits_is_the_decoded_table() -> None:
    blocks = torch.randint(0, 256, (7, 3 * BLOCK_BYTES), dtype=torch.uint8)
    blocks.view(7, 3, BLOCK_BYTES)[..., 1] &= 0x3F  # scales that are numbers
    table = LowBitTable(blocks)
    assert table.shape == (7, 96)
    ids = torch.tensor([[0, 3], [6, 3]])
    assert torch.equal(table(ids), table.weight[ids])
    scale = blocks[3, BLOCK_BYTES : BLOCK_BYTES + 2].view(torch.float16).float()
    byte = int(blocks[3, BLOCK_BYTES + 2 + 5])
    assert table.weight[3, 32 + 5] == ((byte & 15) - 8) * scale
    assert table.weight[3, 32 + 16 + 5] == ((byte >> 4) - 8) * scale


def test_the_file_gives_the_network_it_was_made_of(folder: Path, bert: Bert) -> None:
    loaded = load_bert(folder, low_bit=True)
    table = loaded.embeddings.tokens
    assert isinstance(table, LowBitTable)
    originals = bert.state_dict()
    for name, tensor in {**loaded.state_dict(), "embeddings.tokens.weight": table.weight}.items():
        if name != "embeddings.tokens.blocks":
            torch.testing.assert_close(tensor, originals[name], atol=0.01, rtol=0)  # 4 bits of numbers around 0.02
    assert torch.equal(loaded.embeddings.positions.weight, bert.embeddings.positions.weight)
    floats = load_bert(folder)
    assert torch.equal(floats.embeddings.tokens.weight, table.weight)
    ids = [[0, 5, 6, 2], [0, 9, 2]]
    torch.testing.assert_close(PreparedBert(loaded)(ids), PreparedBert(floats)(ids))


def test_saved_and_loaded_again_it_is_the_same_space(folder: Path, tmp_path: Path) -> None:
    encoder = load_encoder(folder, dtype=torch.float32, device=torch.device("cpu"))
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved", dtype=torch.float32, device=torch.device("cpu"))
    assert tensors_sha256(again.weights()) == tensors_sha256(encoder.weights())
    ids = [[0, 7, 2], [0, 5, 6, 2]]
    assert torch.equal(again(ids), encoder(ids))


def test_sizes_that_config_does_not_have_are_named(folder: Path, bert: Bert) -> None:
    (folder / E5_WEIGHTS).write_bytes(e5_bytes(bert, header={"num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match="n_layers"):
        load_bert(folder)


def test_a_missing_tensor_is_named(folder: Path, bert: Bert) -> None:
    (folder / E5_WEIGHTS).write_bytes(e5_bytes(bert).replace(b"l1.fo.w", b"l1.fo.x"))
    with pytest.raises(CheckpointError, match=r"missing l1\.fo\.w"):
        load_bert(folder)


@given(cut=st.integers(0, 10_000), at=st.integers(0, 3_000), byte=st.integers(0, 255))
def test_a_hostile_file_is_an_error_or_a_network(
    tmp_path_factory: pytest.TempPathFactory, bert: Bert, cut: int, at: int, byte: int
) -> None:
    raw = bytearray(e5_bytes(bert))
    raw[at] = byte
    file = tmp_path_factory.mktemp("e5") / E5_WEIGHTS
    file.write_bytes(raw[: len(raw) - cut])
    with suppress(CheckpointError):
        opened = E5File(file)
        for name in opened.names:
            opened.tensor(name)


@pytest.mark.parametrize(
    "head",
    [b"", b"GGUF" + bytes(100), b"E5S1" + struct.pack("<I7ifi", 1, *[2**31 - 1] * 7, 1e-12, 32)],
    ids=["empty", "another format", "cut off"],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / E5_WEIGHTS).write_bytes(head)
    with pytest.raises(CheckpointError, match="not a whole e5 file"):
        E5File(tmp_path / E5_WEIGHTS)


# --- BERT's network under RoBERTa's names: XLM-R, bge-m3, multilingual-e5-base, paraphrase-multilingual-MiniLM -------


def roberta_config() -> object:
    from transformers import XLMRobertaConfig

    sizes = {**SIZES, "type_vocab_size": 1, "max_position_embeddings": 42}
    return XLMRobertaConfig(**sizes, layer_norm_eps=1e-5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def test_xlm_roberta_runs_packed_as_transformers_has_it(tmp_path: Path) -> None:
    from transformers import XLMRobertaModel

    torch.manual_seed(0)
    theirs = XLMRobertaModel(roberta_config()).eval()  # type: ignore[arg-type]
    nn.init.normal_(theirs.embeddings.position_embeddings.weight, std=0.5)  # else a shift would hardly show
    theirs.save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path, dtype=torch.float32, device=torch.device("cpu"))
    assert type(encoder).__name__ == "BertEncoder"
    assert encoder.max_length == 40
    sequences = [[0, 5, 2], [0, *range(4, 42), 2]]
    ours = encoder(sequences)
    with torch.no_grad():
        for ids, rows in zip(sequences, ours.split([3, 40]), strict=True):
            expected = theirs(torch.tensor([ids])).last_hidden_state[0]
            torch.testing.assert_close(rows, expected, atol=1e-5, rtol=0)


def test_saved_it_is_a_plain_bert_with_the_same_states(tmp_path: Path) -> None:
    from transformers import XLMRobertaModel

    torch.manual_seed(0)
    XLMRobertaModel(roberta_config()).save_pretrained(tmp_path / "theirs")  # type: ignore[arg-type]
    encoder = load_encoder(tmp_path / "theirs", dtype=torch.float32, device=torch.device("cpu"))
    (tmp_path / "ours").mkdir()
    encoder.save(tmp_path / "ours")
    again = load_encoder(tmp_path / "ours", dtype=torch.float32, device=torch.device("cpu"))
    assert torch.equal(again([[0, 5, 6, 2]]), encoder([[0, 5, 6, 2]]))


def test_xlm_roberta_cross_encoders_too(tmp_path: Path) -> None:
    from transformers import XLMRobertaForSequenceClassification

    torch.manual_seed(0)
    config = roberta_config()
    config.num_labels = 1  # type: ignore[attr-defined]
    theirs = XLMRobertaForSequenceClassification(config).eval()  # type: ignore[arg-type]
    theirs.save_pretrained(tmp_path)
    ours = load_cross_encoder(tmp_path)
    ids = torch.tensor([[0, 5, 6, 2, 2, 8, 2]])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=0)


def test_matrices_that_are_there_in_8_bits_are_neither_decoded_nor_merged(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    heads = EvidenceEncoder(load_bert(folder)).state_dict()
    tensors = {name: tensor for name, tensor in heads.items() if name.startswith(HEADS)}
    for part, size in (("attention.qkv", 3 * SIZES["hidden_size"]), ("up", SIZES["intermediate_size"])):
        tensors[f"bert.layers.1.{part}.lora_A.weight"] = torch.randn(4, SIZES["hidden_size"])
        tensors[f"bert.layers.1.{part}.lora_B.weight"] = torch.randn(size, 4)
    tensors["bert.layers.1.output_norm.bias"] = torch.randn(SIZES["hidden_size"])
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    file = adapters / "adapter_model.safetensors"
    save_tensors({f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, file)
    (adapters / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    whole, light = (load_evidence_encoder(adapters, folder, matrices=matrices) for matrices in (True, False))
    assert {name for name, tensor in light.state_dict().items() if tensor.is_meta} == {
        f"bert.layers.{i}.{part}.weight" for i in (0, 1) for part in ("attention.qkv", "attention.output", "up", "down")
    }
    sequences = [[2, *range(5, 30), 3], [2, 3]]
    int8 = int8_weights(whole.bert, activation_ranges(whole.bert, sequences))
    expected, found = (PreparedBert(each.bert, dtype=torch.int8, int8=int8)(sequences) for each in (whole, light))
    assert torch.equal(found, expected)
    assert not torch.allclose(found, PreparedBert(load_bert(folder))(sequences), atol=0.1)  # the adapters count
    save_tensors({f"base_model.model.{name}": tensor[:3] for name, tensor in tensors.items()}, file)
    for matrices in (True, False):
        with pytest.raises(CheckpointError):
            load_evidence_encoder(adapters, folder, matrices=matrices)


def test_positions_that_are_all_unused_are_an_error() -> None:
    with pytest.raises(CheckpointError, match="2 positions, of which 2"):
        parse_config({**CONFIG, "model_type": "xlm-roberta", "max_position_embeddings": 2})
    assert parse_config({**CONFIG, "model_type": "roberta"}).max_positions == 38
    assert isinstance(parse_config(CONFIG), BertConfig)


def test_decoding_keeps_leading_dimensions() -> None:
    assert decode_q4_0(torch.zeros(2, 3, BLOCK_BYTES, dtype=torch.uint8)).shape == (2, 3, 32)


# --- what is worked out once -------------------------------------------------------------------------------------


def test_a_digest_is_worked_out_again_when_a_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGBERT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("one")
    digests = iter("abcdef")

    def asked(what: str = "weights") -> str:
        return remembered(what, folder, lambda: next(digests) * 64)

    assert [asked(), asked(), asked("tokenizer"), asked()] == ["a" * 64, "a" * 64, "b" * 64, "a" * 64]
    (folder / "weights").write_text("two")
    assert asked() == "c" * 64
    for note in (tmp_path / "cache" / "digests").iterdir():
        note.write_text("broken")
    assert asked() == "d" * 64
    monkeypatch.setenv("LANGBERT_CACHE", str(folder / "weights"))  # no folder: nothing can be kept there
    assert [asked(), asked()] == ["e" * 64, "f" * 64]


def test_one_tokenizer_in_memory(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path)
    first = TextTokenizer.from_folder(tmp_path)
    assert TextTokenizer.from_folder(tmp_path) is first
    assert TextTokenizer.from_folder(tmp_path, lowercase=True) is not first
    write_tiny_tokenizer(tmp_path, "other")
    assert TextTokenizer.from_folder(tmp_path).vocab_size == first.vocab_size + 1


def write_tiny_tokenizer(folder: Path, *more: str) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *more]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.models
def test_e5_small_is_what_transformers_computes_of_its_decoded_weights(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from langbert import Embedder

    texts = ["How long is the Nile?", "尼罗河全长约6650公里。", "  两  个 spaces,\ttabs ", "", "Où est la gare ? " * 80]
    ours = Embedder("e5-small", precision="float32")
    assert [ours.space.query_prompt, ours.space.document_prompt] == ["query: ", "passage: "]
    ours.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode([f"passage: {text}" for text in texts])
    np.testing.assert_allclose(ours.embed(texts), theirs, atol=1e-5)
    asked = ours.embed(["What flows through Egypt?"], "query")
    assert int((asked @ ours.embed([*texts[:2], "巴黎是法国的首都。"]).T).argmax()) in (0, 1)
