"""Models that were made to do harm, or broken on their way: loaded, or refused with the reason, and nothing else."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from langbert import Embedder
from langbert.errors import CheckpointError
from langbert.generation.template import ChatTemplate
from langbert.models.files.adapters import ADAPTER_CONFIG, base_name
from langbert.models.files.json_files import read_json
from langbert.models.files.lora import ADAPTER_TENSORS, merge_adapters
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.files.tokenizer_checks import check_pattern
from langbert.models.files.weights import read_tensors

SIZES = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 12, "max_position_embeddings": 32}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = {piece: i for i, piece in enumerate([*SPECIAL, "a", "b", "##a", "##b", "hello", "world", "the"])}


def definition(**changed: Any) -> dict[str, Any]:
    """A ``tokenizer.json`` of twelve word pieces."""
    single: list[Any] = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    single += [{"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    marks = {name: {"id": name, "ids": [VOCAB[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": VOCAB[name], "content": name, **flags} for name in SPECIAL],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": marks},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": VOCAB,
        },
    } | changed


def tiny_bert(folder: Path) -> Path:
    """A tiny BERT with its tokenizer, pooled by the mean."""
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SIZES)).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(definition()))
    stages = [{"path": "", "type": "x.Transformer"}, {"path": "1", "type": "x.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(stages))
    (folder / "1").mkdir()
    (folder / "1/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path)


def embed(folder: Path, text: str = "hello world") -> tuple[int, ...]:
    return Embedder(folder, precision="float32", threads=1).embed([text]).shape


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**read_json(file), **values}))


def test_the_model_that_is_spoilt_below_loads(folder: Path) -> None:
    assert embed(folder) == (1, 8)


# Pickled weights


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def together(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def named(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def tensor(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, n_items: int = 4, kind: str = "FloatStorage"
) -> bytes:
    storage = together(text("storage"), named(f"torch.{kind}"), text("0"), text("cpu"), number(n_items)) + b"Q"
    shape = (together(*map(number, numbers)) for numbers in (size, stride))
    hooks = named("collections.OrderedDict") + b")R"
    return named("torch._utils._rebuild_tensor_v2") + together(storage, number(offset), *shape, b"\x89", hooks) + b"R"


def pickled(tensors: dict[str, bytes]) -> bytes:
    return b"\x80\x02}" + b"".join(text(name) + value + b"s" for name, value in tensors.items()) + b"."


def torch_zip(file: Path, pickle: bytes, storage: bytes = struct.pack("<4f", 1, 2, 3, 4), **options: Any) -> Path:
    with zipfile.ZipFile(file, "w", **options) as archive:
        archive.writestr("m/data.pkl", pickle)
        archive.writestr("m/data/0", storage)
    return file


def endless(value: bytes = b"N\x85") -> bytes:
    """A tuple of itself twice, forty times: a few hundred bytes that unfold to 2^40 values."""
    return value + b"q\x00h\x00\x86" * 40


@pytest.mark.parametrize(
    ("pickle", "reason"),
    [
        (pickled({"a": tensor((10**9,), (1,))}), "shape"),
        (pickled({"a": tensor((4,), (1,), 10**9)}), "shape"),
        (pickled({"a": tensor((4,), (1,), -4)}), "shape"),
        (pickled({"a": tensor((4,), (-1,), 3)}), "shape"),
        (pickled({"a": tensor((10**6, 10**6), (0, 0))}), "shape"),
        (pickled({"a": tensor((2**40, 2**40), (1, 1))}), "shape"),
        (pickled({"a": tensor((4,), (1, 1))}), "strides"),
        (pickled({"a": tensor((4,), (1,), n_items=10**10)}), "16 bytes, 10000000000 items are announced"),
        (pickled({"a": tensor((4,), (1,), n_items=-5)}), "storage"),
        (pickled({"a": tensor((4,), (1,), kind="Tensor")}), "more than tensors"),
        (pickled({f"t{i}": tensor((4,), (1,)) for i in range(10_000)}), "unread"),
        (pickled({"a": named("builtins.bytearray") + together(number(2**40)) + b"R"}), "more than tensors"),
        (pickled({"a": named("os.system") + together(text("true")) + b"R"}), r"more than tensors.*os\.system"),
        (pickled({"a": named("torch._utils._rebuild_tensor_v2") + b")R"}), "unpack"),
        (pickled({"a": text("no tensor")}), "no tensor"),
        (b"\x80\x02}" + endless() + b"Ns.", "a dict key is a tuple"),
        (b"\x80\x02" + endless() + b".", "a tuple, expected a dictionary"),
        (b"\x80\x02R.", "no pickle"),
        (b"\x80\x02h\x05.", "no pickle"),
        (b"", "no pickle"),
    ],
)
def test_pickled_weights_that_lie_are_refused(tmp_path: Path, pickle: bytes, reason: str) -> None:
    file = torch_zip(tmp_path / "a.bin", pickle)
    if reason == "unread":  # names are longer than what they share
        assert len(read_tensors(file)) == 10_000
        return
    with pytest.raises(CheckpointError, match=rf"a\.bin: .*{reason}"):
        read_tensors(file)


def test_tensors_of_one_storage_do_not_become_more_than_the_file(tmp_path: Path) -> None:
    shared = {f"t{i}": tensor((2**16,), (1,), n_items=2**16) for i in range(1000)}
    file = torch_zip(tmp_path / "a.bin", pickled(shared), b"\0" * 2**18)
    with pytest.raises(CheckpointError, match="lie over each other"):
        read_tensors(file)
    tied = {name: shared[name] for name in ("t0", "t1", "t2")}
    assert len(read_tensors(torch_zip(file, pickled(tied), b"\0" * 2**18))) == 3


def test_packed_weights_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = pickled({"a": tensor((2**20,), (1,), n_items=2**20)})
    file = torch_zip(tmp_path / "a.bin", bomb, b"\0" * 2**22, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"a\.bin: .*is compressed"):
        read_tensors(file)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_pickled_weights_are_those_that_torch_reads(tmp_path: Path, zipped: bool, dtype: torch.dtype) -> None:
    whole = torch.arange(24).view(4, 6).to(dtype)
    weights = {"whole": whole, "turned": whole.T, "part": whole[1:3, 2:], "one": whole[0, 0], "none": whole[:0]}
    weights["trained"] = torch.nn.Parameter(whole.clone(), requires_grad=False)
    torch.save(weights, tmp_path / "a.bin", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "a.bin")
    assert all(torch.equal(found[name], weights[name]) and found[name].dtype == dtype for name in weights)
    assert found.keys() == weights.keys()


# Configurations


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 0},
        {"hidden_size": 10**9},
        {"hidden_size": 10**30},
        {"hidden_size": -8},
        {"num_attention_heads": 0},
        {"num_attention_heads": -2},
        {"vocab_size": 10**12},
        {"intermediate_size": 10**12},
        {"max_position_embeddings": 10**12},
        {"type_vocab_size": 10**15},
        {"layer_norm_eps": float("nan")},
        {"layer_norm_eps": 10**400},
        {"hidden_dropout_prob": 5.0},
        {"model_type": ["bert"]},
    ],
)
def test_sizes_that_the_weights_do_not_have_cost_nothing(folder: Path, values: dict[str, Any]) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(CheckpointError, match=str(folder)):
        embed(folder)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer_config.json", "1/config.json"])
@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, '{"vocab_size": ' + "9" * 5000 + "}", "\0", "3"])
def test_json_that_nests_or_counts_without_end_is_refused(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=f"{folder / name}: "):
        embed(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sentence_bert_config.json", {"max_seq_length": "abc"}),
        ("sentence_bert_config.json", {"max_seq_length": -5}),
        ("sentence_bert_config.json", {"max_seq_length": [1]}),
        ("config_sentence_transformers.json", {"prompts": [1]}),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}),
        ("config_sentence_transformers.json", {"prompts": {"query": "a " * 1000}}),
        ("config_sentence_transformers.json", {"default_prompt_name": {}}),
        ("config_sentence_transformers.json", {"langbert": [1]}),
        ("config_sentence_transformers.json", {"langbert": {"dimensions": "x"}}),
        ("config_sentence_transformers.json", {"langbert": {"dimensions": 10**9}}),
        ("config_sentence_transformers.json", {"langbert": {"pooling": 3}}),
        ("config_sentence_transformers.json", {"langbert": {"stand_ins": 3}}),
        ("1/config.json", {"pooling_mode": "attention", "embedding_dimension": 10**5}),
        ("1/config.json", {"pooling_mode": "attention", "embedding_dimension": True}),
        ("1/config.json", {"pooling_mode": ["cls", {}]}),
        ("1/config.json", {"pooling_mode": 3}),
        ("model.safetensors.index.json", {"weight_map": {"a": 3}}),
        ("model.safetensors.index.json", {"weight_map": {"a": ["x"]}}),
    ],
)
def test_settings_of_other_kinds_are_named(folder: Path, name: str, values: dict[str, Any]) -> None:
    if "index" in name or values.get("pooling_mode") == "attention":
        (folder / "model.safetensors").rename(folder / "1" / "model.safetensors")
    (folder / name).write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=str(folder)):
        embed(folder)


@pytest.mark.parametrize("sizes", [(10**5, 10**5), (10**9, 10**9), (8, True), (8, "8")])
def test_a_dense_layer_is_no_larger_than_its_weights(folder: Path, sizes: tuple[Any, Any]) -> None:
    stages = [{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.Dense"}]
    (folder / "modules.json").write_text(json.dumps(stages))
    (folder / "2").mkdir()
    (folder / "2/config.json").write_text(json.dumps({"in_features": sizes[0], "out_features": sizes[1]}))
    save_file({"linear.weight": torch.ones(8, 8), "linear.bias": torch.ones(8)}, folder / "2/model.safetensors")
    with pytest.raises(CheckpointError, match=str(folder / "2")):
        embed(folder)


def test_a_pipe_for_a_configuration_is_not_waited_for(folder: Path) -> None:
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    (folder / "1/config.json").unlink()
    os.mkfifo(folder / "1/config.json")
    with pytest.raises(CheckpointError, match="no regular file"):
        embed(folder)


# Tokenizers


def replacing(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def splitting(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split]}}


def around(**changed: Any) -> dict[str, Any]:
    return {"post_processor": {**definition()["post_processor"], **changed}}


def words(**changed: Any) -> dict[str, Any]:
    return {"model": {**definition()["model"], **changed}}


CHARACTERS = {"type": "Precompiled"}
BEGIN, TEXT = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}


@pytest.mark.parametrize(
    "changed",
    [
        splitting("(a+)+$"),
        splitting("((("),
        splitting("(" * 200 + "a" + ")" * 200),
        {"normalizer": {"type": "Sequence", "normalizers": [replacing("o", "oo")] * 40}},
        {"normalizer": replacing("", "x" * 1000)},
        {"normalizer": replacing("o", "o" * 1000)},
        {"normalizer": {"type": "Prepend", "prepend": "a " * 1000}},
        {"normalizer": {**CHARACTERS, "precompiled_charsmap": ""}},
        {"normalizer": {**CHARACTERS, "precompiled_charsmap": "/////w=="}},  # a table of 4 GB
        {"normalizer": {**CHARACTERS, "precompiled_charsmap": "no base64"}},
        {"decoder": {"type": "Sequence", "decoders": [replacing("o", "oo")] * 40}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        around(single=[BEGIN] * 1000 + [TEXT]),
        around(single=[TEXT] * 100),
        around(single=[BEGIN]),
        around(special_tokens={"[CLS]": {"id": "[CLS]", "ids": [2] * 1000, "tokens": ["[CLS]"] * 1000}}),
        words(max_input_chars_per_word=10**9),
        words(unk_token="nope"),
        words(vocab={"a": -1}),
        {"model": None},
        {
            "model": {
                "type": "BPE",
                "vocab": {"a": 0, "aa": 1},
                "merges": [["a", "a"]],
                "continuing_subword_prefix": "##",
            }
        },
        {"model": {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]}},
    ],
)
def test_a_tokenizer_that_explodes_is_refused(folder: Path, changed: dict[str, Any]) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(definition(**changed)))
    with pytest.raises(CheckpointError, match=str(folder)):
        TextTokenizer.from_folder(folder)


def test_what_a_tokenizer_cannot_cut_is_said(folder: Path) -> None:
    unigram = {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}
    changed = definition(model=unigram, post_processor=None, added_tokens=[])
    (folder / "tokenizer.json").write_text(json.dumps(changed))
    tokenizer = TextTokenizer.from_folder(folder)
    with pytest.raises(CheckpointError, match=f"{folder}: its tokenizer fails"):
        tokenizer.encode(["zebra"])


def test_tokens_beyond_the_networks_table_are_named(folder: Path) -> None:
    weights = read_tensors(folder)
    rows = weights["embeddings.word_embeddings.weight"]
    save_file({**weights, "embeddings.word_embeddings.weight": rows[:10].clone()}, folder / "model.safetensors")
    change(folder / "config.json", vocab_size=10)
    assert embed(folder, "hello") == (1, 8)
    with pytest.raises(CheckpointError, match="the token 10, and the network knows 10"):
        embed(folder)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)*c",
        "a*a*a*a*a*[cd]",
        "(?:(a+)+$|x){1,5}",
        "(a{1,1000}){1,1000}",
        "((a?){30}){30}",
        "(?:a?a)*b",
        "(?:(?:a*))*",
        "(?i)(?:x+x+)+y",
        r"(\w*)*[^a]",
        "a{100000}",
        "([]a]+)*",
        "([[:alpha:]]+)*",
        "(?<n>a+)+",
        "(?>a|b)*?",
        "(?~a)*",
        r"((?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+)*",
    ],
)
def test_a_pattern_that_may_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}|\s+(?!\S)",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
        r" ?[^(\s|[.,!?…。，、।۔،])]+",
        r"(?=(\d{3})+(?!\d))",
        r"((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+(?:'[sS]|'[tT])?",
        r"([!#\$%\&'\*\+,\-\./:;<=>\?\\^_`\|\~])\1*",
        r"(\[[^\]]+]|Br?|Cl?|N|O|\(|\)|\.|=|#|\$|\%[0-9]{2}|[0-9])",
        r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
        r"\s?[A-Za-zµÀ-Öa-z]+|\s?[!-/:-~！-／‘-‟　-。]+|\s+$|[一-龥ࠀ-一가-퟿]+",
        r"\s{512}(?!\S)|\s{256}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)",
        r"\d{1,3}(?=(?:\d{3})*\b)",
        r"<\|startoftext\|>|<\|endoftext\|>|'s|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r"^▁+$| +▁|[\n\r\t]|\s{2,}",
        r"[\p{P}\$\+<=>\^~\|`]+|[가-힣ㄱ-ㆎ]+|\p{Han}+",
        " {2,}",
    ],
)
def test_patterns_that_models_come_with_are_taken(pattern: str) -> None:
    check_pattern(pattern)


# Chat templates

DOUBLING = "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = MORE %}{% endfor %}{{ END }}"


def doubling(start: str, more: str, end: str = "ns.x") -> str:
    return DOUBLING.replace("START", start).replace("MORE", more).replace("END", end)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 100_000 + "{% endfor %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        doubling("'ab'", "ns.x ~ ns.x"),
        doubling("'ab'", "ns.x + ns.x"),
        doubling("'ab'", "[ns.x, ns.x]|join"),
        doubling("'ab'", "ns.x.replace('a', 'ab').replace('b', 'ab')"),
        doubling("[1]", "[ns.x, ns.x]"),
        doubling("[1]", "(ns.x, ns.x)", "{ns.x: 1}"),
        doubling("[1]", "[ns.x] * 2", "ns.x|string"),
        doubling("{}", "dict(a=ns.x, b=ns.x)", "ns.x|tojson"),
        "{% set s = 'a' * 3000000 %}{% for i in range(100000) %}{{ s == s ~ 'b' }}{% endfor %}",
        "{% set s = 'a' * 3000000 %}{% for i in range(100000) %}{{ s in messages[0].content }}{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ [0] * 10**9 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%010000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '%*d' % (10**9, 1) }}",
        "{{ '{:{}}'.format(1, 10**9) }}",
        "{{ '{}{}{}'.format(*[messages|string * 1000000] * 3) }}",
        "{{ '{a}'.format_map({'a': 1}) }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ strftime_now('%1000000000d') }}",
        "{{ strftime_now('%Y' * 1000000) }}",
        "{{ [1]|slice(10**9)|list }}",
        "{{ '1'.zfill(10**10) }}",
        "{{ messages|tojson(separators=('a' * 1000000, ':')) }}",
        doubling("'ab'", "'{}{}'.format(ns.x, ns.x)"),
        doubling("'ab'", "'%s%s' % (ns.x, ns.x)"),
        "{% macro m(n) %}{% set n.x = n.x ~ n.x %}{{ m(n) }}{% endmacro %}{{ m(namespace(x='ab')) }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = [ns, ns] %}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ 'a'.encode('utf-32') }}",
        "{{ 'a'|center(10**10) }}",
        "{{ 'a'|indent(10**9) }}",
        "{{ messages|tojson(indent=10**9) }}",
        "{{ [1]|batch(10**9, 1)|list }}",
        "{{ 'a'.replace('', 'b' * 1000000).replace('', 'b' * 1000000) }}",
        "{{ (5).to_bytes(10**9) }}",
        "{{ lipsum(n=10**9) }}",
        "{{ range(10**12)|list }}",
        "{{ namespace(a=1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{% include 'x' %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{% for i in [1] %}" * 60 + "x" + "{% endfor %}" * 60,
        "{{ " + "9" * 5000 + " }}",
        "x" * 1_000_000,
    ],
)  # fmt: skip
def test_a_template_that_never_ends_or_reaches_out_is_refused(source: str) -> None:
    with pytest.raises(CheckpointError, match="the model's chat template"):
        ChatTemplate(source).render([{"role": "user", "content": "hello"}], ask=True, tokens={})


def test_a_template_that_models_come_with_is_rendered_whatever_is_said() -> None:
    source = """{%- macro said(m) -%}<|{{ m['role'] }}|>{{ m.content.split('</think>')[-1]|trim }}{%- endmacro -%}
    {%- set ns = namespace(n=0) -%}{%- for m in messages[:-1] if m.role in ('user', 'assistant') -%}
    {{ said(m) ~ eos_token }}{%- set ns.n = ns.n + m.content|length -%}{%- if loop.last -%}{%- break -%}{%- endif -%}
    {%- endfor -%}{{ ns.n }}{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|tojson }}
    {%- for k, v in {'a': 1}.items() -%}{{ loop.index0 % 2 }}{{ k * v }}{%- endfor -%}"""
    turns = [{"role": "user", "content": "x " * 200_000}, {"role": "assistant", "content": "a</think>b"}] * 3
    rendered = ChatTemplate(source).render(turns, ask=True, tokens={"eos_token": "<end>"})
    assert rendered.startswith("<|user|>x x")
    assert "<|assistant|>b<end><|user|>x" in rendered
    assert rendered.endswith('"]0a')
    assert len(rendered) > 2_400_000


def test_the_limits_of_templates_and_patterns_are_the_users_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    long, slow = (
        "{{ 'ab' * 3_000_000 }}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
    )
    monkeypatch.setenv("LANGBERT_TEMPLATE_CHARACTERS", "9_000_000")
    assert len(ChatTemplate(long).render([], ask=True, tokens={})) == 6_000_000
    with pytest.raises(CheckpointError, match=r"more than 3,000,000 steps.*raise LANGBERT_TEMPLATE_STEPS"):
        ChatTemplate(slow).render([], ask=True, tokens={})
    monkeypatch.setenv("LANGBERT_TEMPLATE_STEPS", "9000000")
    assert not ChatTemplate(slow).render([], ask=True, tokens={})
    monkeypatch.setenv("LANGBERT_TEMPLATE_LENGTH", "20")
    with pytest.raises(CheckpointError, match="expected at most 20; if you trust it, raise LANGBERT_TEMPLATE_LENGTH"):
        ChatTemplate(long)
    with pytest.raises(ValueError, match="raise LANGBERT_PATTERN_REPEATS"):
        check_pattern("a*a*a*a*a*")
    monkeypatch.setenv("LANGBERT_PATTERN_REPEATS", "5")
    check_pattern("a*a*a*a*a*")
    with pytest.raises(ValueError, match="set LANGBERT_TRUST_PATTERNS=1"):
        check_pattern("(a+)+")
    monkeypatch.setenv("LANGBERT_TRUST_PATTERNS", "1")
    check_pattern("(a+)+")
    monkeypatch.setenv("LANGBERT_TRUST_PATTERNS", "yes")
    with pytest.raises(ValueError, match="LANGBERT_TRUST_PATTERNS='yes': expected a whole number"):
        check_pattern("a")


@pytest.mark.parametrize(
    ("n_pieces", "end", "n_rows", "whole"),
    [
        (11, "\n", 11, True),
        (11, "\n", 16, True),  # a table that is padded to a multiple of 8
        (11, "", 11, True),
        (11, "", 16, False),  # cut within a line
        (11, "\n", 13, False),
        (11, "\n", 144, False),
    ],
)
def test_a_list_of_word_pieces_that_was_cut_off_is_refused(
    tmp_path: Path, n_pieces: int, end: str, n_rows: int, whole: bool
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *"abcdef"][:n_pieces]) + end)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": n_rows}))
    if whole:
        assert TextTokenizer.from_folder(tmp_path).vocab_size == n_pieces
        return
    with pytest.raises(CheckpointError, match=rf"has 11 word pieces, and config.json expects {n_rows}: it was cut off"):
        TextTokenizer.from_folder(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({f"<{i}>": i for i in range(n_pieces, n_rows)}))
    assert TextTokenizer.from_folder(tmp_path).vocab_size == n_pieces


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}{% set seen = namespace(n=0) %}{{ one(m) }}{% endfor %}", "hello"),
        ("{% set seen = namespace(n=1) %}{{ add(seen) }}{{ seen.n }}", "2"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "hello"),
        ("{{ '<|{}|>{:.2f}{name:>3}'.format('b', 0.5, name=7) }}", "<|b|>0.50  7"),
        ("{{ '%s: %02d%%' % ('a', 5) }}", "a: 05%"),
        ("{{ 'a'.ljust(3) }}{{ 'a'|center(3) }}{{ '7'.zfill(3) }}{{ 'Ab'.casefold() }}", "a   a 007ab"),
        ("{% for row in [1, 2, 3]|batch(2, 0) %}{{ row|join(',') }};{% endfor %}", "1,2;3,0;"),
        ("{{ {'b': '是', 'a': 1}|tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}", None),
        ("{{ tools is none }}{{ documents is defined }}{{ tool_choice is defined }}", "TrueTrueFalse"),
        ("{{ strftime_now('%d %b %Y')|length }}", "11"),
    ],
)
def test_what_templates_of_models_use_is_there(source: str, expected: str | None) -> None:
    macros = "{% macro one(m) %}{{ m.content }}{% endmacro %}{% macro add(n) %}{% set n.n = n.n + 1 %}{% endmacro %}"
    found = ChatTemplate(macros + source).render([{"role": "user", "content": "hello"}], ask=True, tokens={})
    assert found == (expected or '{"a":1,"b":"\\u662f"}')


# Adapters


def adapters(folder: Path, tensors: dict[str, torch.Tensor], **settings: Any) -> Path:
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": "minilm", **settings}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    save_file(tensors, folder / ADAPTER_TENSORS)
    return folder


@pytest.mark.parametrize(
    ("up", "down", "settings"),
    [
        ((200_000, 1), (1, 200_000), {}),  # their product is 160 GB
        ((4, 2), (1, 4), {}),
        ((4,), (1, 4), {}),
        ((4, 1), (1, 4), {"r": 10**400}),
        ((4, 1), (1, 4), {"lora_alpha": float("inf")}),
        ((4, 1), (1, 4), {"r": -1}),
        ((4, 1), (1, 4), {"peft_type": ["LORA"]}),
    ],
)
def test_adapters_are_multiplied_only_where_they_fit(
    tmp_path: Path, up: tuple[int, ...], down: tuple[int, ...], settings: dict[str, Any]
) -> None:
    tensors = {
        "base_model.model.line.lora_A.weight": torch.ones(down),
        "base_model.model.line.lora_B.weight": torch.ones(up),
    }
    network = torch.nn.ModuleDict({"line": torch.nn.Linear(4, 4)})
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        merge_adapters(network, adapters(tmp_path, tensors, **settings))


@pytest.mark.parametrize("base", ["//server/share/model", "\\\\server\\share", None, ["minilm"]])
def test_a_base_on_another_machine_is_not_asked_for(tmp_path: Path, base: Any) -> None:
    with pytest.raises(CheckpointError, match=ADAPTER_CONFIG):
        base_name(adapters(tmp_path, {"a": torch.ones(1)}, base_model_name_or_path=base))
