"""Runs the benchmarks: `make bench ARGS="--works rollout,extraction --rounds 5"`.

Every contender is a process of its own, loaded once, commanded one repetition at a time over a pipe. A round is one
repetition of each, in an order that turns from round to round, then one of the roofs: a machine that slows down slows
everyone. The first round warms up and is not counted. On a GPU, or in several types at once, ours and one peer at a
time, since they would not all fit. A peer that ran in several types is compared by its fastest.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from experiments.benchmarks import results
from experiments.benchmarks.catalogue import OURS, PACKAGE, Peer, Work, chosen
from experiments.benchmarks.environments import BENCH, HERE, ROOT, interpreter
from experiments.benchmarks.floors import FLOORS
from experiments.benchmarks.job import TINY, Job, Sizes
from experiments.benchmarks.link import ContenderError, Link
from experiments.benchmarks.machine import cores, kind, processor
from experiments.benchmarks.results import LEFT_OUT, Measured

log = logging.getLogger("bench")
console = Console(stderr=True)
DTYPES = ("float32", "bfloat16")


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
    parser.add_argument(
        "--dtype",
        help="float32, bfloat16 or both with a comma (default: float32 on a CPU, bfloat16 on a GPU); of both, ours has "
        "a row for each, beside the peer's faster one",
    )
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--set", dest="sizes", action="append", default=[], metavar="NAME=NUMBER", help="see job.Sizes")
    parser.add_argument(
        "--shared", action="store_true", help="make no environments: run peers in ours, if they are there"
    )
    parser.add_argument("--profile", action="store_true", help="write the operators that our side spends its time in")
    parser.add_argument("--limit", type=float, default=1800, help="seconds one repetition may take (default 1800)")
    parser.add_argument("--out", type=Path, help="results file (default: <kind>.json beside this file)")
    return parser.parse_args(given)


def dtypes_of(given: str) -> list[str]:
    """The types that were asked for.

    Raises:
        SystemExit: one that is not measured here.
    """
    wanted = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in DTYPES]
    if unknown or not wanted:
        raise SystemExit(f"--dtype {given}: choose from {', '.join(DTYPES)}, or both with a comma")
    return wanted


class Contender(NamedTuple):
    """Who does a work, and in which type."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} · {self.dtype}"


def fastest(peer: str, measured: Mapping[Contender, Measured]) -> tuple[Measured, str | None]:
    """What was measured of a peer in the type that suits it best, and that type."""
    mine = {who.dtype: found for who, found in measured.items() if who.name == peer}
    if not mine:
        return Measured(problem=LEFT_OUT), None
    ran = {dtype: found for dtype, found in mine.items() if found.problem is None and found.seconds}
    dtype = max(ran, key=lambda dtype: ran[dtype].rate) if ran else next(iter(mine))
    return mine[dtype], dtype


