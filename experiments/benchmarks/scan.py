"""What the scan of all neurons costs beside plain forward passes: `python -m experiments.benchmarks.scan [overrides]`.

The real `scan` runs over a real corpus; before each window the same batch goes through the same blocks once more with
no hook on them, so that both are timed in the same seconds of a busy machine. Scan time is everything else: planning,
calibration, streams, panels, writing and finishing. Seconds of the wall and of the processor are both given: where
others use the machine too, the second ratio, with --threads 1, is the one that travels. Memory is the largest resident
size after each quarter of the windows, which shows how it grows. The result is one JSON object.

    python -m experiments.benchmarks.scan target=smollm2_135m corpus.max_documents=250
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlae.config.build import build
from nlae.config.compose import compose_plain
from nlae.corpus import Corpus, build_corpus
from nlae.dictionary.scan import scanning
from nlae.dictionary.scan.plan import Window


def peak_gigabytes() -> float:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


class Clock:
    """Seconds of the wall and of this process's threads."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        """Since the clock was made."""
        return time.perf_counter() - self.wall, time.process_time() - self.processor


class Beside(scanning.Reader):
    """A reader that runs each window plainly first and notes both times."""

    plain: ClassVar[list[tuple[float, float]]] = []
    scanned: ClassVar[list[tuple[float, float]]] = []
    peaks: ClassVar[list[float]] = []

    def read(self, window: Window) -> list[tuple[Tensor, Tensor]]:
        """Both, the plain one first."""
        ids_BT = window.token_ids(self._corpus, self._target.pad_id)
        clock = Clock()
        scanning.run_blocks(self._target, ids_BT, [], lambda *_: None)
        self._wait()
        self.plain.append(clock.spent())
        clock = Clock()
        kept = super().read(window)
        self._wait()
        self.scanned.append(clock.spent())
        self.peaks.append(peak_gigabytes())
        return kept

    def _wait(self) -> None:
        if self._target.device.type == "cuda":
            torch.cuda.synchronize()


def measure(overrides: list[str], folder: Path, threads: int | None) -> dict[str, Any]:
    """Scan the corpus that the overrides choose, and say what it cost."""
    config = compose_plain(overrides).config
    if threads:
        torch.set_num_threads(threads)
    source = build(config["target"], "target")
    build_corpus(build(config["corpus"], "corpus"), source.load_tokenizer(), folder / "corpus")
    corpus = Corpus.open(folder / "corpus")
    target = source.load(device=str(config["trainer"]["device"] or "cpu"))
    loaded = peak_gigabytes()
    scanning.Reader = Beside  # type: ignore[misc]
    clock = Clock()
    metrics = build(config["dictionary"]["scan"], "dictionary.scan").scan(target, corpus, folder / "scan")
    total = clock.spent()
    plain = [sum(pair) for pair in zip(*Beside.plain, strict=True)]
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(Beside.scanned, Beside.plain, strict=True)]
    quarters = [Beside.peaks[max(0, len(Beside.peaks) * part // 4 - 1)] for part in (1, 2, 3, 4)]
    return {
        "target": target.source_name,
        "threads": torch.get_num_threads(),
        "training_tokens": metrics["tokens"],
        "windows": len(ratios),
        "ratio_wall": (total[0] - plain[0]) / plain[0],
        "ratio_processor": (total[1] - plain[1]) / plain[1],
        "ratio_wall_median_window": statistics.median(ratios),
        "plain_seconds": plain[0],
        "scan_seconds": total[0] - plain[0],
        "peak_gigabytes_loaded": loaded,
        "peak_gigabytes_by_quarter": quarters,
        "peak_gigabytes": peak_gigabytes(),
        "written_bytes": metrics["bytes"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice by default")
    parser.add_argument("overrides", nargs="*", default=["corpus.max_documents=250"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scan-benchmark-") as folder:
        print(json.dumps(measure(given.overrides, Path(folder), given.threads), indent=1))


if __name__ == "__main__":
    main()
