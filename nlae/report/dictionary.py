"""What the page says of a finished dictionary of the same target: numbers beside their nulls, and where it lies.

Nothing is read but its metrics; the overview and the pages of single neurons are the dictionary's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nlae.dictionary.browse.summary import Table, tables
from nlae.dictionary.entries import METRICS, OVERVIEW
from nlae.page.environment import number
from nlae.report.gather import StageFiles

COUNTS = ("entries", "scored", "passing")


@dataclass(frozen=True)
class Summary:
    """A dictionary in a few lines.

    Attributes:
        counts: one sentence.
        tables: what was measured of the whole, each beside its null.
        path: of its folder, from the folder of all artifacts.
        href: of its overview, from the report's folder; None where that page is missing.
    """

    counts: str
    tables: list[Table]
    path: str
    href: str | None


def summarise(stage: StageFiles | None, folder: Path) -> Summary | None:
    """The summary of a dictionary for a page in `folder`; None where there is no dictionary."""
    if stage is None:
        return None
    page = stage.folder / OVERVIEW
    return Summary(
        _counts(stage.metrics),
        tables(stage.metrics),
        Path(stage.folder.parent.name, stage.folder.name).as_posix(),
        Path(os.path.relpath(page, folder)).as_posix() if page.is_file() else None,
    )


def _counts(metrics: Mapping[str, float]) -> str:
    lacking = [key for key in COUNTS if key not in metrics]
    if lacking:
        return f"How many entries it has is not known: its {METRICS} lacks {', '.join(lacking)}."
    entries, scored, passing = (number(int(metrics[key])) for key in COUNTS)
    return f"{entries} entries, {scored} of them fire often enough to be scored, {passing} pass."
