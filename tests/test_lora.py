"""Adapters at rest: merged by us they give what peft gives; damaged ones are refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from langbert.errors import CheckpointError
from langbert.models.bert.heads import SpanReader
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.adapters import is_adapter
from langbert.models.files.lora import merge_adapters
from langbert.models.files.weights import read_tensors, save_tensors
from langbert.training.adapters import adapt, average_adapters, save_adapters
from langbert.training.settings import LoraSettings

TINY = BertConfig(vocab_size=50, hidden_size=32, n_layers=2, n_heads=4, intermediate_size=64, max_positions=40)


def tiny_reader() -> SpanReader:
    torch.manual_seed(0)
    return SpanReader(Bert(TINY, pooler=False)).eval()


@pytest.fixture
def trained(tmp_path: Path) -> tuple[SpanReader, torch.nn.Module, Path]:
    """A base network, the same with adapters that are no longer zero, and the adapters on disk."""
    base = tiny_reader()
    adapted = adapt(copy.deepcopy(base), LoraSettings(rank=4, alpha=6), heads=("head",)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    save_adapters(adapted, tmp_path, base="somewhere", dtype=torch.float32)
    return base, adapted, tmp_path


def test_merged_adapters_compute_what_peft_computes(trained: tuple[SpanReader, torch.nn.Module, Path]) -> None:
    base, adapted, folder = trained
    token_ids = torch.randint(50, (3, 11))
    before = base(token_ids)
    merge_adapters(base, folder)
    assert torch.allclose(base(token_ids), adapted(token_ids), atol=1e-5)
    assert not torch.allclose(base(token_ids), before, atol=1e-2)


def test_only_adapters_and_heads_are_trained(trained: tuple[SpanReader, torch.nn.Module, Path]) -> None:
    _, adapted, folder = trained
    names = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or "head" in name for name in names)
    assert len([name for name in names if "lora_A" in name]) == TINY.n_layers * 4
    assert is_adapter(folder)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "somewhere"


def test_a_head_the_adapters_do_not_bring_is_missed(trained: tuple[SpanReader, torch.nn.Module, Path]) -> None:
    base, _, folder = trained
    file = folder / "adapter_model.safetensors"
    tensors = {name: tensor for name, tensor in read_tensors(file).items() if "head" not in name}
    save_tensors(tensors, file)
    merge_adapters(base, folder)
    with pytest.raises(CheckpointError, match=r"missing head\.weight"):
        merge_adapters(base, folder, heads=("head",))


@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape", "kind", "gone"])
def test_adapters_that_do_not_fit_are_refused_by_name(
    trained: tuple[SpanReader, torch.nn.Module, Path], damage: str
) -> None:
    base, _, folder = trained
    file, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = read_tensors(file)
    up = next(name for name in tensors if name.endswith("layers.0.up.lora_B.weight"))
    if damage == "missing":
        del tensors[up]
    elif damage == "unexpected":
        tensors["base_model.model.bert.nowhere.weight"] = torch.zeros(2)
    elif damage == "shape":
        tensors[up] = tensors[up][:-1]
    save_tensors(tensors, file)
    if damage == "kind":
        config.write_text(config.read_text().replace('"LORA"', '"IA3"'))
    if damage == "gone":
        file.unlink()
    expected = {"missing": "up.lora_B", "unexpected": "nowhere", "shape": "up.weight has shape", "kind": "IA3"}
    with pytest.raises(CheckpointError, match=expected.get(damage, "adapter_model.safetensors is missing")):
        merge_adapters(base, folder)


def test_averaged_adapters_are_the_mean_of_the_merged_networks(trained, tmp_path: Path) -> None:
    base, adapted, folder = trained
    other = tmp_path / "other"
    other.mkdir()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    save_adapters(adapted, other, base="somewhere", dtype=torch.float32)
    average_adapters([folder, other], tmp_path / "mean")
    networks = [copy.deepcopy(base) for _ in range(3)]
    for network, source in zip(networks, (folder, other, tmp_path / "mean"), strict=True):
        merge_adapters(network, source, heads=("head",))
    one, two, mean = (network.state_dict() for network in networks)
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (one[name] + two[name]) / 2, atol=1e-6, rtol=1e-5)

    average_adapters([folder, other], tmp_path / "small", rank=1)
    merge_adapters(small := copy.deepcopy(base), tmp_path / "small", heads=("head",))
    untrained = base.state_dict()
    for name, tensor in small.state_dict().items():
        if tensor.ndim == 2 and not name.startswith("head"):
            left, values, right = torch.linalg.svd(mean[name] - untrained[name])
            nearest = values[0] * left[:, :1] @ right[:1]
            torch.testing.assert_close(tensor - untrained[name], nearest, atol=1e-5, rtol=1e-4)

    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "r": 5}))
    with pytest.raises(CheckpointError, match="another base, rank or alpha"):
        average_adapters([folder, other], tmp_path / "none")
