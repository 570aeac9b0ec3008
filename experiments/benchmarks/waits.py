"""Host waits on a GPU, per decoding step, micro-batch and update: counted on a device that does not exist.

`python -m experiments.benchmarks.waits` runs small warm starts and reinforcements on the pretend CUDA device of the
tests (`tests/helpers/pretend_cuda`) and merges its counts into `waits.json`; `--tree FOLDER --label NAME` does it for
another checkout. A wait is a number that the host reads, host memory that it sends and stands by, or a result whose
size it must ask for. How long a wait takes is left out: that needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("waits.json")
SMALL = [
    *("target=tiny", "debug=smoke", "trainer=gpu", "logger=none", "corpus.max_documents=40", "prompt.max_tokens=20"),
    *("target.layers=2", "target.width=32", "target.vocabulary=400"),
    *("verbalizer.updates=2", "data.validation_rows=4", "verbalizer.micro_tokens=60", "reconstructor.micro_tokens=60"),
    *("objective.updates=2", "objective.micro_tokens=60"),
]
WORKS = {
    "one site": ["reinforce"],
    "sites": ["warmstart", "site=sites", "site.layers=[0,1]", "prompt=site", "prompt.max_tokens=8"],
}
UNITS = {  # what an activity's waits are divided by
    "local step": "local steps",
    "local look": "local looks",
    "local join": "local joins",
    "local call": "local calls",
    "sft": "responses micro-batches",
    "improve": "responses micro-batches",
    "regress": "reader micro-batches",
    "optimizer": "optimizer steps",
}


def count(tree: Path, words: list[str], folder: Path) -> dict[str, Any]:
    """What the pretend device's ledger holds after a command of the package in `tree`.

    Raises:
        RuntimeError: the command failed.
    """
    ledger = folder / "ledger.json"
    path = os.pathsep.join([str(tree), str(ROOT / "tests/helpers")])
    command = [sys.executable, "-W", "ignore", "-m", "pretend_cuda", str(ledger), "nlae", words[0]]
    done = subprocess.run(
        [*command, *SMALL, *words[1:], f"paths.artifacts={folder / 'artifacts'}"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ledger.read_text())
    return found


def rows(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per stage and activity: units of work, waits of each kind, waits per unit."""
    made: list[dict[str, Any]] = []
    for stage in ("verbalizer", "reconstructor", "reinforce"):
        for activity, unit in UNITS.items():
            units = ledger["marks"].get(f"{stage}/{unit}", 0)
            seen = [wait for wait in ledger["waits"] if wait[0] == f"{stage}/{activity}"]
            if not units or (activity in ("sft", "improve") and f"{stage}/{activity} calls" not in ledger["marks"]):
                continue
            waits = {kind: sum(wait[4] for wait in seen if wait[1] == kind) for kind in ("read", "size", "send")}
            per_unit = round(sum(waits.values()) / units, 2)
            made.append(
                {"stage": stage, "activity": activity, "of": unit, "count": units, **waits, "per_unit": per_unit}
            )
    return made


def main() -> None:
    """Count, print, and merge into `waits.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout to run")
    parser.add_argument("--label", default="now", help="name of its rows")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[given.label] = {}
    for work, words in WORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = rows(count(given.tree.resolve(), words, Path(folder)))
        results[given.label][work] = found
        for row in found:
            print(given.label, work, *row.values(), sep=" | ")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
