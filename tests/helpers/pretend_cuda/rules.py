"""What a GPU asks of an operator before it runs it: one device, a kernel, one type; and whether the host waits."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from pretend_cuda.graphs import Recording
from pretend_cuda.guard import exchange_device
from pretend_cuda.kernels import has_kernel
from pretend_cuda.ledger import LEDGER, RefusedError
from pretend_cuda.tensor import DEVICE, HOST, ours

aten = torch.ops.aten

# where a host tensor of more than one number may meet a device tensor: copies, and indices (which are sent over)
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
# the size of the result depends on numbers: the host waits for them
SIZED = {
    "nonzero",
    "masked_select",
    "unique_dim",
    "unique_consecutive",
    "_unique2",
    "_unique",
    "bincount",
    "equal",
    "linalg_inv_ex",
    "linalg_eigh",
    "_linalg_eigh",
    "_linalg_svd",
    "linalg_cholesky_ex",
    "linalg_lstsq",
    "linalg_qr",
    "_linalg_solve_ex",
    "linalg_eig",
    "linalg_eigvals",
    "linalg_lu_factor_ex",
    "histc",
    "_assert_async",
}
# not marked as pointwise, and yet a host tensor of one number will do
TAKES_NUMBERS = {"fill", "fill_", "masked_fill", "masked_fill_", "where", "lerp", "lerp_"}
MATMULS = {"mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "dot", "addbmm", "convolution", "_addmm_activation"}


@dataclass(frozen=True)
class Facts:
    """Of an operator: its short name; whether it is composite, returns a view, draws; may wait; has a kernel."""

    name: str
    composite: bool
    view: bool
    draws: bool
    may_wait: bool
    kernel: bool


@functools.cache
def facts(func: Any) -> Facts:
    """What is known of an operator whatever its arguments are."""
    name = func._schema.name.rsplit("::", 1)[1]
    full = f"{name}.{func._overloadname}" if func._overloadname != "default" else name
    return Facts(
        name=name,
        composite=bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")),
        view=any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns),
        draws=torch.Tag.nondeterministic_seeded in func.tags,
        may_wait=name in SIZED | {"_local_scalar_dense", "repeat_interleave"} or func in COPIES | INDEXING,
        kernel=has_kernel(func.namespace, full),
    )


def check(func: Any, args: Any, kwargs: dict[str, Any], device: list[Any], host: list[Any]) -> None:
    """Refuse what CUDA refuses, and note where the host waits.

    Args:
        func: the operator.
        args: as they came.
        kwargs: as they came.
        device: the device's tensors among them.
        host: the host's.

    Raises:
        RefusedError: tensors of two devices or types, or no kernel.
    """
    known = facts(func)
    _check_number(kwargs.get("device"))
    if device and host and func not in COPIES:
        _check_devices(func, known.name, args, device, host)
    if not known.kernel:
        raise RefusedError(f"Could not run '{func}' with arguments from the 'CUDA' backend")
    if device and known.name in MATMULS:
        kind = device[0].dtype
        if not kind.is_floating_point and not kind.is_complex:
            raise RefusedError(f'"{known.name}_cuda" not implemented for {kind}')
        if any(x.dtype is not kind for x in device):
            raise RefusedError(f"{func}: expected one dtype, got {[x.dtype for x in device]}")
    if known.may_wait:
        kind_of_wait = _wait(func, known.name, args, kwargs)
        if kind_of_wait is not None:
            Recording.forbid(f"{func} ({kind_of_wait})")
            LEDGER.wait(kind_of_wait, func.__name__)


def _check_number(named: Any) -> None:
    """Refuse a tensor on a device that this run was not given."""
    place = HOST if named is None else torch.device(named)
    if place.type == "cuda":
        index = exchange_device(-1) if place.index is None else place.index
        if index != DEVICE.index:
            raise RefusedError(f"a tensor on cuda:{index}, but this run was given {DEVICE}")


def _check_devices(func: Any, name: str, args: Any, device: list[Any], host: list[Any]) -> None:
    if func in INDEXING:
        indexed, values = args[0], args[2] if len(args) > 2 else None
        if not ours(indexed):
            raise RefusedError(f"{func}: indices should be either on cpu or on the indexed tensor's device (cpu)")
        if values is not None and not ours(values) and values.dim() > 0:
            raise RefusedError(f"{func}: expected all tensors on one device, but the values are on the cpu")
        if any(x is not None and not ours(x) for x in args[1]):
            LEDGER.odd("host indices into a device tensor (allowed, sent over)", str(func))
        return
    named = zip(func._schema.arguments, args, strict=False)
    written = [a for a, x in named if a.alias_info is not None and a.alias_info.is_write and any(x is h for h in host)]
    pointwise = torch.Tag.pointwise in func.tags or name in TAKES_NUMBERS
    if written or not pointwise or any(x.dim() > 0 for x in host):
        shapes = [f"{tuple(x.shape)} on {x.device}" for x in (*device, *host)]
        raise RefusedError(f"Expected all tensors to be on the same device, but {func} got {', '.join(shapes)}")


def _wait(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> str | None:
    """Why the host waits: it reads, sends, or has to know a size; None when it goes on at once."""
    if name == "_local_scalar_dense":
        return "read"
    if func is aten._to_copy.default:
        device = kwargs.get("device")
        goes = None if device is None else torch.device(device).type
        if goes == "cpu" and ours(args[0]):
            return "read"
        if goes != "cuda" or ours(args[0]) or not args[0].numel():
            return None
        return None if kwargs.get("non_blocking") and getattr(args[0], "pinned", False) else "send"
    if func is aten.copy_.default:
        if ours(args[0]) == ours(args[1]) or not args[0].numel():
            return None
        return "send" if ours(args[0]) else "read"
    if func in INDEXING:
        return _index_wait(args)
    if name == "repeat_interleave":
        return "size" if kwargs.get("output_size") is None else None
    return "size"


def _index_wait(args: Any) -> str | None:
    indices = [x for x in args[1] if x is not None]
    if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
        value = args[2] if len(args) > 2 else None
        return None if value is not None and value.numel() == 1 and len(indices) == 1 else "size"
    return "send" if args[0].numel() and any(not ours(x) for x in indices) else None
