"""Gathers the dictionary study from finished dictionaries: `summary.json`, figures by block, fifty entries, the tables.

Reads only; dictionaries of other models, layers or budgets are described as what they are.

    python experiments/dictionary/collect.py DICTIONARY [NAME=DICTIONARY …]

The first one is the study's own, the others stand beside it under their names. The figure needs the extra `studies`
and is the only thing here that does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

HERE = Path(__file__).parent
FIFTY = 50  # entries printed
FLAT = (
    "bag/pass_share", "bag/rotated_share", "bag/false_share", "bag/headline", "bag/beats_nearest", "bag/median_auroc",
    "skyline/median_auroc", "last_token/median_auroc", "lens/median_auroc", "embedding/detection",
    "embedding/detection_mismatched",
)  # fmt: skip
SHARES = (
    ("bag/pass_share", "neurons that pass"),
    ("bag/rotated_share", "rotated neurons that pass"),
    ("bag/headline", "**headline**: neurons minus rotated"),
    ("bag/false_share", "passes of mismatched words, over passes"),
    ("bag/beats_nearest", "own words beat the nearest other entry's"),
)
AREAS = (
    ("bag/median_auroc", "**the words**"),
    ("skyline/median_auroc", "wordless skyline: the entry's own vector"),
    ("last_token/median_auroc", "table of the last token"),
    ("nearest/median_auroc", "the nearest other entry's words"),
    ("token_list/median_auroc", "list of the tokens it fires on, same reader"),
    ("lens/median_auroc", "words of the unembedding, same reader"),
    ("rotated/median_auroc", "rotated neurons' words, their own reader"),
    ("mismatched/median_auroc", "mismatched words"),
)
JUDGED = (
    ("embedding/detection", "own words"),
    ("embedding/detection_token_list", "list of the tokens it fires on"),
    ("embedding/detection_mismatched", "mismatched words"),
    ("embedding/detection_passing", "own words, where they pass"),
    ("embedding/detection_token_list_passing", "list of tokens, where the words pass"),
    ("embedding/detection_mismatched_passing", "mismatched words, where the own pass"),
)


def results(folder: Path) -> dict[str, Any]:
    """What the tables and the figure are made of, without where it was made."""
    facts, manifest = (json.loads((folder / f"{name}.json").read_text()) for name in ("dictionary", "manifest"))
    kept = ("stage", "fingerprint", "commit", "wall_seconds", "wall_time", "peak_memory_bytes")
    left_out = ("mismatched", "token_lists")
    layers = json.loads((folder / "layers.json").read_text())
    return {
        "facts": facts,
        "manifest": {key: manifest[key] for key in kept if key in manifest},
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "layers": [{key: value for key, value in row.items() if key not in left_out} for row in layers],
    }


def summary(metrics: dict[str, float]) -> dict[str, float | None]:
    """The flat figures that scripts may rely on, each with its interval."""
    return {f"{name}{end}": metrics.get(f"{name}{end}") for name in FLAT for end in ("", "_low", "_high")}


def tables(held: dict[str, Any]) -> str:
    """Tables of the README."""
    names = list(held)
    parts = [_table(title, rows, held, names) for title, rows in (
        ("share of all held-out entries, unseen works", SHARES),
        ("AUROC, median over scored held-out entries", AREAS),
        ("detection by the embedding judge, mean", JUDGED),
    )]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _table(title: str, rows: tuple[tuple[str, str], ...], held: dict[str, Any], names: list[str]) -> str:
    lines = [f"| {title} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    found = [
        f"| {label} | " + " | ".join(_figure(held[name]["metrics"], key) for name in names) + " |"
        for key, label in rows
        if any(key in held[name]["metrics"] for name in names)
    ]
    return "\n".join(lines + found) if found else ""


def _figure(metrics: dict[str, float], key: str) -> str:
    if key not in metrics:
        return "–"
    low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
    return f"{metrics[key]:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def fifty(folder: Path, seed: int = 0) -> str:
    """Fifty entries of neurons B drawn blindly, each with three unseen contexts, for anyone to judge."""
    from nlae.dictionary import Dictionary

    dictionary = Dictionary.open(folder)
    rows = dictionary.frame().select("layer", "neuron", "sign", "split").filter(pl.col("split") == "B").collect()
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), min(FIFTY, len(rows)), replace=False))
    parts = [
        "Drawn by chance among neurons that no reader was fitted to; tokens in bold are at least half as strong as "
        "the window's strongest.\n"
    ]
    for layer, neuron, sign, _ in rows[chosen.tolist()].iter_rows():
        entry = dictionary.entry(layer, neuron, sign)
        auroc = "not scored" if entry.auroc is None else f"AUROC {entry.auroc:.2f}"
        verdict = f"{entry.grade}, {entry.label}" if entry.passes else f"does not pass ({entry.reason})"
        beside = f"nearest other {_two(entry.nearest)}, last token {_two(entry.last_token)}"
        parts.append(f"**{entry.name}** {entry.description or '(no words)'}  \n{auroc}; {verdict}; {beside}")
        parts += [f"- {_marked(seen.tokens, seen.levels)}" for seen in dictionary.unseen(entry)]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _marked(tokens: list[str], levels: list[int]) -> str:
    """A window as one line of Markdown."""
    least = max(1.0, 0.5 * max(levels, default=0))
    said = []
    for token, level in zip(tokens, levels, strict=True):
        text = "".join(f"\\{sign}" if sign in "*_`<>[]\\|#" else sign for sign in token.replace("\n", " ↵ "))
        bare = text.strip()
        said.append(text.replace(bare, f"**{bare}**", 1) if bare and level >= least else text)
    return "…" + "".join(said).replace("****", "").strip() + "…"


def draw(held: dict[str, Any], path: Path) -> None:
    """Shares that pass, and what the words are worth, by block of the first dictionary."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "nlae"
    from matplotlib import pyplot as plt

    layers = next(iter(held.values()))["layers"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    x = [row["layer"] for row in layers]

    def line(axis: Any, key: str, label: str, **style: Any) -> None:
        axis.plot(x, [np.nan if row.get(key) is None else row[key] for row in layers], label=label, **style)

    low, high = ([np.nan if row.get(f"pass_share_{end}") is None else row[f"pass_share_{end}"] for row in layers]
                 for end in ("low", "high"))  # fmt: skip
    left.fill_between(x, low, high, alpha=0.2, lw=0)
    line(left, "b_pass_share", "neurons", lw=2.2)
    line(left, "rotated_share", "rotated neurons", color="#b55", ls="--")
    line(left, "context_share", "label: context", color="#393", lw=1)
    line(left, "token_share", "label: token", color="#999", lw=1)
    left.set(xlabel="block", ylabel="share of entries that pass", ylim=(0, None))
    for key, label, style in (
        ("skyline", "wordless skyline", {"color": "#999"}),
        ("median_auroc", "the words", {"lw": 2.2}),
        ("last_token", "last-token table", {"color": "#c80", "ls": ":"}),
        ("nearest", "nearest other words", {"color": "#393", "lw": 1}),
        ("lens", "unembedding", {"color": "#95a", "lw": 1}),
        ("rotated", "rotated", {"color": "#b55", "ls": "--"}),
    ):
        line(right, key, label, **style)
    right.axhline(0.5, color="#ccc", lw=1)
    right.set(xlabel="block", ylabel="median AUROC, unseen works")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def write_tables(held: dict[str, Any], readme: Path) -> None:
    """Put the tables between their markers."""
    before, start, rest = readme.read_text(encoding="utf-8").partition("<!-- results -->\n")
    _, end, after = rest.partition("\n<!-- end of results -->")
    assert end, f"{readme} lacks a marker"
    readme.write_text(before + start + tables(held) + end + after, encoding="utf-8")


def main() -> None:
    """Write everything beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("others", nargs="*", help="NAME=DICTIONARY")
    given = parser.parse_args()
    named = {json.loads((given.dictionary / "dictionary.json").read_text())["target"]: given.dictionary}
    named |= {name: Path(path) for name, _, path in (text.partition("=") for text in given.others)}
    held = {name: results(folder) for name, folder in named.items()}
    (HERE / "results.json").write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    flat = summary(next(iter(held.values()))["metrics"])
    (HERE / "summary.json").write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    (HERE / "fifty.md").write_text(fifty(given.dictionary), encoding="utf-8")
    write_tables(held, HERE / "README.md")
    draw(held, HERE / "figure.svg")


if __name__ == "__main__":
    main()
