"""Memory of an RL step of a model that this machine cannot hold: blocks of its shape are added one by one.

`python -m experiments.benchmarks.footprint --model qwen2_5_7b --blocks 1,2,3` runs the real step (rollout, reward,
KL reference, both backwards, both optimizers) on a model of so many random blocks of the published shape, counts the
bytes that tensors hold, and draws a line through the counts: every block adds the same. What a device's allocator and
its libraries take beside tensors is not in it, so it is an estimate, and is called one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.benchmarks.environments import BENCH, HERE, ROOT
from experiments.benchmarks.job import Job, Sizes
from experiments.benchmarks.prepare import SHAPES, prepare

console = Console(stderr=True)


class Bytes(TorchDispatchMode):
    """Bytes of all storages that came by and are still alive, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and count what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor)
        return made

    def count(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage unless it is counted already."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.now -= size


class TwoSteps:
    """Stands in for a session: the first step makes the optimizers' states, the second is the one that is counted."""

    def __init__(self, counted: Bytes) -> None:
        self._counted = counted
        self.held = self.peak = 0

    def serve(self, repeat: Callable[[], int], _check: object = None) -> None:
        """Take both."""
        repeat()
        self.held = self._counted.peak = self._counted.now
        repeat()
        self.peak = self._counted.peak


def child(path: Path) -> dict[str, int]:
    """Bytes held between two steps, and at the peak of one."""
    from experiments.benchmarks.works import rl_step

    job, counted = Job.load(path), Bytes()
    torch.set_num_threads(job.threads)
    steps: Any = TwoSteps(counted)
    with counted:
        rl_step.ours(job, steps)
    return {"held": steps.held, "peak": steps.peak}


def measure(options: argparse.Namespace, blocks: int, sizes: Sizes) -> dict[str, int]:
    """The same in a process of its own."""
    path = prepare(
        options.model, sizes, BENCH / "footprint", device="cpu", dtype=options.dtype, threads=options.threads,
        layers=blocks,
    )  # fmt: skip
    command = [sys.executable, "-m", "experiments.benchmarks.footprint", "--child", str(path)]
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=True, stdout=-1, text=True
    )
    counts: dict[str, int] = json.loads(found.stdout.splitlines()[-1])
    return {"blocks": blocks, **counts}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.footprint", description=__doc__)
    parser.add_argument("--model", default="qwen2_5_7b", choices=SHAPES)
    parser.add_argument("--blocks", default="1,2,3", help="comma-separated")
    parser.add_argument("--dtype", default="bfloat16", help="of the base; float32 or bfloat16")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", dest="sizes", action="append", default=[], metavar="NAME=NUMBER", help="see job.Sizes")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, draw the lines, write `footprint-<model>.json`."""
    options = arguments(given)
    if options.child:
        sys.stdout.write(json.dumps(child(options.child)) + "\n")
        return 0
    sizes = Sizes(activations=4, samples=8, new_tokens=150).with_overrides(options.sizes)
    points = []
    for blocks in map(int, options.blocks.split(",")):
        points.append(measure(options, blocks, sizes))
        console.print(
            f"{blocks} blocks · held {points[-1]['held'] / 1e9:.2f} GB · peak {points[-1]['peak'] / 1e9:.2f} GB"
        )
    whole = SHAPES[options.model][0][2]
    result: dict[str, Any] = {"model": options.model, "dtype": options.dtype, "blocks": whole, "points": points}
    result |= {"activations": sizes.activations, "samples": sizes.samples, "new_tokens": sizes.new_tokens}
    for name in ("held", "peak"):
        slope, start = np.polyfit([p["blocks"] for p in points], [p[name] for p in points], 1)
        fitted = [start + slope * p["blocks"] for p in points]
        result[f"{name}_estimate"] = start + slope * whole
        result[f"{name}_misfit"] = max(abs(f - p[name]) / p[name] for f, p in zip(fitted, points, strict=True))
        console.print(f"{name}: {result[f'{name}_estimate'] / 1e9:.1f} GB at {whole} blocks, by the line")
    path = HERE / f"footprint-{options.model}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
