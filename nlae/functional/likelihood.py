"""Log-probabilities of given tokens under a large vocabulary, without keeping the logits.

The log-probability of a token depends on one hidden state only, so its gradient there can be computed while the logits
are still at hand: one matrix product more in the forward, none of the vocabulary's size in the backward. This asks for
frozen weights. Where the head is trained, chunks are recomputed in the backward instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nlae.functional.linear import linear

HEAD_ROWS = 1024  # logits at a time: rows × vocabulary × 4 bytes


def token_logprobs(
    hidden_ND: Tensor,
    token_N: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None = None,
    *,
    scale: float = 1.0,
    cap: float | None = None,
    rows: int | None = None,
) -> Tensor:
    """Log-softmax of (cap·tanh(scale·(W h + b) / cap))[token], at least float32; shape (N,).

    Args:
        hidden_ND: final hidden states.
        token_N: ids, int64.
        weight_VD: output embeddings, trained or frozen.
        bias_V: bias of the output embeddings.
        scale: factor of the logits, where the family has one.
        cap: soft cap of the logits, where the family has one.
        rows: hidden states per chunk; None takes `HEAD_ROWS`.
    """
    rows = rows or HEAD_ROWS
    if not weight_VD.requires_grad and not (bias_V is not None and bias_V.requires_grad):
        logp_N: Tensor = _Frozen.apply(hidden_ND, token_N, weight_VD, bias_V, scale, cap, rows)
        return logp_N
    parts = []
    for hidden, token in zip(hidden_ND.split(rows), token_N.split(rows), strict=True):
        if torch.is_grad_enabled() and len(token_N) > rows:
            parts.append(checkpoint(_plain, hidden, token, weight_VD, bias_V, scale, cap, use_reentrant=False))
        else:
            parts.append(_plain(hidden, token, weight_VD, bias_V, scale, cap))
    return torch.cat(parts)


def shaped(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """cap·tanh(scale·logits / cap), for families whose logits stay within ± cap; scale·logits without one."""
    if scale != 1:
        logits = logits * scale
    return torch.tanh(logits / cap) * cap if cap else logits


def _plain(
    hidden_ND: Tensor, token_N: Tensor, weight_VD: Tensor, bias_V: Tensor | None, scale: float, cap: float | None
) -> Tensor:
    logits_NV = _logits(hidden_ND, weight_VD, bias_V, scale, cap)
    # not cross_entropy: a frozen copy must agree to the last bit with the trained head it is a copy of
    return logits_NV.gather(1, token_N[:, None]).squeeze(1) - logits_NV.logsumexp(-1)


def _logits(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, scale: float, cap: float | None) -> Tensor:
    logits_NV = linear(hidden_ND, weight_VD, bias_V)
    return shaped(logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)), scale, cap)


class _Frozen(torch.autograd.Function):
    """∂logp/∂h = (1[token] − softmax) · W, row by row, taken in the forward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        token_N: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        scale: float,
        cap: float | None,
        rows: int,
    ) -> Tensor:
        logp, slope = [], []
        for hidden, token in zip(hidden_ND.split(rows), token_N.split(rows), strict=True):
            logits_NV = _logits(hidden, weight_VD, bias_V, scale, cap)
            normaliser_N1 = logits_NV.logsumexp(-1, keepdim=True)
            logp.append((logits_NV.gather(1, token[:, None]) - normaliser_N1).squeeze(1))
            if ctx.needs_input_grad[0]:
                bend_NV = 1 - (logits_NV / cap).square_() if cap else None
                slope_NV = logits_NV.sub_(normaliser_N1).exp_().neg_()
                slope_NV[torch.arange(len(token), device=token.device), token] += 1
                if bend_NV is not None:
                    slope_NV.mul_(bend_NV)
                if scale != 1:
                    slope_NV.mul_(scale)
                slope.append(linear(slope_NV.to(weight_VD.dtype), weight_VD.t()).to(hidden.dtype))
        if slope:
            ctx.save_for_backward(torch.cat(slope))
        return torch.cat(logp)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope_ND,) = ctx.saved_tensors
        gradient_N1 = gradients[0][:, None]
        return (gradient_N1 * slope_ND).to(slope_ND.dtype), None, None, None, None, None, None
