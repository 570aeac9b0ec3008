"""Gathers the reference study from its artifacts: `results.json`, the figure, and the tables of its README.

Reads finished folders only, so a stopped study still reports what it has.

    python experiments/reference/collect.py ARTIFACTS
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import yaml

from nlae.evaluation import compare

logger = logging.getLogger("collect")
HERE = Path(__file__).parent
SUBJECTS = {
    "rl": ("reinforce", "grpo", "described"),
    "frozen": ("reinforce", "frozen", "described"),
    "supervised": ("reinforce", "supervised", "described"),
    "warmstart": ("warmstart", None, "described"),
    "warmstart_verbatim": ("warmstart", None, "verbatim"),
}


def finished(artifacts: Path, stage: str) -> list[Path]:
    """Complete folders of a stage."""
    folders = [path.parent for path in (artifacts / stage).glob("*/manifest.json")]
    return [f for f in folders if json.loads((f / "manifest.json").read_text()).get("complete")]


def subject_of(folder: Path) -> str | None:
    """Which of the study's subjects an evaluation or training folder belongs to."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    stage = config["evaluation"]["subject"] if folder.parent.name == "evaluate" else folder.parent.name
    control = config["objective"]["control"] or "grpo" if stage == "reinforce" else None
    key = (stage, control, config["teacher"]["tail"])
    return next((name for name, value in SUBJECTS.items() if value == key), None)


def by_subject(artifacts: Path, *stages: str) -> dict[str, Path]:
    """Finished folders of the stages, by subject."""
    folders = [folder for stage in stages for folder in finished(artifacts, stage)]
    return {name: folder for folder in folders if (name := subject_of(folder)) is not None}


def comparisons(evaluated: dict[str, Path]) -> dict[str, Any]:
    """RL against its three yardsticks, paired by activation."""
    pairs = (
        ("rl", "frozen"),
        ("rl", "supervised"),
        ("rl", "warmstart"),
        ("frozen", "warmstart"),
        ("warmstart_verbatim", "warmstart"),
    )
    out = {}
    for a, b in pairs:
        if a in evaluated and b in evaluated:
            found = compare(evaluated[a], evaluated[b])
            out[f"{a}_minus_{b}"] = {"delta": found.delta, "low": found.low, "high": found.high, "rows": found.rows}
    return out


def curves(trained: dict[str, Path]) -> dict[str, list[dict[str, float]]]:
    """The held-out points of every training run."""
    out = {}
    for name, folder in trained.items():
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        out[name] = [
            {k: v for k, v in p.items() if k == "update" or k.startswith("val/")} for p in lines if "val/fve" in p
        ]
    return out


