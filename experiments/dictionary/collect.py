"""Gathers the dictionary study from one finished dictionary: `results.json`, the figure, the tables of its README.

Reads only; a dictionary of other layers or budgets is described as what it is.

    python experiments/dictionary/collect.py DICTIONARY [TRAINED …]

The figure needs the extra `studies` and is the only thing here that does.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

HERE = Path(__file__).parent
BASELINES = (
    ("skyline", "wordless skyline: mean exemplar vector"),
    ("last_token", "mean activation per last token"),
    ("token_list", "list of its exemplars' tokens"),
    ("prediction", "**the words**: best of its candidates"),
    ("prediction_null", "the same pipeline on its decoy"),
    ("shuffled", "another entry's description"),
)


JUDGED = (
    ("ours", "the words"),
    ("verbalized", "best of the autoencoder's texts, as many as key words"),
    ("token_list", "list of its exemplars' tokens"),
    ("context_only", "key words"),
    ("decoy", "its decoy's words"),
)
PEAKS = ("peak_memory_bytes", "peak_device_memory_bytes")
NULLS = (
    ("decoy", "neurons permuted, in the neurons' place"),
    ("rotated", "random directions"),
    ("shuffled", "other entries' descriptions"),
)


def history(folders: list[Path]) -> dict[str, dict[str, float]]:
    """Held-out figures at the last update of each trained stage."""
    found = {}
    for folder in folders:
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        last = [line for line in lines if "val/fve" in line][-1]
        found[folder.parent.name] = {k: v for k, v in last.items() if k.startswith("val/") or k == "update"}
    return found


def manifest_facts(folder: Path) -> dict[str, Any]:
    """What identifies a run, without where it ran."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = ("stage", "fingerprint", "commit", "wall_seconds", "wall_time", *PEAKS)
    return {key: manifest[key] for key in kept if key in manifest}


def gather(folder: Path, trained: list[Path]) -> dict[str, Any]:
    """All figures of the study."""
    entries = pl.scan_parquet(folder / "dictionary.parquet")
    columns = [name for name, _ in BASELINES] + ["verbalized", "context_only", "share_of_skyline", "r2", "r2_ceiling"]
    present = [name for name in columns if name in entries.collect_schema().names()]
    quartiles = entries.select(
        *[pl.col(name).fill_nan(None).quantile(q).alias(f"{name}@{q}") for name in present for q in (0.25, 0.5, 0.75)]
    ).collect()
    sample = entries.filter(pl.col("sampled"))
    both = sample.filter(pl.col("verbalized").is_not_null() & pl.col("context_only").is_not_null())
    return {
        "dictionary": manifest_facts(folder),
        "trained": {path.parent.name: manifest_facts(path) for path in trained},
        "history": history(trained),
        "about": json.loads((folder / "dictionary.json").read_text()),
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "layers": json.loads((folder / "layers.json").read_text()),
        "quartiles": quartiles.row(0, named=True),
        "sample_medians": both.select(
            pl.len().alias("entries"), pl.col("verbalized").median(), pl.col("context_only").median()
        )
        .collect()
        .row(0, named=True),
        "clusters": dict(sorted(entries.group_by("clusters").len().collect().iter_rows())),
    }


