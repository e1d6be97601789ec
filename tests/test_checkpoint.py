"""Reading weights safely, loading them strictly, writing them back."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from langbert.errors import CheckpointError
from langbert.models.bert.checkpoint import bert_table
from langbert.models.bert.loading import load_bert
from langbert.models.files.json_files import read_json, write_json
from langbert.models.files.weights import (
    SAME,
    TRANSPOSED,
    NameTable,
    Row,
    load_strict,
    read_tensors,
    save_tensors,
    stacked,
    tensors_sha256,
)

TINY = transformers.BertConfig(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=6,
)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    transformers.BertModel(TINY).save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change):
    tensors = change(read_tensors(folder))
    save_tensors(tensors, folder / "model.safetensors")


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_stacked_splits_what_it_joins(sizes):
    parts = [torch.randn(size, 3) for size in sizes]
    transform = stacked(*sizes)
    assert all(torch.equal(a, b) for a, b in zip(transform.split(transform.join(parts)), parts, strict=True))


@pytest.mark.parametrize("transform", [SAME, TRANSPOSED])
def test_transforms_invert(transform):
    part = torch.randn(2, 3)
    assert torch.equal(transform.split(transform.join([part]))[0], part)


def test_save_writes_the_names_that_were_read(folder):
    theirs = read_tensors(folder)
    bert = load_bert(folder)
    written = bert_table(bert.config).to_theirs(bert.state_dict())
    assert written.keys() == theirs.keys()
    assert all(torch.equal(written[name], theirs[name]) for name in theirs)


def test_prefix_old_norm_names_and_other_heads_are_understood(folder):
    expected = load_bert(folder)

    def age(tensors):
        old = {
            "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
            for name, t in tensors.items()
        }
        old["bert.embeddings.position_ids"] = torch.arange(6)[None]
        old["cls.predictions.bias"] = torch.zeros(20)
        return old

    rewrite(folder, age)
    assert same(load_bert(folder), expected)


def test_an_absent_pooler_is_absent_not_random(folder):
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if not n.startswith("pooler.")})
    assert load_bert(folder).pooler is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("encoder.layer.1.attention.self.key.bias"),
            r"missing encoder\.layer\.1\.attention\.self",
        ),
        (lambda t: t.update({"encoder.layer.2.extra": torch.ones(1)}), r"unexpected encoder\.layer\.2\.extra"),
        (
            lambda t: t.update({"embeddings.word_embeddings.weight": torch.ones(19, 8)}),
            r"embeddings\.word_embeddings\.weight has shape \(19, 8\), the config asks for \(20, 8\)",
        ),
        (
            lambda t: t.update({"encoder.layer.0.attention.self.query.weight": torch.ones(8, 7)}),
            r"cannot make layers\.0\.attention\.qkv\.weight",
        ),
        (lambda t: t.update({"pooler.dense.bias": torch.ones(8, dtype=torch.int64)}), r"pooler\.dense\.bias has dtype"),
        (lambda t: t.pop("pooler.dense.bias"), r"missing pooler\.dense\.bias"),
    ],
)
def test_every_misfit_is_named(folder, change, message):
    def apply(tensors):
        change(tensors)
        return tensors

    rewrite(folder, apply)
    with pytest.raises(CheckpointError, match=message):
        load_bert(folder)


def test_a_table_must_cover_the_network():
    with pytest.raises(CheckpointError, match="no row for bias"):
        load_strict(nn.Linear(2, 2), {}, NameTable("line", (Row("weight", ("weight",)),)))


def test_half_precision_files_load_as_float32(folder):
    rewrite(folder, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})
    assert {parameter.dtype for parameter in load_bert(folder).parameters()} == {torch.float32}


def test_shards(folder):
    expected = load_bert(folder)
    tensors = read_tensors(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / shard)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    write_json(index, folder / "model.safetensors.index.json")
    assert same(load_bert(folder), expected)

    index["weight_map"]["lost"] = "b.safetensors"
    write_json(index, folder / "model.safetensors.index.json")
    with pytest.raises(CheckpointError, match="lack lost"):
        read_tensors(folder)
    for outside in ("../a.safetensors", "c.safetensors", "/etc/hostname", ".."):
        index["weight_map"]["lost"] = outside
        write_json(index, folder / "model.safetensors.index.json")
        with pytest.raises(CheckpointError, match="not in that folder"):
            read_tensors(folder)


def test_bin_of_tensors_is_read(folder):
    expected = load_bert(folder)
    torch.save(read_tensors(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert same(load_bert(folder), expected)


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


@pytest.mark.parametrize("save", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value, protocol=2))])
def test_bin_never_runs_code(folder, save):
    (folder / "model.safetensors").unlink()
    save({"pooler.dense.bias": Malicious()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="could run code"):
        read_tensors(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_cut_off_says_so(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is the download complete"):
        read_tensors(folder)


def test_a_folder_without_weights_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="no weights in"):
        read_tensors(tmp_path)


def test_saving_leaves_whole_files_only(tmp_path):
    file = tmp_path / "model.safetensors"
    save_tensors({"a": torch.ones(2)}, file)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever stops it, the old file must stand
        save_tensors({"a": torch.ones(2), "b": torch.empty(2, device="meta")}, file)
    assert torch.equal(read_tensors(file)["a"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_split_tensors_that_share_memory_are_saved(tmp_path):
    whole = torch.randn(4, 2)
    save_tensors({"top": whole[:2], "bottom": whole[2:], "turned": whole.T}, tmp_path / "x.safetensors")
    assert torch.equal(read_tensors(tmp_path / "x.safetensors")["turned"], whole.T)


def test_hash_depends_on_values_names_and_shapes_only():
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    digest = tensors_sha256(tensors)
    assert digest == tensors_sha256({"b": torch.ones(2), "a": torch.arange(6.0).view(3, 2).view(2, 3)})
    assert digest == tensors_sha256({"a": tensors["a"].bfloat16(), "b": tensors["b"]})  # these values fit bfloat16
    assert digest != tensors_sha256({"a": tensors["a"].view(3, 2), "b": tensors["b"]})
    assert digest != tensors_sha256({"a": tensors["a"], "c": tensors["b"]})
    assert digest != tensors_sha256({"a": tensors["a"] + 1e-6, "b": tensors["b"]})


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_bad_json_names_the_file(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json(file)


def test_json_round_trip(tmp_path):
    write_json({"问": "答"}, tmp_path / "x.json")
    assert read_json(tmp_path / "x.json") == {"问": "答"}
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"问": "答"}


@pytest.mark.parametrize("path", ["../other", "1_Pooling/../../other", "/etc", "..\\\\other", "C:/other"])
def test_a_stage_outside_of_the_folder_is_refused(tmp_path, path):
    from langbert.models.files.sentence_folder import read_sentence_folder

    stages = [{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(stages))
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        read_sentence_folder(tmp_path)
