"""Evaluation of several sites: one after another, each with its own controls and interval.

A site's figures are kept as soon as they are there, so that a run that was killed goes on with the next one. The quote
frontier, matching and other costly measures are left out: they take minutes a site; one site alone is given them.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from nlae.activations import ActivationStore
from nlae.evaluation import per_neuron
from nlae.evaluation.evaluation import Evaluation
from nlae.evaluation.record import EvaluationRecord
from nlae.files.arrow import write_text
from nlae.files.foreign import parse_json
from nlae.model.autoencoder import Autoencoder
from nlae.terminal.progress import Bar
from nlae.tracking import NullRun, Run

SITES = "sites"
SHOWN = (
    "fve",
    "fve_low",
    "fve_high",
    "fve_calibrated",
    "control/shuffled",
    "control/mean",
    "control/last_token",
    "control/word_shuffle",
    "raw_r2",
)
SAMPLES = 4


def evaluate_sites(
    evaluation: Evaluation,
    autoencoder: Autoencoder,
    stores: Mapping[str, ActivationStore],
    folder: Path,
    *,
    seed: int = 0,
    run: Run | None = None,
) -> dict[str, float]:
    """Measure sites of `autoencoder` on the test split.

    Args:
        evaluation: its measures, but for the costly ones, on `site_rows` test rows at each site.
        autoencoder: what is measured.
        stores: activations of the sites that are measured, by name.
        folder: gets `sites.parquet` (a line a site), `samples.json`, `notes.json`, and `neurons.parquet` where there
            are neurons.
        seed: of the sampling noise of each row.
        run: where a table goes.

    Returns:
        `<figure>/<site>` for every site, and the plain figures' means over sites and over the sites of each kind.

    Raises:
        NlaeError: a site has no test or training rows.
    """
    by_site: dict[str, dict[str, float]] = {}
    noted: dict[str, list[str]] = {}
    samples: dict[str, list[dict[str, object]]] = {}
    with Bar("evaluate", len(stores)) as bar:
        for name, store in stores.items():
            place = folder / SITES / name
            if not (place / "site.json").is_file():
                record = evaluation.record(autoencoder.at(name), store, place, seed=seed, several=True)
                _measure(evaluation, record, place)
            found = parse_json((place / "site.json").read_text(encoding="utf-8"))
            by_site[name] = {key: math.nan if value is None else value for key, value in found["metrics"].items()}
            samples[name] = found["samples"]
            for note in found["notes"]:
                noted.setdefault(note, []).append(name)
            bar.advance(note=f"{name} fve {by_site[name]['fve']:.2f}")
    table = pl.DataFrame(
        [{"site": name} | {key: figures.get(key) for key in SHOWN} for name, figures in by_site.items()],
        infer_schema_length=None,
    )
    table.write_parquet(folder / "sites.parquet")
    parts = [folder / SITES / name / per_neuron.FILE for name in stores]
    frames = [pl.read_parquet(part) for part in parts if part.is_file()]
    if frames:
        per_neuron.write(pl.concat(frames, how="diagonal").sort("layer", "neuron"), folder)
    notes = [note if len(at) == len(by_site) else f"{', '.join(at)}: {note}" for note, at in noted.items()]
    for name, content in (("samples.json", {"by_site": samples}), ("notes.json", notes)):
        write_text(folder / name, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    metrics = _together(by_site)
    run = run or NullRun()
    run.table("sites", table.columns, [list(row) for row in table.rows()])
    run.summary(metrics)
    shutil.rmtree(folder / SITES)
    return metrics


def _measure(evaluation: Evaluation, record: EvaluationRecord, place: Path) -> None:
    """One site; written to `place`, `site.json` last."""
    place.mkdir(parents=True, exist_ok=True)
    evaluation.measure(record, several=True)
    board, main_N = record.board, record.main_N
    shown = [i for i, main in enumerate(main_N.tolist()) if main][:SAMPLES]
    decode = record.autoencoder.target.tokenizer.decode  # type: ignore[attr-defined]
    samples = [
        {
            "row": int(record.rows.row[i]),
            "context": str(decode(record.rows.context_ids(i))),
            "explanation": record.texts[i],
        }
        for i in shown
    ]
    figures = {key: value if math.isfinite(value) else None for key, value in board.metrics.items()}
    content = {"metrics": figures, "notes": board.notes, "samples": samples}
    write_text(place / "site.json", json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def _together(by_site: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """All figures under their sites' names, and means of those that are no interval's ends, where they are defined."""
    found = {f"{key}/{site}": value for site, figures in by_site.items() for key, value in figures.items()}
    kinds = dict.fromkeys(site.partition(".")[0] for site in by_site)
    for suffix, sites in (
        ("", list(by_site)),
        *((f"/{k}", [s for s in by_site if s.startswith(f"{k}.")]) for k in kinds),
    ):
        keys = dict.fromkeys(key for site in sites for key in by_site[site] if not key.endswith(("_low", "_high")))
        for key in keys:
            known = [value for site in sites if math.isfinite(value := by_site[site].get(key, math.nan))]
            found[key + suffix] = float(np.mean(known)) if known else math.nan
    return found | {"sites": float(len(by_site))}
