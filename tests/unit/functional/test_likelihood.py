"""Against log-softmax and autograd, whole, in float64."""

import pytest
import torch

from nlae.functional.likelihood import token_logprobs


def inputs(bias):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    token_N = torch.randint(0, 50, (23,), generator=generator)
    return draw(23, 8).requires_grad_(True), token_N, draw(50, 8), draw(50) if bias else None, draw(23)


def plain(hidden_ND, token_N, weight_VD, bias_V, cap, scale=1.0):
    logits_NV = scale * (hidden_ND @ weight_VD.T + (0 if bias_V is None else bias_V))
    if cap:
        logits_NV = cap * torch.tanh(logits_NV / cap)
    return logits_NV.log_softmax(-1)[torch.arange(len(token_N)), token_N]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize("rows", [5, 100])
@pytest.mark.parametrize("trained", [False, True])
def test_equals_log_softmax_with_its_gradients(bias, cap, scale, rows, trained):
    hidden_ND, token_N, weight_VD, bias_V, factor_N = inputs(bias)
    weight_VD.requires_grad_(trained)
    wanted = [hidden_ND, weight_VD] if trained else [hidden_ND]
    want_N = plain(hidden_ND, token_N, weight_VD, bias_V, cap, scale)
    got_N = token_logprobs(hidden_ND, token_N, weight_VD, bias_V, scale=scale, cap=cap, rows=rows)
    torch.testing.assert_close(got_N, want_N, rtol=1e-12, atol=1e-12)
    want = torch.autograd.grad((want_N * factor_N).sum(), wanted)
    got = torch.autograd.grad((got_N * factor_N).sum(), wanted)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_no_gradient_is_prepared_where_none_is_asked_for():
    hidden_ND, token_N, weight_VD, _, _ = inputs(False)
    with torch.no_grad():
        assert not token_logprobs(hidden_ND, token_N, weight_VD).requires_grad


def test_low_precision_is_summed_in_float32():
    hidden_ND, token_N, weight_VD, _, _ = inputs(False)
    low = hidden_ND.detach().bfloat16().requires_grad_(True)
    logp_N = token_logprobs(low, token_N, weight_VD.bfloat16())
    assert logp_N.dtype == torch.float32
    assert torch.autograd.grad(logp_N.sum(), low)[0].dtype == torch.bfloat16
