"""The round trip after one factor that shrinks every reading to the mean."""

from __future__ import annotations

from nlae.evaluation.record import EvaluationRecord
from nlae.functional.reconstruction import fit_shrink, shrink, unit


class Calibrated:
    """`fve_calibrated`: FVE of μ + s(ĥ' − μ), where s in [0, 1] is the least-squares factor of validation rows.

    Their explanations are written and read like those of the test rows. `shrink_factor` is s.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, statistics = record.board, record.statistics
        if statistics is None:
            return
        rows = record.choose("val", record.fit_rows)
        if not len(rows):
            board.note("no fve_calibrated: the corpus has no validation rows; raise corpus.val_share")
            return
        pred_ND = record.read([one.text for one in record.write(rows, "validation")], "validation")
        mean_D = statistics.mean_D.cpu()
        factor = fit_shrink(pred_ND, unit(rows.all()), mean_D)
        board.put("shrink_factor", factor)
        board.add("fve_calibrated", board.error(shrink(record.pred_ND, mean_D, factor)), record.main_N)
