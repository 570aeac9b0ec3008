"""How fast `nlae browse` answers: `python -m experiments.benchmarks.browse`.

A made-up dictionary as large as one of a small model's, the server as a process of its own, pages asked for over HTTP
one after another, each on a new connection, none asked for twice. The result is one JSON object; nothing is warmed up
but what the server itself reads before it says its address.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary.entries import FILE, Dictionary

QUERIES = (
    "river",
    "treaty",
    "glac",
    "names after parliament",
    "of, in or by",
    "dates and numbers near treaty",
    "enzyme verdict",
    "harvest lantern keyboard",
    "goverment",
    "nothing of this kind",
)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, float]]:
    """Address of a running server, and the seconds it took to start."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "nlae", "browse", f"file={folder}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise RuntimeError("the server did not say its address")
            yield address[0], time.perf_counter() - started
        finally:
            process.terminate()
            process.communicate()


def seconds(url: str) -> float:
    """Seconds until a page has arrived whole."""
    started = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        answer.read()
    return time.perf_counter() - started


def summary(times: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum, in milliseconds."""
    found = {"median": np.median(times), "p95": np.quantile(times, 0.95), "max": max(times)}
    return {f"{name}_ms": round(1000 * float(value), 1) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the dictionary is made, or already lies")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--neurons", type=int, default=1536)
    parser.add_argument("--phrases", type=int, default=1, help="parts of a description")
    parser.add_argument("--pages", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / FILE).is_file():
            sizes = {"layers": given.layers, "neurons": given.neurons, "phrases": given.phrases}
            make_up_dictionary(folder, **sizes, documents=20_000)
        dictionary = Dictionary.open(folder)
        draw = np.random.default_rng(0)
        places = draw.choice(len(dictionary), size=given.pages, replace=False)
        names = [f"neuron/{row[0]}/{row[1]}" for row in dictionary.overview.select("layer", "neuron")[places].rows()]
        with served(folder) as (address, start):
            pages = [seconds(address + name) for name in names]
            searches = {query: round(seconds(f"{address}search?q={quote(query)}"), 3) for query in QUERIES}
            whole = {name or "overview": seconds(address + name) for name in ("", "map.json", "search", "compare")}
    result = {
        "entries": len(dictionary),
        "megabytes": round((folder / FILE).stat().st_size / 1e6) if given.folder else None,
        "load_average": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
        "start_seconds": round(start, 1),
        "neuron_pages": {"n": len(pages), **summary(pages)},
        "search_seconds": searches,
        "other_ms": {name: round(1000 * taken, 1) for name, taken in whole.items()},
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
