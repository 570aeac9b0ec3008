"""Runs the benchmarks: `make bench ARGS="--works rollout,extraction --rounds 5"`.

Every contender is a process of its own, loaded once, commanded one repetition at a time over a pipe. A round is one
repetition of each, in an order that turns from round to round, then one of the roofs: a machine that slows down slows
everyone. The first round warms up and is not counted. On a GPU contenders come in pairs, since they would not all fit.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import logging
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.benchmarks import results
from experiments.benchmarks.catalogue import OURS, PACKAGE, Peer, Work, chosen
from experiments.benchmarks.environments import BENCH, HERE, ROOT, interpreter
from experiments.benchmarks.floors import FLOORS
from experiments.benchmarks.job import TINY, Job, Sizes
from experiments.benchmarks.link import ContenderError, Link
from experiments.benchmarks.results import LEFT_OUT, Measured

log = logging.getLogger("bench")
console = Console(stderr=True)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench", description="nlae beside what people would use instead")
    parser.add_argument("--works", help="comma-separated; all of them unless said")
    parser.add_argument("--peers", help="comma-separated names; the others are listed as not run")
    parser.add_argument("--rounds", type=int, default=5, help="counted repetitions (default 5), after one warm-up")
    parser.add_argument(
        "--model", default="smollm2_135m", help="smollm2_135m, or random weights: qwen2_5_0_5b, _1_5b, _7b"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a tiny model and tiny counts: tests the chain, measures nothing"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", help="float32 or bfloat16 (default: float32 on a CPU, bfloat16 on a GPU)")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--set", dest="sizes", action="append", default=[], metavar="NAME=NUMBER", help="see job.Sizes")
    parser.add_argument(
        "--shared", action="store_true", help="make no environments: run peers in ours, if they are there"
    )
    parser.add_argument("--profile", action="store_true", help="write the operators that our side spends its time in")
    parser.add_argument("--limit", type=float, default=1800, help="seconds one repetition may take (default 1800)")
    parser.add_argument("--out", type=Path, help="results file (default: <kind>.json beside this file)")
    return parser.parse_args(given)


def kind(device: str) -> str:
    """Name of this machine's kind: `cpu-2core`, or the GPU's."""
    if device.startswith("cuda"):
        import torch

        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    return f"cpu-{cores()}core"


def cores() -> int:
    """Cores that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Bench:
    """One run over several works.

    Args:
        options: the command line.
        path: of the job.
    """

    def __init__(self, options: argparse.Namespace, path: Path) -> None:
        self.options, self.path, self.job = options, path, Job.load(path)
        self.wanted = None if options.peers is None else {name.strip() for name in options.peers.split(",")}
        self.roofs: list[dict[str, float]] = []

    def link(self, work: str, name: str, python: Path, entry: str) -> Link:
        """Start a worker."""
        return Link(
            python,
            self.path,
            entry,
            BENCH / "logs" / f"{work}-{name}.log",
            root=ROOT,
            threads=self.job.threads,
            limit=self.options.limit,
        )

    def run(self, work: Work) -> list[dict[str, Any]]:
        """All rows of one work."""
        if work.needs is not None and importlib.util.find_spec(f"{PACKAGE}.works.{work.name}") is None:
            problem = f"{work.needs} has no public scan to call yet"
            return [self._row(work, peer, Measured(problem=problem), Measured()) for peer in work.peers]
        left_out = Measured(problem=LEFT_OUT)
        peers = [peer for peer in work.peers if self.wanted is None or peer.name in self.wanted]
        together = [peers] if self.job.device == "cpu" else [[peer] for peer in peers]
        found: dict[str, dict[str, Any]] = {}
        for group in together or [[]]:
            ours, theirs = self._measure(work, group)
            found |= {peer.name: self._row(work, peer, ours, theirs[peer.name]) for peer in group}
            last = ours
        return [found.get(peer.name) or self._row(work, peer, last, left_out) for peer in work.peers]

    def _measure(self, work: Work, peers: Sequence[Peer]) -> tuple[Measured, dict[str, Measured]]:
        """Rounds of ours and of some peers."""
        measured = {OURS: Measured(), **{peer.name: Measured() for peer in peers}}
        entries = {OURS: (OURS, f"{PACKAGE}.works.{work.name}:ours")}
        entries |= {peer.name: (peer.environment, f"{PACKAGE}.peers.{peer.entry}") for peer in peers}
        with contextlib.ExitStack() as stack:
            roof = stack.enter_context(
                self.link(work.name, "roofs", interpreter(OURS), f"{PACKAGE}.roofs:measure")
            ).ready()
            links: dict[str, Link] = {}
            for name, (environment, entry) in entries.items():
                self._say(work, name, "loading")
                with self._guard(work, name, measured[name]):
                    python = interpreter(environment, shared=self.options.shared)
                    links[name] = stack.enter_context(self.link(work.name, name, python, entry)).ready()
                    measured[name].versions = links[name].versions
                    measured[name].check = links[name].ask("check")["check"]
            for number in range(self.options.rounds + 1):
                for name in _turned(list(links), number):
                    if measured[name].problem is None:
                        self._say(work, name, f"round {number} of {self.options.rounds}" if number else "warm-up")
                        with self._guard(work, name, measured[name]):
                            answer = links[name].ask("run")
                            if number:
                                measured[name].add(answer)
                answer = roof.ask("run")
                if number:
                    self.roofs.append(answer)
            if self.options.profile and measured[OURS].problem is None:
                path = (BENCH if self.options.tiny else HERE) / "profiles" / f"{self.name}-{work.name}.txt"
                with self._guard(work, OURS, measured[OURS]):
                    self._say(work, OURS, f"profile in {links[OURS].ask('profile', path=str(path))['profile']}")
        return measured.pop(OURS), measured

    @property
    def name(self) -> str:
        """Prefix of files: machine kind and model."""
        return f"{kind(self.job.device)}-{self.job.model}"

    def _row(self, work: Work, peer: Peer, ours: Measured, theirs: Measured) -> dict[str, Any]:
        about: dict[str, Any] = {"model": self.job.model, "dtype": self.job.dtype, "threads": self.job.threads}
        about |= {"date": datetime.date.today().isoformat(), "note": peer.note}
        if self.roofs:
            about |= {f"roof_{what}": statistics.median(r[what] for r in self.roofs) for what in ("flops", "copy")}
        # bf16 rounds differently on every path: there the numbers are recorded and nothing is refused
        tolerance = work.tolerance if self.job.dtype == "float32" else None
        return results.row(
            work.name,
            peer.name,
            work.unit,
            ours,
            theirs,
            target=peer.target,
            tolerance=tolerance,
            flops=FLOORS[work.name](self.job),
            roof=about.get("roof_flops", float("inf")),
            about=about,
        )

    @contextlib.contextmanager
    def _guard(self, work: Work, name: str, measured: Measured) -> Any:
        try:
            yield
        except ContenderError as failure:
            measured.problem = str(failure)
            self._say(work, name, f"[red]not run:[/] {failure}")

    @staticmethod
    def _say(work: Work, name: str, what: str) -> None:
        console.print(f"[dim]{datetime.datetime.now():%H:%M:%S}[/] {work.name} · {name} · {what}", highlight=False)


