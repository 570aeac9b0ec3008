"""What this machine decides: the numbers that `auto` stands for, threads, products, whether the device exists.

Left out: choosing a device. A run that silently moved to another one would be slower or other than was asked for.
"""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from nlae.config.devices import device_of
from nlae.errors import NlaeError
from nlae.pipeline.fingerprint import pick

log = logging.getLogger(__name__)
AUTO = "auto"
PLAIN, MIXED = "32-true", "bf16-mixed"
SAME = {"32": PLAIN, "bf16": MIXED}  # Lightning's short words
DTYPES = ("float32", "bfloat16")
BF16_UNITS = ("avx512_bf16", "amx_bf16")
MATMUL_PRECISIONS = ("highest", "high", "medium")


def native_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware; False where torch cannot tell."""
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        try:
            found = ask()
            return any(bool(found.get(unit)) for unit in BF16_UNITS)
        except RuntimeError:  # a CPU that it does not know
            pass
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # knows one of the units
    if older is not None:
        return bool(older())
    _say("trainer.precision: this torch cannot tell whether the CPU has bf16 units; set target.dtype by hand")
    return False


def resolve_numbers(config: Mapping[str, Any]) -> tuple[str, str]:
    """What `trainer.precision` and `target.dtype` mean on this machine.

    Both `auto`: a bf16 base, multiplied in bf16, where bf16 is fast; fp32 on other CPUs. A role that is fine-tuned
    whole needs fp32 masters, so there they are `32-true` on any CPU and `bf16-mixed` over float32 on a GPU.

    Raises:
        NlaeError: one of them is unknown, or they do not go together.
    """
    precision, dtype = (str(pick(config, key) or AUTO) for key in ("trainer.precision", "target.dtype"))
    precision = SAME.get(precision, precision)
    if precision not in (AUTO, PLAIN, MIXED):
        raise NlaeError(
            f"trainer.precision={precision}: choose one of {AUTO}, {PLAIN}, {MIXED}; a frozen base in bf16 is "
            "target.dtype=bfloat16, and float16 would need a scaler for each of the two steps"
        )
    if dtype not in (AUTO, *DTYPES):
        raise NlaeError(f"target.dtype={dtype}: choose one of {AUTO}, {', '.join(DTYPES)}")
    if dtype == "bfloat16" and precision == PLAIN:
        raise NlaeError(f"target.dtype=bfloat16 is multiplied in bf16: set trainer.precision={MIXED}, or leave it auto")
    if precision != AUTO:
        return precision, "float32" if dtype == AUTO else dtype
    on_cpu = device(config) == "cpu"
    adapters = all(pick(config, f"{role}.adapter") is not None for role in ("verbalizer", "reconstructor"))
    if dtype != AUTO:
        return MIXED if dtype == "bfloat16" or not (on_cpu or adapters) else PLAIN, dtype
    if not on_cpu:
        found, why = ((MIXED, "bfloat16"), "a GPU") if adapters else ((MIXED, "float32"), "a GPU, whole weights")
    elif not adapters:
        found, why = (PLAIN, "float32"), "whole weights without adapters"
    elif native_bf16():
        found, why = (MIXED, "bfloat16"), "this CPU has bf16 units"
    else:
        found, why = (PLAIN, "float32"), "no bf16 units known here"
    _say(f"trainer.precision: auto means {found[0]} over a base in {found[1]} ({why})")
    return found


@cache
def _say(line: str) -> None:
    """Once for a process, however many plans it makes."""
    log.info("%s", line)


def weights(config: Mapping[str, Any]) -> str:
    """The two resolved numbers as a model takes them: `fp32`, `bf16-mixed`, or `bf16-base` (bf16 weights too)."""
    if base_dtype(config) == "bfloat16":
        return "bf16-base"
    return "bf16-mixed" if str(pick(config, "trainer.precision")) == MIXED else "fp32"


def base_dtype(config: Mapping[str, Any]) -> str:
    """Data type of the frozen base weights: `target.dtype`, as the plan has resolved it."""
    found = str(pick(config, "target.dtype") or AUTO)
    return "float32" if found == AUTO else found


def rounding(config: Mapping[str, Any]) -> str:
    """How float32 numbers are rounded before they are multiplied; empty when they are not."""
    found = str(pick(config, "machine.matmul_precision") or "highest")
    return "" if found == "highest" else found


def device(config: Mapping[str, Any]) -> str:
    """Where models live, in torch's words: `cpu`, `cuda`, or one GPU by its number."""
    return device_of(pick(config, "trainer.accelerator"), pick(config, "trainer.devices"))


def prepare(config: Mapping[str, Any]) -> None:
    """Set this process up for models: its device, how float32 is multiplied, and its threads (null: torch's choice).

    Raises:
        NlaeError: `machine.threads` is no count, or there is no such device or `machine.matmul_precision`.
    """
    import torch

    place, threads = device(config), pick(config, "machine.threads")
    if place != "cpu" and not torch.cuda.is_available():
        raise NlaeError("trainer.accelerator=gpu, but torch sees no GPU here; use trainer=cpu")
    if ":" in place:
        number = int(place.partition(":")[2])
        if number >= (count := torch.cuda.device_count()):
            raise NlaeError(
                f"trainer.devices=[{number}], but torch sees {count} here, numbered from 0; use trainer=gpu"
            )
        torch.cuda.set_device(number)  # streams and graphs are made on the current device
    multiply = str(pick(config, "machine.matmul_precision") or MATMUL_PRECISIONS[0])
    if multiply not in MATMUL_PRECISIONS:
        raise NlaeError(f"machine.matmul_precision={multiply}: choose one of {', '.join(MATMUL_PRECISIONS)}")
    torch.set_float32_matmul_precision(multiply)
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise NlaeError(f"machine.threads={threads}: give a number of at least 1, or null for torch's own choice")
    torch.set_num_threads(threads)
