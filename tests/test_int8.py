"""8-bit linear layers: exact where they can be, close to float32 where they cannot."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional as F

from langbert.models.bert.calibration import (
    Calibration,
    calibrate,
    calibration_pairs,
    calibration_sequences,
)
from langbert.models.bert.inference import PreparedBert
from langbert.models.bert.int8 import Int8Layer, _split, activation_ranges, int8_layers, int8_weights
from langbert.models.bert.loading import load_bert
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.layers.attention import attend
from langbert.models.layers.int8_projection import Int8Projection, Int8Weight, Levels, Limits, weight_limits
from langbert.models.layers.projection import ACTIVATIONS
from langbert.models.layers.rounding import rounded


def works() -> bool:
    try:
        weight_limits()
    except ValueError:
        return False
    return True


pytestmark = pytest.mark.skipif(not works(), reason="no 8-bit products on this processor")

TEXTS = [
    "",
    "a",
    "What is the capital of Norway?",
    "The old lighthouse had been dark for eleven years when an engineer bought it and lit it again.",
    "这座寺庙建于明朝，每年春天都有许多游客前来参观，门票免费。",
    "for i in range(10): print(i ** 2)  # squares",
    "word " * 600,
]


def through(bert: Bert, layers: Sequence[Int8Layer], token_ids: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Hidden states of one sequence, ``(T, H)``; attention and norms in floating point."""
    ids = torch.tensor([token_ids])
    hidden = bert.embeddings(ids, torch.zeros_like(ids), torch.arange(ids.shape[1])[None])[0]
    width = hidden.shape[1]
    with torch.inference_mode():
        hidden = hidden.clone()
        for layer, defined in zip(layers, bert.layers, strict=True):
            qkv = layer.qkv(hidden)
            assert qkv.dtype == dtype
            query, key, value = qkv.view(1, len(qkv), 3, bert.config.n_heads, -1).permute(2, 0, 3, 1, 4)
            context = attend(query, key, value).transpose(1, 2).reshape(-1, width)
            hidden = defined.attention_norm(layer.output.added(context, hidden))
            hidden = defined.output_norm(layer.down.added(layer.up.activated(hidden), hidden))
    return hidden


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a.double(), b.double(), dim=-1).min())


@pytest.fixture(scope="module")
def bert() -> Bert:
    torch.manual_seed(0)
    network = Bert(BertConfig(vocab_size=99, hidden_size=64, n_layers=3, n_heads=4, intermediate_size=256))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


@pytest.fixture(scope="module")
def sequences() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    lengths = (1, 2, 7, 30, 30, 41)
    return [torch.randint(0, 99, (length,), generator=generator).tolist() for length in lengths * 3]


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("rows", [0, 1, 5, 33])
def test_the_product_is_that_of_the_rounded_numbers(rows, activation):
    torch.manual_seed(0)
    limits = weight_limits()
    weight, bias, x, residual = torch.randn(48, 20), torch.randn(48), torch.randn(rows, 20), torch.randn(rows, 48)
    levels, out_levels = Levels(0.03, 120), Levels(0.02, 10)
    made = Int8Weight.of(weight, bias, levels, limits=limits)
    projection = Int8Projection(made, out_levels=out_levels, activation=activation)
    before = x.clone()
    seen = levels.of(x)
    assert torch.equal(x, before)
    assert seen.dtype == torch.uint8
    assert torch.equal(seen, (x.double() / 0.03).round().add(120).clamp(0, 255).to(torch.uint8))
    scales = limits.scales(weight)[:, None].double()
    product = (seen.double() - 120) * 0.03 @ ((weight / scales).round() * scales).T + bias
    torch.testing.assert_close(projection(x).double(), product, atol=1e-5, rtol=1e-5)
    activated = projection.activated(x)
    assert activated.dtype == torch.uint8
    expected = (ACTIVATIONS[activation](product) / 0.02).round().add(10).clamp(0, 255)
    assert ((activated.double() - expected).abs() <= 1).all()
    assert not rows or (activated.double() == expected).double().mean() > 0.99
    expected_sum = product + residual
    torch.testing.assert_close(projection.added(x, residual).double(), expected_sum, atol=1e-5, rtol=1e-5)


def test_levels_saturate_and_keep_zero():
    levels = Levels(0.1, 7)
    assert levels.of(torch.tensor([[-1e9, 0.0, 0.1, 1e9]])).tolist() == [[0, 7, 8, 255]]
    assert levels.of(torch.tensor([[0.3]], dtype=torch.bfloat16)).tolist() == [[10]]


def test_levels_centre_and_scale_each_channel():
    levels = Levels(1 / 127, 128, shift=torch.tensor([100.0, -1.0]), stretch=torch.tensor([10.0, 0.5]))
    found = levels.of(torch.tensor([[100.0, -1.0], [110.0, -0.5], [90.0, -1.5]]))
    assert found.tolist() == [[128, 128], [255, 255], [1, 1]]


