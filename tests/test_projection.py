"""The prepared linear layer against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from langbert.models.layers.projection import ACTIVATIONS, Projection

SHAPES = [(1, 8, 4), (16, 32, 96), (33, 384, 384)]


@pytest.fixture(params=[True, False], ids=["blocked", "plain"])
def blocked(request, monkeypatch) -> bool:
    """With oneDNN where this machine has it, and as on a machine without it."""
    if not request.param:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "into", "out"), SHAPES)
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_all_three_are_what_torch_computes(blocked, dtype, rows, into, out, activation):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, into), torch.randn(out, into) / into**0.5, torch.randn(out)
    residual = torch.randn(rows, out)
    x, weight, bias, residual = (tensor.to(dtype) for tensor in (x, weight, bias, residual))
    projection = Projection(weight, bias, activation)
    exact = F.linear(x.double(), weight.double(), bias.double())
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    before = residual.clone()
    for result, expected in [
        (projection(x), exact),
        (projection.activated(x), ACTIVATIONS[activation](exact)),
        (projection.added(x, residual), exact + residual.double()),
    ]:
        assert result.dtype == dtype
        torch.testing.assert_close(result.double(), expected, **tolerance)
    assert torch.equal(residual, before)
    assert (projection.in_features, projection.out_features) == (into, out)


def test_it_is_a_copy():
    weight = torch.eye(4)
    projection = Projection(weight.clone(), torch.zeros(4))
    before = projection(torch.ones(2, 4))
    weight.zero_()
    assert torch.equal(projection(torch.ones(2, 4)), before)
