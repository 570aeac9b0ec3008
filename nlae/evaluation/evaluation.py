"""The whole evaluation of an autoencoder on the held-out test split: writes a folder, returns numbers.

Explanations of a proportional sample of test rows and their figure come first, then the measures by name, in their
order. Keys that cannot be had (an interval from too few source works, an FVE without the checkpoint's mean) are left
out of the metrics, and `notes.json` says why. A judge of the claims is left out.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from nlae.activations import ActivationStore, Descriptions
from nlae.errors import NlaeError
from nlae.evaluation import output
from nlae.evaluation.base import Contexts, RoundTrip
from nlae.evaluation.headline import headline
from nlae.evaluation.measures.base import Measure
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.round_trip import FOLDER as TEXT_FOLDER
from nlae.tracking import NullRun, Run

TABLE_ROWS = 40
SUBJECTS = ("reinforce", "warmstart")


class Evaluation:
    """What is measured, on how many rows; the config node `evaluation`.

    Args:
        measures: by name, run in this order after the headline; None leaves one out.
        subject: stage whose autoencoder is measured; read by the pipeline.
        max_rows: test rows at or after the site's first position; None takes all. Early rows get a quarter as many.
        fit_rows: validation rows, and training rows, that measures fit something on.
        site_rows: where there are several sites, test rows at each, and rows for what is fitted there.
        resamples: of the bootstrap.
        min_clusters: with fewer source works there is no interval.
        sample_seed: draws rows, pairings and resamples; the same for all runs that are to be compared.
        batch_size: rows verbalised or read together.
    """

    def __init__(
        self,
        measures: Mapping[str, Measure | None],
        subject: str = "reinforce",
        max_rows: int | None = 2000,
        fit_rows: int = 256,
        site_rows: int = 48,
        resamples: int = 2000,
        min_clusters: int = 30,
        sample_seed: int = 0,
        batch_size: int = 64,
    ) -> None:
        if subject not in SUBJECTS:
            raise NlaeError(f"evaluation.subject is {subject!r}; choose one of {', '.join(SUBJECTS)}")
        least = {"fit_rows": (fit_rows, 2), "site_rows": (site_rows, 2), "resamples": (resamples, 1)}
        least |= {"batch_size": (batch_size, 1), "max_rows": (2 if max_rows is None else max_rows, 2)}
        for name, (given, minimum) in least.items():
            if given < minimum:
                raise NlaeError(f"evaluation.{name} is {given}; it must be at least {minimum}")
        self.measures = {name: measure for name, measure in measures.items() if measure is not None}
        given_by_name: Mapping[str, object] = self.measures  # from a config anything can come
        for name, measure in given_by_name.items():
            if not callable(measure):
                found = type(measure).__name__
                raise NlaeError(f"evaluation.measures.{name} is a {found}: it needs a _target_ that is callable")
        self.max_rows, self.fit_rows, self.site_rows = max_rows, fit_rows, site_rows
        self.resamples, self.min_clusters, self.sample_seed = resamples, min_clusters, sample_seed
        self.batch_size = batch_size

    def __call__(
        self,
        autoencoder: RoundTrip,
        store: ActivationStore,
        folder: Path,
        *,
        corpus: Contexts | None = None,
        descriptions: Descriptions | None = None,
        seed: int = 0,
        extraction: Mapping[str, float] | None = None,
        run: Run | None = None,
    ) -> dict[str, float]:
        """Measure `autoencoder` on the test split of `store`.

        Args:
            autoencoder: ours or a foreign one, at one site.
            store: activations of the same target and site.
            folder: gets `rows.parquet`, `samples.json`, `notes.json` and what the measures write.
            corpus: for longer contexts in the sheet for people; None shows the store's last 64 tokens.
            descriptions: the teacher's texts; None leaves `control/teacher` out.
            seed: of the sampling noise of each row.
            extraction: metrics of the extraction, for `extraction_rate`.
            run: where a table and the figures go.

        Returns:
            Flat numbers; see `Scoreboard` for the intervals' keys.

        Raises:
            NlaeError: there are no test or training rows.
        """
        record = self.record(autoencoder, store, folder, seed=seed, corpus=corpus, descriptions=descriptions)
        run, board = run or NullRun(), record.board
        self.measure(record)
        if extraction and "extraction_rate" in extraction:
            board.put("extraction_rate", extraction["extraction_rate"])
        table = output.row_table(record)
        output.write(folder, table, board.notes)
        shown = output.unselected(table, TABLE_ROWS, self.sample_seed)
        run.table("explanations", shown.columns, [list(row) for row in shown.rows()])
        run.summary(board.metrics)
        shutil.rmtree(folder / TEXT_FOLDER, ignore_errors=True)
        return dict(board.metrics)

    def record(
        self,
        autoencoder: RoundTrip,
        store: ActivationStore,
        folder: Path,
        *,
        seed: int,
        several: bool = False,
        corpus: Contexts | None = None,
        descriptions: Descriptions | None = None,
    ) -> EvaluationRecord:
        """The rows that are measured; with `several` sites only `site_rows` of them.

        Raises:
            NlaeError: the autoencoder has several sites and none is chosen.
        """
        view = getattr(autoencoder, "at", None)
        return EvaluationRecord(
            autoencoder if view is None else view(),
            store,
            folder,
            seed,
            corpus,
            descriptions,
            max_rows=self.site_rows if several else self.max_rows,
            fit_rows=self.site_rows if several else self.fit_rows,
            sample_seed=self.sample_seed,
            resamples=self.resamples,
            min_clusters=self.min_clusters,
            batch_size=self.batch_size,
        )

    def measure(self, record: EvaluationRecord, *, several: bool = False) -> None:
        """Put the headline and what every measure finds; with `several` sites, all but the costly ones."""
        headline(record)
        for name, measure in self.measures.items():
            if not (several and getattr(measure, "costly", False)):
                _run(name, measure, record)


def _run(name: str, measure: Measure, record: EvaluationRecord) -> None:
    """Measure, and see to it that no figure of another measure is gone and that columns fit the rows.

    Raises:
        NlaeError: naming the measure.
    """
    before = dict(record.board.metrics)
    measure(record)
    now, count = record.board.metrics, len(record.rows)
    taken = [key for key, value in before.items() if now.get(key) != value and not math.isnan(value)]
    if taken:
        raise NlaeError(
            f"evaluation.measures.{name} puts another number at {', '.join(taken)}: give it a key of its own"
        )
    for key, values in (*record.columns.items(), *record.errors.items()):
        if len(values) != count:
            raise NlaeError(
                f"evaluation.measures.{name}: column {key} has {len(values)} values for {count} measured rows"
            )
