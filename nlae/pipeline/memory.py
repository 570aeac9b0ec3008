"""Memory of a stage: its peak on the GPU, and what to lower when the GPU's or the machine's is full.

Left out: lowering anything by itself. A run that silently went on with other settings is not what was asked for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.fingerprint import pick
from nlae.pipeline.hardware import device

# what is held at once, the first that helps most; those that a config lacks are not named
KEYS = {
    "extract": ("store.batch_tokens",),
    "describe": ("teacher.batch_tokens", "teacher.batch_size"),
    "verbalizer": ("verbalizer.micro_tokens",),
    "reconstructor": ("reconstructor.micro_tokens",),
    "warmstart": (),
    "reinforce": ("objective.micro_tokens", "rollout.batch_size"),
    "evaluate": ("evaluation.batch_size",),
    "scan": ("dictionary.scan.window_tokens",),
    "dictionary": ("dictionary.judge.batch_size",),
    "explain": ("explain.batch_size",),
}
ANEW = {"scan"}  # its state stands between two windows of one size
# how libraries say it where they raise no error of their own kind for it
SIGNS = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator")


def start(config: Mapping[str, Any]) -> None:
    """Forget the GPU's peak, and let go of what an earlier stage left behind."""
    if on_gpu(config):
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def device_peak(config: Mapping[str, Any]) -> dict[str, int]:
    """For the manifest: most bytes held on the GPU since `start`; empty without one."""
    if not on_gpu(config):
        return {}
    import torch

    return {"peak_device_memory_bytes": int(torch.cuda.max_memory_allocated())}


def on_gpu(config: Mapping[str, Any]) -> bool:
    """Whether models live on a GPU."""
    return device(config) != "cpu"


def is_full(error: BaseException) -> bool:
    """Whether memory ran out, the GPU's or the machine's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


@contextmanager
def named_when_full(stage: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Turn running out of memory into one line that names the keys to lower.

    Args:
        stage: the stage or service that runs inside.
        config: its config.

    Raises:
        NlaeError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise NlaeError(_line(stage, config, error)) from error


def _line(stage: str, config: Mapping[str, Any], error: BaseException) -> str:
    host = isinstance(error, MemoryError) or SIGNS[-1] in str(error)
    full = "this machine's memory" if host else "the GPU's memory"
    node = {key: pick(config, key.rpartition(".")[0]) or {} for key in KEYS.get(stage, ())}
    known = {key: value[last] for key, value in node.items() if (last := key.rpartition(".")[2]) in value}
    ways = [f"lower {key} (now {'chosen by itself' if n is None else n})" for key, n in known.items()]
    if stage in ("verbalizer", "reconstructor", "reinforce") and not pick(config, "machine.checkpointing"):
        ways.append("set machine.checkpointing=true")
    if stage == "dictionary" and pick(config, "dictionary.judge.device") not in (None, "cpu"):
        ways.append("set dictionary.judge.device=cpu")
    if not ways:
        ways = ["free some" if host else "free some, or set trainer=cpu"]
    again = "it starts anew then" if stage in ANEW else "it goes on where it stopped"
    return f"{stage}: {full} is full; {', or '.join(ways)}, and run the same command again: {again}"
