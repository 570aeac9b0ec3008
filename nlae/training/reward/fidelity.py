"""How well the reconstructor rebuilds the activation from the explanation alone."""

from __future__ import annotations

from torch import Tensor

from nlae.errors import NlaeError
from nlae.training.reward.base import Record


class Fidelity:
    """Minus the squared error of the round trip, or minus its logarithm.

    Args:
        form: `mse` (writes better at equal FVE) or `log`.
        weight: factor.
    """

    def __init__(self, form: str = "mse", weight: float = 1.0) -> None:
        if form not in ("mse", "log"):
            raise NlaeError(f"reward.terms.fidelity.form is {form!r}; choose 'mse' or 'log'")
        self.form, self.weight = form, weight

    def __call__(self, record: Record) -> Tensor:
        """See `RewardTerm`."""
        error_B = record.error_B.float()
        return -self.weight * (error_B if self.form == "mse" else error_B.clamp_min(1e-6).log())