def test_a_row_does_not_depend_on_its_company():
    torch.manual_seed(0)
    weight = Int8Weight.of(torch.randn(96, 64), torch.randn(96), Levels(0.03, 128))
    projection = Int8Projection(weight, out_levels=Levels(0.02, 10))
    x = torch.randn(50, 64)
    for method in (projection, projection.activated):
        together = method(x)
        assert all(torch.equal(method(x[i : i + 1])[0], together[i]) for i in range(50))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_stays_close_to_float32(bert, sequences, dtype):
    layers = int8_layers(int8_weights(bert, activation_ranges(bert, sequences)), "gelu", dtype=dtype)
    generator = torch.Generator().manual_seed(2)  # other sequences than those it has seen
    for length in (1, 2, 13, 60):
        ids = torch.randint(0, 99, (length,), generator=generator).tolist()
        with torch.inference_mode():
            exact = bert(torch.tensor([ids]))[0]
        assert cosine(through(bert, layers, ids, dtype), exact) > 0.99


def test_queries_are_scaled_and_nothing_else(bert, sequences):
    weights = int8_weights(bert, activation_ranges(bert, sequences))
    plain, scaled = (int8_layers(weights, "gelu", query_scale=scale)[0].qkv for scale in (1.0, 4.0))
    x = torch.randn(5, 64)
    torch.testing.assert_close(scaled(x), torch.cat([plain(x)[:, :64] * 4, plain(x)[:, 64:]], dim=1))


def test_a_neuron_that_reaches_far_does_not_coarsen_the_rest():
    """One neuron at sixty on one token in a hundred, the rest below five: a grid to sixty has few levels for them."""
    torch.manual_seed(3)
    before, down = torch.randn(1000, 256), torch.randn(64, 256)
    before[::100, 17] = 60 + torch.randn(10)
    exact = F.gelu(before) @ down.T
    split = _split(before, F.gelu, down)
    assert len(split.neurons) == len(split.lowered) == 16
    with_copies = torch.cat([before, before[:, split.neurons] - split.lowered], dim=1)
    errors = []
    for levels, neurons, weight in [
        (split.levels, with_copies, torch.cat([down, down[:, split.neurons]], dim=1)),
        (Levels(60.5 / 255, 1), before, down),
    ]:
        found = (levels.of(F.gelu(neurons)).float() - levels.zero_point) * levels.scale
        errors.append(float((found @ weight.T - exact).norm()))
    assert errors[0] < errors[1] / 5


def test_the_network_is_left_as_it_was(bert, sequences):
    before = {name: tensor.clone() for name, tensor in bert.state_dict().items()}
    int8_weights(bert, activation_ranges(bert, sequences))
    assert all(torch.equal(tensor, before[name]) for name, tensor in bert.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bert.modules())


def test_it_needs_a_sequence(bert):
    for nothing in ([], [[]]):
        with pytest.raises(ValueError, match="at least one sequence"):
            activation_ranges(bert, nothing)


def test_it_needs_the_ranges_of_every_layer(bert, sequences):
    with pytest.raises(ValueError, match="ranges of 3 layers, got those of 2"):
        int8_weights(bert, activation_ranges(bert, sequences)[:2])
    with pytest.raises(ValueError, match="got those of 0"):
        PreparedBert(bert, dtype=torch.int8)


def test_a_torch_without_the_product_is_told_about(monkeypatch):
    def missing(*_):
        raise NotImplementedError("no kernel")

    monkeypatch.setattr(torch.ops.onednn, "qlinear_prepack", missing)
    weight_limits.cache_clear()
    try:
        with pytest.raises(ValueError, match="choose precision='auto'"):
            weight_limits()
    finally:
        monkeypatch.undo()
        weight_limits.cache_clear()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="about x86 processors")