def figure(results: dict[str, Any], path: Path) -> None:
    """Per layer: how well each thing predicts held-out activations, and how specialised neurons are."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    layers = results["layers"]
    x = [layer["layer"] for layer in layers]
    plt.rcParams |= {"svg.hashsalt": "nlae", "font.size": 9}
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), constrained_layout=True)
    for key, label, style in (
        ("skyline", "wordless skyline", "-"),
        ("last_token", "last-token table", "-"),
        ("token_list", "token list", "-"),
        ("prediction", "the words", "-"),
        ("prediction_null", "their decoys", "--"),
        ("shuffled", "shuffled words", ":"),
    ):
        left.plot(x, [layer[key] for layer in layers], style, label=label, linewidth=2 if key == "prediction" else 1.2)
    left.axhline(0.5, color="grey", linewidth=0.8)
    left.set(xlabel="block", ylabel="median AUROC, held-out contexts", ylim=(0.4, 1.0))
    left.legend(fontsize=7, frameon=False, ncols=2)
    right.plot(x, [layer["specialised"] for layer in layers], label="neurons")
    right.plot(x, [layer["specialised_decoy"] for layer in layers], "--", label="their decoys")
    right.plot(x, [layer["pass_rate"] for layer in layers], label="entries that pass")
    right.set(xlabel="block", ylabel="share", ylim=(0, None))
    right.legend(fontsize=7, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, metadata={"Date": None})
    plt.close(drawn)


def tables(results: dict[str, Any]) -> str:
    """Markdown of the README's generated part."""
    metrics, quartiles = results["metrics"], results["quartiles"]
    lines = [
        "| what predicts when an entry fires (AUROC, random held-out contexts) | median | quartiles |",
        "|---|---|---|",
    ]
    for key, label in BASELINES:
        low, middle, high = (_number(quartiles[f"{key}@{q}"]) for q in (0.25, 0.5, 0.75))
        lines.append(f"| {label} | {middle} | {low} … {high} |")
    lines += ["", "| entries that pass | share |", "|---|---|", f"| real | {metrics['pass_rate']:.4f} |"]
    lines += [
        f"| {label} | {metrics[f'pass_rate/{null}']:.4f} |" for null, label in NULLS if f"pass_rate/{null}" in metrics
    ]
    shares = [
        f"{label} {metrics[f'null_share/{null}']:.3f}" for null, label in NULLS if f"null_share/{null}" in metrics
    ]
    if shares:
        limit = metrics["null_share/fdr"]
        lines += ["", f"Rate of a null over that of entries, to stay within {limit:g}: {'; '.join(shares)}."]
    lines += _survival(metrics) + _judged(metrics)
    medians = results["sample_medians"]
    lines += [
        "",
        "| sampled entries, as many texts on either side | median AUROC |",
        "|---|---|",
        f"| best of the autoencoder's texts | {medians['verbalized']:.3f} |" if medians["entries"] else "| – | – |",
        f"| best of the key-word texts | {medians['context_only']:.3f} |" if medians["entries"] else "| – | – |",
    ]
    lines += [
        "",
        "| block | words | 95 % | decoys | skyline | last token | pass | specialised | their decoys |",
        "|" + "---|" * 9,
    ]
    for layer in results["layers"]:
        lines.append(
            f"| {layer['layer']} | {_number(layer['prediction'])} "
            f"| {_number(layer['prediction_low'])} … {_number(layer['prediction_high'])} "
            f"| {_number(layer['prediction_null'])} | {_number(layer['skyline'])} | {_number(layer['last_token'])} "
            f"| {layer['pass_rate']:.4f} | {layer['specialised']:.3f} | {layer['specialised_decoy']:.3f} |"
        )
    return "\n".join(lines)


def _survival(metrics: dict[str, float]) -> list[str]:
    """What of single neurons survives the words, beside what could; nothing where it was not measured."""
    rows = [("r2", "through the words"), ("r2_ceiling", "best linear map from what is injected")]
    found = [f"| {label} | {metrics[key]:.3f} |" for key, label in rows if key in metrics]
    return (
        ["", "| variance of a neuron, the same held-out contexts | median R² |", "|---|---|", *found] if found else []
    )


def _judged(metrics: dict[str, float]) -> list[str]:
    """Balanced accuracy by task and kind of description; nothing where nobody judged."""
    lines = []
    for task in ("detection", "fuzzing"):
        for group, label in JUDGED:
            key = f"judge/{task}/{group}"
            if key not in metrics:
                continue
            low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
            interval = "–" if low is None or high is None else f"{low:.3f} … {high:.3f}"
            lines.append(f"| {task} | {label} | {metrics[key]:.3f} | {interval} | {metrics[f'{key}_entries']:.0f} |")
    if not lines:
        return []
    return ["", "| judge | given | balanced accuracy | 95 % | entries |", "|" + "---|" * 5, *lines]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("trained", type=Path, nargs="*")
    parser.add_argument("--json", help="write this file beside the script and nothing else: a second model, a null")
    given = parser.parse_args()
    results = gather(given.dictionary, given.trained)
    if given.json:
        (HERE / given.json).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        return
    (HERE / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    figure(results, HERE / "figure.svg")
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    block = f"<!-- results -->\n{tables(results)}\n<!-- end of results -->"
    readme.write_text(re.sub(r"<!-- results -->.*<!-- end of results -->", lambda _: block, text, flags=re.S))


if __name__ == "__main__":
    main()
