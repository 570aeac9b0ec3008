"""A tensor on the device that does not exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from pretend_cuda.graphs import Recording
from pretend_cuda.ledger import LEDGER

HOST = torch.device("cpu")
# the only device of this process that may be used; with PRETEND_DEVICE=1 whoever does not say which is caught
DEVICE = torch.device("cuda", int(os.environ.get("PRETEND_DEVICE", "0")))


class Pretend(torch.Tensor):
    """Says that it is on the device; holds a CPU tensor.

    Attributes:
        inner: the numbers.
        operate: what runs an operator; set by `operators`, which needs this class.
    """

    inner: torch.Tensor
    operate: ClassVar[Callable[[Any, Any, dict[str, Any]], Any]]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor, requires_grad: bool = False) -> Pretend:
        made: Pretend = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.inner = inner
        return made

    # makes `Module.to` swap parameters in place of setting their data, which a wrapper would not survive
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, meta: Any, size: Any, stride: Any) -> Pretend:
        return Pretend(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return cls.operate(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"Pretend({self.inner!r}, device='{DEVICE}')"

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self) -> Any:
        """Of the inner tensor: asked for its address, and for what shares it."""
        return self.inner.untyped_storage()

    def tolist(self) -> Any:
        LEDGER.wait("read", "tolist")
        Recording.forbid("tolist")
        return self.inner.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        made: Any = Pretend(self.inner.clone(), self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, self.requires_grad)
        if self.grad is not None:
            made.grad = self.grad.__deepcopy__(memo)
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        LEDGER.wait("read", "pickle")
        return (Pretend, (self.inner, self.requires_grad))


def ours(x: Any) -> bool:
    """Whether `x` is on the device."""
    return isinstance(x, Pretend)


def any_ours(values: Any) -> bool:
    """Whether one of an operator's arguments is; lists are looked into."""
    for x in values:  # noqa: SIM110  # runs for every operator: a generator takes twice as long
        if isinstance(x, Pretend) or (isinstance(x, list | tuple) and any_ours(x)):
            return True
    return False
