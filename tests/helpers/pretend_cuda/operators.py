"""Runs each operator of the device on the CPU, after `rules` has asked what a GPU would ask."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pretend_cuda.graphs import Recording
from pretend_cuda.ledger import LEDGER, RefusedError
from pretend_cuda.rules import Facts, check, facts
from pretend_cuda.tensor import HOST, Pretend, any_ours, ours

aten = torch.ops.aten
# the device draws from a state of its own, as a GPU does
GENERATOR = torch.Generator().manual_seed(torch.default_generator.initial_seed() % 2**63)


class Factories(TorchDispatchMode):
    """Catches operators that name the device without having a tensor on it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if (device is not None and torch.device(device).type == "cuda") or any_ours(args) or any_ours(kwargs.values()):
            return operate(func, args, kwargs)
        if func is aten._pin_memory.default:
            return args[0].clone()
        return func(*args, **kwargs)


FACTORIES = Factories()


def operate(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Ask what a GPU would ask; run on the CPU; wrap."""
    known = facts(func)
    if known.composite:  # in inference mode these arrive whole; the parts are what runs on a device
        with FACTORIES:
            return func.decompose(*args, **kwargs)
    device_tensors: list[Any] = []
    host_tensors: list[Any] = []
    bare_args = [_bare(x, device_tensors, host_tensors) for x in args]
    bare_kwargs = {key: _bare(x, device_tensors, host_tensors) for key, x in kwargs.items()}
    LEDGER.operators[func] += 1
    check(func, args, kwargs, device_tensors, host_tensors)

    device = kwargs.get("device")
    if device is not None:
        bare_kwargs["device"] = HOST
    bare_kwargs.pop("pin_memory", None)
    if func is aten._to_copy.default:
        bare_kwargs.pop("non_blocking", None)
    out = _draw(func, bare_args, bare_kwargs) if known.draws else func(*bare_args, **bare_kwargs)
    Recording.add(func, bare_args, bare_kwargs, out)
    if device is not None and torch.device(device).type == "cpu":
        return out
    if func is aten.copy_.default and not ours(args[0]):
        return args[0]
    return _wrap(known, out, device_tensors)


def _wrap(known: Facts, out: Any, device_tensors: list[Any]) -> Any:
    same = {id(x.inner): x for x in device_tensors}  # what is written in place is the tensor that came in
    normal = device_tensors and not device_tensors[0].is_inference()
    if known.view and normal and torch.is_inference_mode_enabled():
        with torch.inference_mode(False):  # a view of a normal tensor is one, wherever it is taken
            return _wrapped(out, same)
    return _wrapped(out, same)


def _bare(x: Any, device_tensors: list[Any], host_tensors: list[Any]) -> Any:
    """`x` with inner tensors for ours; both kinds are noted. No closures: they would keep tensors alive in cycles."""
    if isinstance(x, Pretend):
        device_tensors.append(x)
        return x.inner
    if isinstance(x, list | tuple):
        return [_bare(item, device_tensors, host_tensors) for item in x]
    if isinstance(x, torch.Tensor):
        host_tensors.append(x)
    return x


def _wrapped(x: Any, same: dict[int, Any]) -> Any:
    if isinstance(x, torch.Tensor):
        return same[id(x)] if id(x) in same else Pretend(x)
    if isinstance(x, list | tuple):
        return type(x)([_wrapped(item, same) for item in x])
    return x


def _draw(func: Any, args: Any, kwargs: Any) -> Any:
    if kwargs.get("generator") is not None:
        raise RefusedError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")
    kept = torch.default_generator.get_state()
    torch.default_generator.set_state(GENERATOR.get_state())
    try:
        return func(*args, **kwargs)
    finally:
        GENERATOR.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(kept)


Pretend.operate = operate