class Bench:
    """One run over several works.

    Args:
        options: the command line.
        paths: of the job in each type, by its name.
    """

    def __init__(self, options: argparse.Namespace, paths: Mapping[str, Path]) -> None:
        self.options, self.paths = options, paths
        self.jobs = {dtype: Job.load(path) for dtype, path in paths.items()}
        self.job = next(iter(self.jobs.values()))
        self.wanted = None if options.peers is None else {name.strip() for name in options.peers.split(",")}
        self.roofs: dict[str, list[dict[str, float]]] = {dtype: [] for dtype in paths}

    def link(self, work: str, who: Contender, python: Path, entry: str) -> Link:
        """Start a worker."""
        return Link(
            python,
            self.paths[who.dtype],
            entry,
            BENCH / "logs" / f"{work}-{who.name}-{who.dtype}.log",
            root=ROOT,
            threads=self.job.threads,
            limit=self.options.limit,
        )

    def run(self, work: Work) -> list[dict[str, Any]]:
        """All rows of one work."""
        if work.needs is not None and importlib.util.find_spec(f"{PACKAGE}.works.{work.name}") is None:
            problem = Measured(problem=f"{work.needs} has no public scan to call yet")
            return [self._row(work, peer, dtype, problem, {}) for dtype in self.paths for peer in work.peers]
        peers = [peer for peer in work.peers if self.wanted is None or peer.name in self.wanted]
        at_once = self.job.device == "cpu" and len(self.paths) == 1
        rows: list[dict[str, Any]] = []
        last: dict[Contender, Measured] = {}
        for group in ([peers] if at_once else [[peer] for peer in peers]) or [[]]:
            last = self._measure(work, group)
            rows += [
                self._row(work, peer, dtype, last[Contender(OURS, dtype)], last) for peer, dtype in self._all(group)
            ]
        left_out = [peer for peer in work.peers if peer not in peers]
        return rows + [
            self._row(work, peer, dtype, last[Contender(OURS, dtype)], {}) for peer, dtype in self._all(left_out)
        ]

    def _all(self, peers: Sequence[Peer]) -> list[tuple[Peer, str]]:
        return [(peer, dtype) for dtype in self.paths for peer in peers]

    def _measure(self, work: Work, peers: Sequence[Peer]) -> dict[Contender, Measured]:
        """Rounds of ours and of some peers, in every type."""
        entries = {Contender(OURS, dtype): (OURS, f"{PACKAGE}.works.{work.name}:ours") for dtype in self.paths}
        for peer, dtype in self._all(peers):
            entries[Contender(peer.name, dtype)] = (peer.environment, f"{PACKAGE}.peers.{peer.entry}")
        measured = {who: Measured() for who in entries}
        with contextlib.ExitStack() as stack:
            roofs = {
                dtype: stack.enter_context(
                    self.link(work.name, Contender("roofs", dtype), interpreter(OURS), f"{PACKAGE}.roofs:measure")
                ).ready()
                for dtype in self.paths
            }
            links: dict[Contender, Link] = {}
            for who, (environment, entry) in entries.items():
                self._say(work, who, "loading")
                with self._guard(work, who, measured[who]):
                    python = interpreter(environment, shared=self.options.shared)
                    links[who] = stack.enter_context(self.link(work.name, who, python, entry)).ready()
                    measured[who].versions = links[who].versions
                    measured[who].check = links[who].ask("check")["check"]
            for number in range(self.options.rounds + 1):
                for who in _turned(list(links), number):
                    if measured[who].problem is None:
                        self._say(work, who, f"round {number} of {self.options.rounds}" if number else "warm-up")
                        with self._guard(work, who, measured[who]):
                            answer = links[who].ask("run")
                            if number:
                                measured[who].add(answer)
                for dtype, roof in roofs.items():
                    answer = roof.ask("run")
                    if number:
                        self.roofs[dtype].append(answer)
            if self.options.profile:
                self._profile(work, links, measured)
        return measured

    def _profile(self, work: Work, links: Mapping[Contender, Link], measured: Mapping[Contender, Measured]) -> None:
        for dtype in self.paths:
            who = Contender(OURS, dtype)
            if measured[who].problem is None:
                kept = f"{self.name}-{work.name}" + ("" if dtype == "float32" else f"-{dtype}")
                path = (BENCH if self.options.tiny else HERE) / "profiles" / f"{kept}.txt"
                with self._guard(work, who, measured[who]):
                    self._say(work, who, f"profile in {links[who].ask('profile', path=str(path))['profile']}")

    @property
    def name(self) -> str:
        """Prefix of files: machine kind and model."""
        return f"{kind(self.job.device)}-{self.job.model}"

    def _row(
        self, work: Work, peer: Peer, dtype: str, ours: Measured, measured: Mapping[Contender, Measured]
    ) -> dict[str, Any]:
        theirs, peer_dtype = fastest(peer.name, measured)
        about: dict[str, Any] = {"model": self.job.model, "dtype": dtype, "peer_dtype": peer_dtype}
        about |= {
            "cpu": processor(),
            "threads": self.job.threads,
            "date": datetime.date.today().isoformat(),
            "note": peer.note,
        }
        if found := self.roofs[dtype]:
            about |= {f"roof_{what}": statistics.median(r[what] for r in found) for what in ("flops", "copy")}
        # bf16 rounds differently on every path: there the numbers are recorded and nothing is refused
        tolerance = work.tolerance if dtype == peer_dtype == "float32" else None
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
    def _guard(self, work: Work, who: Contender, measured: Measured) -> Any:
        try:
            yield
        except ContenderError as failure:
            measured.problem = str(failure)
            self._say(work, who, f"[red]not run:[/] {failure}")

    @staticmethod
    def _say(work: Work, who: Contender, what: str) -> None:
        console.print(f"[dim]{datetime.datetime.now():%H:%M:%S}[/] {work.name} · {who} · {what}", highlight=False)


def _turned(contenders: list[Contender], by: int) -> list[Contender]:
    """The same circle, begun elsewhere."""
    by %= max(1, len(contenders))
    return contenders[by:] + contenders[:by]


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
    dtypes = dtypes_of(options.dtype or ("float32" if options.device == "cpu" else "bfloat16"))
    threads = options.threads or cores()
    paths = {
        dtype: prepare(model, sizes, BENCH / "jobs" / dtype, device=options.device, dtype=dtype, threads=threads)
        for dtype in dtypes
    }
    out = options.out or (BENCH / "tiny.json" if options.tiny else HERE / f"{kind(options.device)}.json")
    made: list[dict[str, Any]] = []
    for work in works:
        bench = Bench(options, paths)
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
