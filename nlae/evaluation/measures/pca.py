"""A few numbers in place of words."""

from __future__ import annotations

from collections.abc import Sequence

from nlae.errors import NlaeError
from nlae.evaluation.controls import principal_directions
from nlae.evaluation.record import EvaluationRecord


class PCA:
    """`control/pca_k`: k principal components of the activation itself; k above the width keeps everything.

    Args:
        components: numbers kept, one control for each.
        covariance_rows: training rows that the components are taken from, at most.
    """

    def __init__(self, components: Sequence[int] = (1, 4, 16, 64), covariance_rows: int = 50_000) -> None:
        self.components = tuple(sorted(int(k) for k in components))
        if not self.components or self.components[0] < 1:
            raise NlaeError(
                f"evaluation.measures.pca.components must list numbers of 1 or more, not {list(components)}"
            )
        self.covariance_rows = covariance_rows

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        axes_KD = principal_directions(record.training_rows, max(self.components), self.covariance_rows)
        for k in self.components:
            rebuilt_ND = record.training.rebuilt(record.board.truth_ND, axes_KD[:k])
            record.put_control(f"pca_{k}", record.board.error(rebuilt_ND))
