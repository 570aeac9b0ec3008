"""Linear maps on x86 processors through oneDNN, forward and backward.

torch multiplies float32 matrices with MKL, which leaves more than half of a processor idle unless Intel made it;
oneDNN, which torch carries for its other types, does not. Which kernel runs depends on type and machine architecture
alone, never on a timing, so that a run repeats itself bit for bit. With a gradient everything but float32 on an x86 CPU
(other types, autocast, GPUs) is left to torch; a second derivative is an error, since nothing here takes one. Packed
matrices, which have no gradient, may be bfloat16 too.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

X86 = platform.machine().lower() in ("x86_64", "amd64")


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch on this machine has the kernel; of other types than float32, for packed matrices."""
    if not (X86 and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32


def pack(weight_OI: Tensor) -> Tensor:
    """The matrix in the layout that `product` multiplies few rows with fastest; a copy that only `product` can read."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None)
    return packed


def linear(x_BI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """X Wᵀ + b, differentiable, by oneDNN where that is possible; shape (…, O)."""
    if _eligible(x_BI, weight_OI):
        return _Linear.apply(x_BI, weight_OI, bias_O)
    return F.linear(x_BI, weight_OI, bias_O)


def product(x_BI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`F.linear` by oneDNN, without a gradient: x Wᵀ + b for CPU tensors of one type, any strides; shape (…, O)."""
    return torch.ops.mkldnn._linear_pointwise(x_BI, weight_OI, bias_O, "none", [], "")


class _Linear(torch.autograd.Function):
    """The differentiable map; gradients are products of the same kind."""

    @staticmethod
    def forward(ctx: Any, x_BI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x_BI if needs_weight else None, weight_OI if needs_x else None)
        return product(x_BI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BO: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_BI, weight_OI = ctx.saved_tensors
        flat_NO = gradient_BO.reshape(-1, gradient_BO.shape[-1])
        to_x = product(gradient_BO, weight_OI.t()) if ctx.needs_input_grad[0] else None
        to_weight = product(flat_NO.t(), x_BI.reshape(-1, x_BI.shape[-1]).t()) if ctx.needs_input_grad[1] else None
        to_bias = flat_NO.sum(0) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias


def _eligible(x_BI: Tensor, weight_OI: Tensor) -> bool:
    return (
        available()
        and x_BI.dtype is torch.float32
        and weight_OI.dtype is torch.float32
        and x_BI.device.type == "cpu"
        and weight_OI.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x_BI.numel() > 0
    )
