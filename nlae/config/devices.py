"""Lightning's accelerator and devices in torch's one word: what `${device_of:…}` in a config gives.

Several devices are left out for now, and refused.
"""

from collections.abc import Sequence
from typing import Any

from nlae.errors import NlaeError


def device_of(accelerator: Any, devices: Any) -> str:
    """`cpu`, `cuda`, or one GPU by its number.

    Raises:
        NlaeError: they name no device, or several.
    """
    kind = str(accelerator or "cpu")
    if kind not in ("cpu", "gpu", "cuda"):
        raise NlaeError(f"trainer.accelerator={kind}: choose cpu or gpu")
    listed = list(devices) if isinstance(devices, Sequence) and not isinstance(devices, str) else None
    many = devices if listed is None else len(listed)
    if str(1 if many is None else many) != "1":
        raise NlaeError(f"trainer.devices={many}: a stage runs on one device for now; set trainer.devices=1")
    if kind == "cpu" or listed is None:
        return "cpu" if kind == "cpu" else "cuda"
    if isinstance(listed[0], bool) or not isinstance(listed[0], int) or listed[0] < 0:
        raise NlaeError(f"trainer.devices={listed}: name one GPU by its number, as trainer.devices=[1]")
    return f"cuda:{listed[0]}"
