"""Puts the report together: reads the stages' folders, lays out the charts, renders one page.

The page repeats nothing that a reader must trust blindly: every sentence about the numbers is derived from intervals in
`metrics.json`, and the folders, fingerprints and settings that made them stand at the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nlae.page import render, write
from nlae.page.environment import number
from nlae.report import figures, numbers, sites
from nlae.report.dictionary import summarise
from nlae.report.examples import examples as drawn
from nlae.report.gather import StageFiles, gather, plain_path, read_json
from nlae.tracking import hide, redact

FILE = "report.html"
RAW_FORM = (
    "This target has no chat template: the verbalizer is asked in the prompt's raw form, as plain text to be continued."
)
SITES = {
    "resid": "residual stream after block {}",
    "mlp_in": "MLP input of block {}",
    "mlp_out": "MLP output of block {}",
    "mlp_neurons": "MLP neurons of block {}",
}


def build_report(
    stages: Mapping[str, Path],
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    run: Any = None,
    command: str | None = None,
    chat_template: bool = True,
    examples: int = 4,
    seed: int = 0,
    smoke: bool = False,
) -> dict[str, float]:
    """Write `report.html` into `folder`.

    Args:
        stages: finished folders by stage name; `evaluate` is needed, the rest is shown where it is there, and so is a
            `dictionary` of the same scan.
        folder: gets the page.
        config: the resolved config; the evaluation's own when None.
        run: tracking run that the page is logged to.
        command: what reproduces it, as typed.
        chat_template: whether the target's tokenizer has one; without it the prompt's raw form was used.
        examples: explanations shown from each of the best, middle and worst tenth.
        seed: of the draw among them.
        smoke: whether to call the page a smoke run, whose numbers mean nothing.

    Returns:
        The headline's numbers.

    Raises:
        NlaeError: there is no finished evaluation, or a file of a stage is broken.
    """
    found = gather(stages)
    evaluation = found["evaluate"]
    metrics = evaluation.metrics
    config = redact(config or evaluation.config)
    page = render(
        "report.html.j2",
        Path(__file__).parent / "templates",
        **_story(found, config, chat_template),
        **_figures(found),
        groups=drawn(evaluation.folder / "rows.parquet", examples, seed),
        smoke=smoke,
        **_lineage(found, config),
        dictionary=summarise(found.get("dictionary"), folder),
        command=None if command is None else hide(command),
    )
    path = write(folder / FILE, page)
    if run is not None:
        run.html("report", path)
    return {key: metrics[key] for key in ("fve", "fve_low", "fve_high") if key in metrics}


def _story(found: Mapping[str, StageFiles], config: Mapping[str, Any], chat_template: bool) -> dict[str, Any]:
    """What is said in words, each sentence from numbers."""
    evaluation = found["evaluate"]
    metrics = sites.over_all(evaluation.metrics)
    places = sites.layers(evaluation.metrics)
    claims = sites.verdict(evaluation.metrics) if places else [*numbers.verdict(metrics), numbers.quote_line(metrics)]
    return {
        "title": _title(config),
        "site": _site(config),
        "lede": _lede(metrics, found, sum(len(layers) for layers in places.values())),
        "own": numbers.headline(metrics),
        "extras": _extras(metrics),
        "verdict": [line for line in claims if line],
        "notes": [*_notes(evaluation), *([] if chat_template else [RAW_FORM])],
        "prompt": _prompt(config),
    }


def _figures(found: dict[str, StageFiles]) -> dict[str, Any]:
    """Charts and tables."""
    evaluation = found["evaluate"]
    metrics = sites.over_all(evaluation.metrics)
    bars = numbers.bars(metrics)
    frontier = read_json(evaluation.folder / "frontier.json", None)
    return {
        "controls": figures.controls(bars) if bars else None,
        "kinds": sites.tables(evaluation.metrics),
        "frontier": figures.frontier(frontier, metrics),
        "template_tokens": (frontier or {}).get("template_tokens"),
        "learning": figures.held_out(found),
        "curves": figures.curves(found),
        "rows": numbers.rows(metrics),
    }


def _lineage(found: Mapping[str, StageFiles], config: Mapping[str, Any]) -> dict[str, Any]:
    """Folders, fingerprints, versions and settings that made the numbers."""
    manifest = found["evaluate"].manifest
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100) if config else ""
    return {
        "lineage": [_line(stage) for stage in found.values() if stage.name != "report"],
        "versions": manifest.get("versions") or {},
        "commit": manifest.get("commit"),
        "config": plain_path(text),
    }


def _notes(evaluation: StageFiles) -> list[str]:
    found = [str(note) for note in read_json(evaluation.folder / "notes.json", [])]
    return [note[:1].upper() + note[1:] for note in found]


def _title(config: Mapping[str, Any]) -> str:
    target = config.get("target") or {}
    name = target.get("name") or target.get("model") or "a language model"
    return plain_path(str(name)).removeprefix("…/")


def _site(config: Mapping[str, Any]) -> str:
    site = config.get("site") or {}
    if site.get("layers"):
        return f"{', '.join(site['kinds'])} of {len(site['layers'])} blocks"
    return SITES.get(str(site.get("kind")), "block {}").format(site.get("layer", "?"))


def _lede(metrics: dict[str, float], stages: Mapping[str, StageFiles], sites: int) -> str:
    rows, works = metrics.get("rows"), metrics.get("clusters")
    held = f"{number(int(rows))} held-out activations" if rows else "held-out activations"
    held += f" from {number(int(works))} source works" if works else ""
    held += f" at each of {sites} sites" if sites else ""
    how = "after joint reinforcement" if "reinforce" in stages else "after the warm start"
    if "reinforce" not in stages and "warmstart" not in stages:
        how = "as it was given"
    return (
        f"A verbalizer put {held} of this model into words, and a reconstructor rebuilt each one from the words alone. "
        f"This page says how much survived, {how}, and what it has to be compared with."
    )


def _extras(metrics: dict[str, float]) -> list[numbers.Figure]:
    keys = ("fve_calibrated", "raw_r2", "closed_rate", "explanation_tokens_mean", "rank_median")
    return [found for key in keys if (found := numbers.figure(metrics, key)) and math.isfinite(found.value)][:4]


def _prompt(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    prompt = config.get("prompt") or {}
    names = (("verbalizer", "Verbalizer"), ("reconstructor", "Reconstructor"), ("text", "Asked of a teacher"))
    return [(title, str(prompt[key])) for key, title in names if prompt.get(key)]


def _line(stage: StageFiles) -> dict[str, Any]:
    seconds = stage.manifest.get("wall_seconds")
    return {
        "name": stage.name,
        "fingerprint": stage.fingerprint,
        "wall": None if seconds is None else _span(float(seconds)),
        "started": stage.manifest.get("started") or "",
    }


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
