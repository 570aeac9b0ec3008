"""What the page says of a finished dictionary of the same autoencoder: numbers beside their nulls, and where it lies.

Nothing is read but its metrics; the overview and the pages of single neurons are the dictionary's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nlae.dictionary.entries import METRICS, OVERVIEW
from nlae.dictionary.summary import NULLS, Table, percent, tables
from nlae.page.environment import number
from nlae.report.gather import StageFiles

COUNTS = ("entries", "scored", "passing")
RATES = (("pass_rate", "Entries"), *((f"pass_rate/{name}", label) for name, label in NULLS))
MEDIANS = (
    ("prediction", "The words"),
    ("prediction/skyline", "Skyline: the mean exemplar, without words"),
    ("prediction/last_token", "Last-token table"),
    ("prediction/token_list", "List of its top tokens"),
    ("prediction/shuffled", "Another entry's description"),
    ("prediction/decoy", "Its decoy"),
)


@dataclass(frozen=True)
class Summary:
    """A dictionary in a few lines.

    Attributes:
        counts: one sentence.
        rates: label and share that passes, the entries' own first.
        medians: label and median AUROC on documents that decided nothing.
        tables: what else was measured.
        path: of its folder, from the folder of all artifacts.
        href: of its overview, from the report's folder; None where that page is missing.
    """

    counts: str
    rates: list[tuple[str, str]]
    medians: list[tuple[str, str]]
    tables: list[Table]
    path: str
    href: str | None


def summarise(stage: StageFiles | None, folder: Path) -> Summary | None:
    """The summary of a dictionary for a page in `folder`; None where there is no dictionary."""
    if stage is None:
        return None
    metrics, page = stage.metrics, stage.folder / OVERVIEW
    return Summary(
        _counts(metrics),
        [(label, percent(metrics[key])) for key, label in RATES if key in metrics],
        [(label, number(metrics[key])) for key, label in MEDIANS if key in metrics],
        tables(metrics),
        Path(stage.folder.parent.name, stage.folder.name).as_posix(),
        Path(os.path.relpath(page, folder)).as_posix() if page.is_file() else None,
    )


def _counts(metrics: Mapping[str, float]) -> str:
    lacking = [key for key in COUNTS if key not in metrics]
    if lacking:
        return f"How many entries it has is not known: its {METRICS} lacks {', '.join(lacking)}."
    entries, scored, passing = (number(int(metrics[key])) for key in COUNTS)
    return f"{entries} entries, {scored} of them fire often enough to be scored, {passing} pass."
