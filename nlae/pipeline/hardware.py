"""What this machine decides: the precision that `auto` stands for, threads, products, whether the device exists.

Left out: choosing a device. A run that silently moved to another one would be slower or other than was asked for.
"""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.fingerprint import pick

log = logging.getLogger(__name__)
AUTO = "auto"
PRECISIONS = ("fp32", "bf16-mixed", "bf16-base")
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
    _say("trainer.precision: this torch cannot tell whether the CPU has bf16 units; bf16-base can be set by hand")
    return False


def resolve_precision(config: Mapping[str, Any]) -> Any:
    """The precision that `trainer.precision` means on this machine.

    `auto` is `bf16-base` where bf16 is fast, `fp32` on other CPUs. A role that is fine-tuned whole needs fp32 masters,
    so there it is `fp32` on any CPU and `bf16-mixed` on a GPU.

    Raises:
        NlaeError: `trainer.precision` is none of the known ones.
    """
    wanted = pick(config, "trainer.precision")
    if wanted is None or wanted in PRECISIONS:
        return wanted
    if wanted != AUTO:
        raise NlaeError(f"trainer.precision={wanted}: choose one of {', '.join((AUTO, *PRECISIONS))}")
    on_cpu = str(pick(config, "trainer.device") or "cpu") == "cpu"
    adapters = all(pick(config, f"{role}.adapter") is not None for role in ("verbalizer", "reconstructor"))
    if not on_cpu:
        found, why = ("bf16-base", "a GPU") if adapters else ("bf16-mixed", "a GPU, whole weights without adapters")
    elif not adapters:
        found, why = "fp32", "whole weights without adapters"
    else:
        found, why = ("bf16-base", "this CPU has bf16 units") if native_bf16() else ("fp32", "no bf16 units known here")
    _say(f"trainer.precision: auto means {found} ({why})")
    return found


@cache
def _say(line: str) -> None:
    """Once for a process, however many plans it makes."""
    log.info("%s", line)


def prepare(config: Mapping[str, Any]) -> None:
    """Set this process up for models: its device, how float32 is multiplied, and its threads (null: torch's choice).

    Raises:
        NlaeError: `trainer.threads` is no count, or there is no such `trainer.device`, `trainer.matmul_precision` or
            `trainer.optimizer_bits`.
    """
    import torch

    device, threads = str(pick(config, "trainer.device") or "cpu"), pick(config, "trainer.threads")
    number = device.removeprefix("cuda:")
    if device not in ("cpu", "cuda") and (number == device or not (number.isascii() and number.isdecimal())):
        raise NlaeError(f"trainer.device={device}: choose cpu, cuda or one GPU by its number, as cuda:1")
    if device != "cpu" and not torch.cuda.is_available():
        raise NlaeError(f"trainer.device={device}, but torch sees no GPU here; use trainer=cpu")
    if device not in ("cpu", "cuda"):
        if int(number) >= (count := torch.cuda.device_count()):
            raise NlaeError(f"trainer.device={device}, but torch sees {count} here, numbered from 0; use trainer=gpu")
        torch.cuda.set_device(int(number))  # streams and graphs are made on the current device
    multiply = str(pick(config, "trainer.matmul_precision") or MATMUL_PRECISIONS[0])
    if multiply not in MATMUL_PRECISIONS:
        raise NlaeError(f"trainer.matmul_precision={multiply}: choose one of {', '.join(MATMUL_PRECISIONS)}")
    torch.set_float32_matmul_precision(multiply)
    if (bits := pick(config, "trainer.optimizer_bits") or 32) != 32:
        from nlae.training.optimizer import check_bits

        check_bits(bits)
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise NlaeError(f"trainer.threads={threads}: give a number of at least 1, or null for torch's own choice")
    torch.set_num_threads(threads)