def test_a_processor_without_vnni_gets_smaller_weights_and_right_products():
    """oneDNN as on such a processor: there 127 · 255 + 127 · 255 would be cut off at 32767, silently."""
    program = """
import os
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
import torch
from langbert.models.layers.int8_projection import Int8Projection, Int8Weight, Levels, weight_limits
limits = weight_limits()
print(limits.each, limits.pair)
torch.manual_seed(0)
for rows, width, out in ((16, 64, 8), (300, 1552, 48), (1, 384, 32), (40, 388, 384), (300, 386, 48), (30, 1537, 48)):
    first = torch.randint(0, 128, (out, width // 2))
    pairs = torch.stack([first, 127 - first], dim=2) * torch.randint(0, 2, (out, width // 2, 1)).mul(2).sub(1)
    weight = torch.nn.functional.pad(pairs.flatten(1), (0, width % 2)).float()  # all of them as large as may be
    levels = torch.randint(0, 2, (rows, width), dtype=torch.uint8) * 255
    made = Int8Weight.of(weight, torch.zeros(out), Levels(1.0, 0), limits=limits)
    found = Int8Projection(made).levels_projected(levels)
    scales = limits.scales(weight)[:, None].double()
    exact = levels.double() @ ((weight / scales).round() * scales).T
    print(float((found - exact).abs().max() / exact.abs().max()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    limits, *errors = run.stdout.splitlines()
    assert limits == "127 127"
    assert max(map(float, errors)) < 1e-6


def test_the_sum_of_neighbours_decides_where_it_is_limited():
    weight = torch.tensor([[4.0, 2.0, -1.0, 0.0], [3.0, -3.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    assert Limits(127, 254).scales(weight)[:2].tolist() == pytest.approx([4 / 127, 3 / 127])
    assert Limits(127, 127).scales(weight)[:2].tolist() == pytest.approx([6 / 127, 3 / 127])
    assert Limits(127, 127).scales(weight[:, :3])[:2].tolist() == pytest.approx([4 / 63, 3 / 63])
    assert (Limits(127, 127).scales(weight) > 0).all()


def test_the_bias_takes_up_what_rounding_makes_of_the_mean():
    torch.manual_seed(0)
    weight, bias, mean = torch.randn(32, 96), torch.randn(32), torch.rand(96) * 3
    x = mean + torch.randn(500, 96) * 0.1
    levels = Levels(float(x.abs().max()) / 127, 128)
    exact, limits = (x @ weight.T + bias).mean(0), weight_limits()
    errors = [
        float((Int8Projection(made)(x).mean(0) - exact).norm())
        for made in (Int8Weight.of(weight, bias, levels, mean=known, limits=limits) for known in (None, mean))
    ]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("limits", [Limits(127, 254), Limits(127, 127), Limits(63, 126)])
@pytest.mark.parametrize("width", [96, 94])
def test_a_weight_is_rounded_for_what_it_is_given(limits, width):
    torch.manual_seed(0)
    weight = torch.randn(32, width)
    inputs = torch.randn(400, 12) @ torch.randn(12, width) + 0.2 * torch.randn(400, width) + 3
    scales = limits.scales(weight)
    levels = rounded(weight, scales, inputs, limits).float()
    assert levels.abs().max() <= limits.each
    pairs = levels.unflatten(1, (-1, 2))
    alike = pairs.prod(2) > 0  # of different signs, two add up to less than one of them
    assert (pairs.sum(2).abs() * alike).max() <= limits.pair

    def error(found: torch.Tensor) -> float:
        differences = (inputs - inputs.mean(0)) @ (found * scales[:, None] - weight).T
        return float(differences.square().mean())

    assert error(levels) < error((weight / scales[:, None]).round()) / 3


@pytest.mark.models
def test_what_loses_too_much_is_rounded_with_more_care(minilm_folder, tokenizer, monkeypatch):
    from langbert.models.bert import calibration

    real, sequences = load_bert(minilm_folder), calibration_sequences(tokenizer)
    monkeypatch.setattr(calibration, "_MEAN", -1.0)
    plain = calibrate(real, sequences, None)
    monkeypatch.setattr(calibration, "_MEAN", 1.1)
    careful = calibrate(real, sequences, None)
    assert 1 - careful.cosines.mean() < (1 - plain.cosines.mean()) * 0.8


def test_close_is_as_close_as_was_agreed():
    assert Calibration([], torch.tensor([0.9995, 0.9985, 0.998])).is_close
    assert not Calibration([], torch.tensor([0.9999, 0.9999, 0.989])).is_close
    assert not Calibration([], torch.tensor([0.9975, 0.9975])).is_close


@pytest.fixture(scope="module")
def tokenizer(minilm_folder) -> TextTokenizer:
    return TextTokenizer.from_folder(minilm_folder)


@pytest.mark.models
def test_calibration_sentences(tokenizer):
    found = calibration_sequences(tokenizer)
    assert all(2 <= len(ids) <= 64 and ids[0] == 101 and ids[-1] == 102 for ids in found)
    assert [101, 102] in found
    assert 1000 < sum(map(len, found)) < 2000
    assert max(map(len, calibration_sequences(tokenizer, 8))) == 8
    assert calibration_sequences(tokenizer, texts=["hello"]) == [[101, 7592, 102]]


@pytest.mark.models
def test_calibration_pairs(tokenizer):
    found = calibration_pairs(tokenizer)
    assert all(len(pair.ids) == len(pair.segments) <= 24 + 64 and pair.ids.count(102) == 2 for pair in found)
    assert all(set(pair.segments) == {0, 1} for pair in found)
    assert max(len(pair.ids) for pair in calibration_pairs(tokenizer, 20)) == 20


@pytest.mark.models
def test_vectors_of_a_real_model_stay_close_to_float32(minilm_folder, tokenizer):
    real = load_bert(minilm_folder)
    ranges = activation_ranges(real, calibration_sequences(tokenizer, real.config.max_positions))
    layers = int8_layers(int8_weights(real, ranges), "gelu")
    cosines = []
    with torch.inference_mode():
        for encoding in tokenizer.encode(TEXTS):
            ids = [101, *encoding.ids[:510], 102]
            exact = real(torch.tensor([ids]))[0].mean(dim=0)
            cosines.append(cosine(through(real, layers, ids, torch.float32).mean(dim=0), exact))
    assert min(cosines) > 0.985
    assert sum(cosines) / len(cosines) > 0.995
