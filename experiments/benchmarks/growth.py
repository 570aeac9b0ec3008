"""How our costs grow: `python -m experiments.benchmarks.growth`, time and peak memory of single steps against size.

One thing is varied at a time, every point in a process of its own (a peak cannot fall), one warm-up, then the median.
The slope is that of log cost against log size over the upper half of the sizes, where fixed costs weigh least: 1 is
linear. Peers are left out. On a machine with other work `--clock cpu --threads 1` counts the process's own seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.benchmarks.catalogue import PACKAGE
from experiments.benchmarks.environments import BENCH, HERE, ROOT
from experiments.benchmarks.job import TINY, Sizes
from experiments.benchmarks.link import ContenderError, Link
from experiments.benchmarks.machine import cores, kind

console = Console(stderr=True)


@dataclasses.dataclass(frozen=True)
class Curve:
    """One thing varied.

    Attributes:
        name: of the curve.
        work: what is timed.
        label: of the axis.
        values: sizes, ascending.
        fields: which of `Sizes` take the value; `layers` is the model's number of blocks.
        fixed: the rest, where it is not as in a benchmark.
    """

    name: str
    work: str
    label: str
    values: tuple[int, ...]
    fields: tuple[str, ...]
    fixed: dict[str, int] = dataclasses.field(default_factory=dict)


CLOCKS = {"wall": "seconds", "cpu": "cpu_seconds"}
BASE = {"activations": 2, "samples": 4, "new_tokens": 24}
CURVES = (
    Curve("passages", "extraction", "passages of 128 tokens", (8, 16, 32, 64, 128), ("documents",)),
    Curve("activations", "rl_step", "activations per update", (1, 2, 4, 8, 16), ("activations",), BASE),
    Curve("group", "rl_step", "explanations per activation", (2, 4, 8, 16, 32), ("samples",), BASE),
    Curve("length", "rl_step", "tokens per explanation", (8, 16, 32, 64, 128), ("new_tokens",), BASE),
    Curve("layers", "rl_step", "blocks of the model", (6, 12, 18, 24, 30), ("layers",), BASE),
)


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Exponent of growth over the upper half of the sizes (three points at least)."""
    start = min(len(sizes) // 2, max(0, len(sizes) - 3))
    return float(np.polyfit(np.log(sizes[start:]), np.log(costs[start:]), 1)[0])


def measure(curve: Curve, value: int, options: argparse.Namespace) -> dict[str, Any]:
    """One point: median seconds, peak bytes."""
    from experiments.benchmarks.prepare import prepare

    base = TINY if options.tiny else Sizes()
    chosen = {name: value for name in curve.fields if name != "layers"}
    sizes = dataclasses.replace(base, **{} if options.tiny else curve.fixed)
    sizes = dataclasses.replace(sizes, **chosen)
    path = prepare(
        "tiny" if options.tiny else options.model,
        sizes,
        BENCH / "growth",
        device=options.device,
        dtype="float32" if options.device == "cpu" else "bfloat16",
        threads=options.threads or cores(),
        layers=value if "layers" in curve.fields else 0,
    )
    log = BENCH / "logs" / f"growth-{curve.name}-{value}.log"
    entry = f"{PACKAGE}.works.{curve.work}:ours"
    with Link(Path(sys.executable), path, entry, log, root=ROOT, threads=options.threads or cores()) as link:
        link.ready().ask("run")
        answers = [link.ask("run") for _ in range(options.rounds)]
    return {
        "size": value,
        "seconds": statistics.median(answer[CLOCKS[options.clock]] for answer in answers),
        "peak_bytes": max(answer["peak"] for answer in answers),
    }


def figure(curves: Sequence[dict[str, Any]], path: Path) -> None:
    """Time above, memory below, one column per curve; dashed: linear growth from the last point."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nlae"
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(2, len(curves), figsize=(3.1 * len(curves), 5.4), squeeze=False, layout="constrained")
    for column, curve in zip(axes.T, curves, strict=True):
        sizes = np.array([point["size"] for point in curve["points"]], dtype=float)
        for axis, what, factor, unit in zip(column, ("seconds", "peak_bytes"), (1, 1e-9), ("s", "GB"), strict=True):
            costs = factor * np.array([point[what] for point in curve["points"]])
            axis.plot(sizes, costs, "o-", color="#1f5f8b")
            if what == "seconds":
                axis.plot(sizes, costs[-1] * sizes / sizes[-1], "--", color="#999999", linewidth=1)
                axis.set_title(f"{curve['work']}: slope {curve['slope_seconds']:.2f}", fontsize=9)
            else:
                axis.set_title(f"slope {curve['slope_bytes']:.2f}", fontsize=9)
                axis.set_ylim(bottom=0)
            axis.set_xlabel(curve["label"], fontsize=8)
            axis.set_ylabel(unit, fontsize=8)
            axis.tick_params(labelsize=7)
    plot.savefig(path, metadata={"Date": None})
    pyplot.close(plot)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.growth", description="curves of cost")
    parser.add_argument("--curves", help=f"comma-separated; of {', '.join(curve.name for curve in CURVES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: tests the chain, measures nothing")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time, all threads")
    parser.add_argument("--out", type=Path, help="folder of the results (default: beside this file)")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, write `growth-<kind>.json` and `growth-<kind>.svg`."""
    options = arguments(given)
    wanted = set(options.curves.split(",")) if options.curves else {curve.name for curve in CURVES}
    folder = options.out or (BENCH if options.tiny else HERE)
    done: list[dict[str, Any]] = []
    for curve in (curve for curve in CURVES if curve.name in wanted):
        points = []
        for value in curve.values:
            console.print(f"{curve.name} · {curve.label} = {value}", highlight=False)
            try:
                points.append(measure(curve, value, options))
            except ContenderError as failure:
                console.print(f"{curve.name} · {value} · not run: {failure}", highlight=False)
        if len(points) < 3:
            continue
        sizes = [point["size"] for point in points]
        done.append(
            {
                "curve": curve.name, "work": curve.work, "label": curve.label, "fixed": curve.fixed, "points": points,
                "slope_seconds": slope(sizes, [point["seconds"] for point in points]),
                "slope_bytes": slope(sizes, [point["peak_bytes"] for point in points]),
            }
        )  # fmt: skip
    stem = f"growth-{kind(options.device)}"
    facts = {"model": options.model, "date": datetime.date.today().isoformat(), "rounds": options.rounds}
    facts |= {"clock": options.clock, "threads": options.threads or cores()}
    (folder / f"{stem}.json").write_text(json.dumps(facts | {"curves": done}, indent=1) + "\n", encoding="utf-8")
    if done:
        figure(done, folder / f"{stem}.svg")
    for one in done:
        console.print(f"{one['curve']}: time ~ size^{one['slope_seconds']:.2f}", highlight=False)
    console.print(f"written to {folder / stem}.json and .svg", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
