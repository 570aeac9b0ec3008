"""oneDNN's linear maps against torch's own: values, gradients, and where they step aside."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nlae.functional.linear import available, product
from nlae.target.linear import OneDnnLinear, speed_up

pytestmark = pytest.mark.skipif(not available(), reason="this machine has no oneDNN kernel for float32")


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (1, 1, 8)])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_torch_forward_and_backward(shape, bias):
    torch.manual_seed(0)
    plain = nn.Linear(8, 6, bias=bias)
    fast = speed_up(copy.deepcopy(plain))
    assert isinstance(fast, OneDnnLinear)
    x = torch.randn(shape)
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(*shape[:-1], 6)
    (plain(first) * weights).sum().backward()
    (fast(second) * weights).sum().backward()
    torch.testing.assert_close(fast(x), plain(x))
    torch.testing.assert_close(second.grad, first.grad)
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_frozen_weight_gets_no_gradient_and_its_input_is_not_kept():
    fast = speed_up(nn.Linear(8, 6).requires_grad_(False))
    x = torch.randn(4, 8, requires_grad=True)
    out = fast(x)
    assert all(saved is None or saved.shape != x.shape for saved in out.grad_fn.saved_tensors)
    out.sum().backward()
    assert fast.weight.grad is None
    assert x.grad is not None


def test_strided_inputs_and_transposed_weights():
    torch.manual_seed(1)
    x, weight = torch.randn(5, 4, 8), torch.randn(8, 6)
    torch.testing.assert_close(product(x.transpose(0, 1), weight.t()), F.linear(x.transpose(0, 1), weight.t()))
    torch.testing.assert_close(product(x[:, -1], weight.t()), F.linear(x[:, -1], weight.t()))


def test_precision_is_that_of_float32():
    torch.manual_seed(2)
    x, weight = torch.randn(64, 512), torch.randn(256, 512)
    error = (product(x, weight).double() - x.double() @ weight.double().t()).abs().max()
    assert error < 1e-3  # a product rounded to bfloat16 would be off by about 0.2
    assert error < 20 * (F.linear(x, weight).double() - x.double() @ weight.double().t()).abs().max()


def test_other_types_and_autocast_are_left_to_torch():
    fast = speed_up(nn.Linear(8, 6))
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(torch.randn(2, 8)).dtype is torch.bfloat16
    assert fast.double()(torch.randn(2, 8).double()).dtype is torch.float64
    assert fast.float()(torch.randn(0, 8)).shape == (0, 6)


def test_tied_weights_stay_tied():
    model = nn.ModuleDict({"embedding": nn.Embedding(10, 8), "head": nn.Linear(8, 10, bias=False)})
    model["head"].weight = model["embedding"].weight
    speed_up(model)
    assert model["head"].weight is model["embedding"].weight
    assert list(model.state_dict()) == ["embedding.weight", "head.weight"]
