"""What this machine is called in results: rates are of it and of no other."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def kind(device: str) -> str:
    """Name of this machine's kind: `cpu-2core`, or the GPU's."""
    if device.startswith("cuda"):
        import torch

        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    return f"cpu-{cores()}core"


def processor() -> str:
    """The processor's name, and the units it multiplies bfloat16 with."""
    from nlae.pipeline.hardware import BF16_UNITS

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    found = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    units = [unit for unit in BF16_UNITS if unit in found.get("flags", "").split()]
    return f"{found.get('model name', platform.processor()).strip()}, {' and '.join(units) or 'no bf16 units'}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