def draw(results: dict[str, Any], path: Path) -> None:
    """Learning curves on the left, the frontier on the right."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    start = max((p["update"] for p in results["curves"].get("warmstart", [])), default=0)
    for name, points in results["curves"].items():
        shift = 0 if name.startswith("warmstart") else start
        left.plot([p["update"] + shift for p in points], [p["val/fve"] for p in points], marker="o", ms=3, label=name)
    shuffled = results["curves"].get("warmstart", [])
    left.plot(
        [p["update"] for p in shuffled], [p["val/fve_shuffled"] for p in shuffled], ":", label="warmstart, shuffled"
    )
    left.set(xlabel="update", ylabel="FVE on validation rows", title="Learning curves")
    left.legend(fontsize=7)
    frontier = results.get("frontier")
    if frontier:
        for key, label in (("trained", "quotes, same architecture"), ("frozen", "quotes, untrained target")):
            points = frontier[key]
            right.plot([p["n"] for p in points], [p["fve"] for p in points], marker="o", ms=3, label=label)
        right.plot([frontier["tokens"]], [frontier["fve"]], "*", ms=12, label="round trip after RL")
        right.set(
            xlabel="tokens of text read", ylabel="FVE on the same test rows", title="Quote frontier", xscale="log"
        )
        right.legend(fontsize=7)
    figure.savefig(path)


def frontier_points(metrics: dict[str, float]) -> dict[str, Any] | None:
    """The frontier as plotted, from flat metrics."""
    if "frontier/fve" not in metrics:
        return None
    lengths = [n for n in (1, 2, 4, 8, 16, 32) if f"frontier/quote_{n}" in metrics]
    return {
        "fve": metrics["frontier/fve"],
        "tokens": metrics["explanation_tokens_mean"],
        "trained": [{"n": n, "fve": metrics[f"frontier/quote_{n}"]} for n in lengths],
        "frozen": [{"n": n, "fve": metrics[f"frontier/quote_{n}_frozen"]} for n in lengths],
    }


ROWS = {
    "rl": "after RL (`grpo`)",
    "frozen": "same updates, verbalizer frozen",
    "supervised": "same updates, supervised on the teacher's text",
    "warmstart": "warm start",
}
RUN = ("fingerprint", "commit", "wall_seconds", "peak_memory_bytes", "peak_device_memory_bytes", "versions")
PAIRED = {
    "rl_minus_frozen": "**RL − frozen verbalizer: the effect of RL**",
    "rl_minus_supervised": "RL − more supervised training",
    "frozen_minus_warmstart": "frozen verbalizer − warm start: what the moving reader alone gains",
    "rl_minus_warmstart": "RL − warm start (claims nothing)",
}
CONTROLS = ("mean", "shuffled", "no_injection", "last_token", "pca_1", "pca_4", "pca_16", "pca_64", "teacher")
TAILS = {"warmstart": "`tail=described`", "warmstart_verbatim": "`tail=verbatim`"}


def number(value: float) -> str:
    """Three digits, with a real minus."""
    return f"{value:.3f}".replace("-", "−")


def interval(values: dict[str, float], name: str = "") -> str:
    """The 95 % interval of a metric."""
    return " … ".join(number(values[f"{name}_{end}" if name else end]) for end in ("low", "high"))


def table(heading: str, rows: list[str]) -> str:
    """Markdown of rows under a heading."""
    return "\n".join([heading, "|---" * (heading.count("|") - 1) + "|", *rows])


def tables(results: dict[str, Any]) -> str:
    """Markdown of subjects, paired differences, controls and frontier; what was not evaluated is left out."""
    metrics, paired = results["metrics"], results["comparisons"]
    rl, frontier = metrics["rl"], results["frontier"]
    subjects = [
        f"| {label} | {number(of['fve'])} | {interval(of, 'fve')} | {number(of['control/shuffled'])} |"
        for name, label in ROWS.items()
        if (of := metrics.get(name))
    ]
    differences = [
        f"| {label} | {number(of['delta'])} | {interval(of)} |"
        for name, label in PAIRED.items()
        if (of := paired.get(name))
    ]
    controls = [
        f"| {name} | {number(rl[f'control/{name}'])} | {interval(rl, f'control/{name}')} |"
        for name in CONTROLS
        if f"control/{name}" in rl
    ]
    counts = f"{rl['rows']:.0f} test rows, {rl['clusters']:.0f} works"
    parts = [
        table(f"| subject ({counts}) | FVE | 95 % interval | shuffled pairing |", subjects),
        table("| paired difference in FVE | | 95 % interval |", differences),
        table("| control, on the rows of RL | FVE | 95 % interval |", controls),
    ]
    if frontier:
        quotes = [
            f"| {ours['n']} | {number(ours['fve'])} | {number(plain['fve'])} |"
            for ours, plain in zip(frontier["trained"], frontier["frozen"], strict=True)
        ]
        heading = (
            f"| tokens quoted ({rl['frontier/rows']:.0f} rows with long contexts; round trip there "
            f"{number(frontier['fve'])}, {frontier['tokens']:.0f} tokens) "
            "| our architecture, trained on quotes | untrained target |"
        )
        parts.append(table(heading, quotes))
    return "\n\n".join(parts)


def tails(results: dict[str, Any]) -> str:
    """Markdown of the two teachers' tails, side by side."""
    rows = [
        f"| {label} | {number(of['fve'])} | {interval(of, 'fve')} | {number(of['control/shuffled'])} "
        f"| {number(of['control/teacher'])} |"
        for name, label in TAILS.items()
        if (of := results["metrics"].get(name))
    ]
    difference = results["comparisons"].get("warmstart_verbatim_minus_warmstart")
    if difference:
        rows.append(f"| verbatim − described, paired | {number(difference['delta'])} | {interval(difference)} | | |")
    return table("| teacher | round trip | 95 % interval | shuffled | its own text, read by its reconstructor |", rows)


def write_tables(results: dict[str, Any], readme: Path) -> None:
    """Replace what stands between the README's markers."""
    text = readme.read_text(encoding="utf-8")
    for name, block in (("results", tables(results)), ("tails", tails(results))):
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}<!-- {name} -->\n{block}\n{end}{after}"
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    """Write results, figure and tables beside this file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path)
    artifacts = parser.parse_args().artifacts
    evaluated = by_subject(artifacts, "evaluate")
    trained = by_subject(artifacts, "warmstart", "reinforce")
    metrics = {name: json.loads((folder / "metrics.json").read_text()) for name, folder in evaluated.items()}
    manifests = {name: json.loads((folder / "manifest.json").read_text()) for name, folder in trained.items()}
    results: dict[str, Any] = {
        "metrics": metrics,
        "comparisons": comparisons(evaluated),
        "curves": curves(trained),
        "frontier": frontier_points(metrics.get("rl", {})),
        "runs": {name: {key: manifest[key] for key in RUN if key in manifest} for name, manifest in manifests.items()},
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, HERE / "figure.svg")
    if "rl" in evaluated:
        write_tables(results, HERE / "README.md")
        samples = json.loads((evaluated["rl"] / "samples.json").read_text())
        (HERE / "samples.json").write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, values in metrics.items():
        logger.info("%s: fve %.3f", name, values["fve"])
    for name, values in results["comparisons"].items():
        logger.info("%s: %s", name, values)


if __name__ == "__main__":
    main()
