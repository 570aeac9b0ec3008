"""Makes torch believe that there is one CUDA device, until the process ends. Import it before torch."""

from __future__ import annotations

import os
import sys
from typing import Any

from pretend_cuda import guard

guard.load()

import torch  # noqa: E402

from pretend_cuda.graphs import Capture, Graph, Recording  # noqa: E402
from pretend_cuda.ledger import LEDGER, Ledger  # noqa: E402
from pretend_cuda.operators import FACTORIES, GENERATOR  # noqa: E402
from pretend_cuda.tensor import DEVICE, Pretend, ours  # noqa: E402

MEMORY = 80 << 30


class Nothing:
    """A stream, an event, a context: all work is done at once, so there is nothing to wait for."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.cuda_stream, self.device = 0, DEVICE

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: 0.0


def switch_on() -> Ledger:
    """Switch the device on; there is no way back within a process."""
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]  # it calls CUDA past torch
    for name, answer in _answers().items():
        setattr(torch.cuda, name, answer)
    tensor: Any = torch.Tensor
    torch.accelerator.is_available = lambda: True
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device="cuda"): made on the CPU, then sent
    tensor.data = property(tensor.data.__get__, _set_data)
    tensor.pin_memory = _pinned
    tensor.cuda = lambda self, *_, **__: self.to(DEVICE)
    # as on a GPU, clipping and optimizers work on lists of tensors
    for name in ("torch.utils._foreach_utils", "torch.optim.optimizer"):
        known: Any = sys.modules[name]._foreach_supported_types
        known.extend([] if Pretend in known else [Pretend])
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # transformers would send weights from other threads
    torch._C._set_multithreading_enabled(False)  # backwards in this thread: the modes hold only here
    FACTORIES.__enter__()
    return LEDGER


def _answers() -> dict[str, Any]:
    """What `torch.cuda` says, by name."""
    shape = {"name": "pretend", "major": 9, "minor": 0, "total_memory": MEMORY, "multi_processor_count": 132}
    idle = "_lazy_init init synchronize empty_cache ipc_collect _is_in_bad_fork reset_peak_memory_stats"
    zeros = "memory_allocated max_memory_allocated memory_reserved max_memory_reserved"
    streams = "current_stream default_stream stream Stream Event device"
    return {
        **{name: _always(True) for name in ("is_available", "is_initialized", "is_bf16_supported")},
        **{name: _always(0) for name in zeros.split()},
        **{name: _always(None) for name in idle.split()},
        **{name: type(name, (Nothing,), {}) for name in streams.split()},
        "device_count": _always(DEVICE.index + 1),
        "current_device": lambda: guard.exchange_device(-1),
        "set_device": lambda device: guard.exchange_device(_number(device)),
        "get_device_properties": lambda *_: type("Properties", (), shape)(),
        "get_device_name": lambda *_: "pretend",
        "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (MEMORY, MEMORY),
        "memory_stats": lambda *_, **__: {},
        "graph_pool_handle": lambda: (0, 0),
        "is_current_stream_capturing": lambda: Recording.steps is not None,
        "CUDAGraph": Graph,
        "graph": Capture,
        "manual_seed": lambda seed: GENERATOR.manual_seed(int(seed)),
        "manual_seed_all": lambda seed: GENERATOR.manual_seed(int(seed)),
        "get_rng_state": lambda *_: GENERATOR.get_state(),
        "set_rng_state": lambda state, *_: GENERATOR.set_state(state),
        "get_rng_state_all": lambda: [GENERATOR.get_state()],
        "set_rng_state_all": lambda states: GENERATOR.set_state(states[0]),
    }


def _number(device: Any) -> int:
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return -1 if index is None else index


def _pinned(self: Any, *_: Any) -> Any:
    """The tensor itself, marked: from there a copy that is asked not to block goes by itself."""
    self.pinned = True
    return self


def _always(value: Any) -> Any:
    """A function of its own for each name: dynamo refuses one under two."""
    return lambda *_, **__: value


def _set_data(self: torch.Tensor, new: torch.Tensor) -> None:
    """`parameter.data = …`: torch exchanges what is below, across devices the object itself."""
    if ours(self) == ours(new):
        _data_of.__set__(self, new)
        if isinstance(self, Pretend) and isinstance(new, Pretend):
            self.inner = new.inner
        return
    if ours(self):
        LEDGER.odd("a device parameter is moved to the host", "data")
    fresh = Pretend(new.inner) if isinstance(new, Pretend) else new.detach()
    made = torch.nn.Parameter(fresh, self.requires_grad) if isinstance(self, torch.nn.Parameter) else fresh
    torch.utils.swap_tensors(self, made)


_data_of: Any = torch._C.TensorBase.data  # type: ignore[attr-defined]
