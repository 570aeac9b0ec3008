"""Where words and contexts meet: unit inputs, centred and whitened, so that no loud direction decides alone.

x = Σ^−½ (h/‖h‖ − μ) with Σ = (1 − s) · covariance + s · (mean eigenvalue) · 1, all from training works; s is the
shrinkage. Shape suffixes: M contexts, D width of the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.functional.scaling import unit

_LEAST = 1e-6  # of the largest eigenvalue: what no context varies along is not blown up


@dataclass(frozen=True)
class Spectrum:
    """Mean and covariance of unit inputs.

    Attributes:
        mean_D: of the unit inputs, float32.
        value_D: eigenvalues of the covariance, ascending, float64.
        vector_DD: eigenvectors in columns, float64.
    """

    mean_D: Tensor
    value_D: Tensor
    vector_DD: Tensor

    @classmethod
    def of(cls, inputs_MD: Tensor) -> Spectrum:
        """Of raw inputs at the contexts of training works."""
        unit_MD = unit(inputs_MD.float())
        mean_D = unit_MD.mean(0)
        centred_MD = unit_MD - mean_D
        value_D, vector_DD = torch.linalg.eigh((centred_MD.T @ centred_MD).double() / max(1, len(centred_MD)))
        return cls(mean_D, value_D, vector_DD)

    def space(self, shrinkage: float) -> Space:
        """Whitening with one shrinkage, 0 (none of it) to 1 (no whitening at all, but a scale)."""
        shrunk_D = (1 - shrinkage) * self.value_D.clamp_min(0) + shrinkage * self.value_D.mean()
        shrunk_D = shrunk_D.clamp_min(_LEAST * float(shrunk_D.max()))
        return Space(self.mean_D, ((self.vector_DD * shrunk_D.rsqrt()) @ self.vector_DD.T).float())


@dataclass(frozen=True)
class Space:
    """A whitened space.

    Attributes:
        mean_D: of the unit inputs.
        whitener_DD: Σ^−½, float32.
    """

    mean_D: Tensor
    whitener_DD: Tensor

    def __call__(self, inputs_MD: Tensor) -> Tensor:
        """Raw inputs in the whitened space, float32 (M, D)."""
        return (unit(inputs_MD.float()) - self.mean_D) @ self.whitener_DD