def _turned(names: list[str], by: int) -> list[str]:
    """The same circle, begun elsewhere."""
    by %= max(1, len(names))
    return names[by:] + names[:by]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The table, on standard output."""
    table = Table(*results.HEADINGS)
    for one in rows:
        table.add_row(*[text.replace("**", "") for text in results.cells(one)])
    Console(width=None if Console().is_terminal else 180).print(table)


def main(given: Sequence[str] | None = None) -> int:
    """Prepare, measure, write after every work, show."""
    options = arguments(given)
    works = chosen(options.works)
    from experiments.benchmarks.prepare import prepare

    model = "tiny" if options.tiny else options.model
    sizes = (TINY if options.tiny else Sizes()).with_overrides(options.sizes)
    dtype = options.dtype or ("float32" if options.device == "cpu" else "bfloat16")
    path = prepare(model, sizes, BENCH / "jobs", device=options.device, dtype=dtype, threads=options.threads or cores())
    out = options.out or (BENCH / "tiny.json" if options.tiny else HERE / f"{kind(options.device)}.json")
    made: list[dict[str, Any]] = []
    for work in works:
        bench = Bench(options, path)
        made += bench.run(work)
        results.merge(out, made)
    show(made)
    console.print(f"written to {out}")
    if out.parent == HERE:
        refresh_readme()
    return 0


def refresh_readme() -> None:
    """Put all results files beside this one into the README's tables."""
    import json

    held = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.json"))}
    # other measurements lie here too: ours are lists of rows
    tables = [results.markdown(stem, rows) for stem, rows in held.items() if isinstance(rows, list)]
    results.write_readme(HERE / "README.md", "\n".join(tables))


if __name__ == "__main__":
    raise SystemExit(main())
