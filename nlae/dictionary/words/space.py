"""Where words and contexts meet: unit inputs, centred and whitened, so that no loud direction decides alone.

x = Σ^−½ (h/‖h‖ − μ) with Σ = (1 − s) · covariance + s · (mean eigenvalue) · 1, all from training works; s is the
shrinkage. Shape suffixes: E entries, K contexts of an entry, M contexts, D width of the inputs.
"""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from nlae.functional.scaling import unit

_LEAST = 1e-6  # of the largest eigenvalue: what no context varies along is not blown up
_BLOCK = 512  # entries


class Space:
    """Contexts of one block in whitened spaces, from raw inputs by role; `train` gives mean and covariance.

    Of each panel those of the last shrinkage are kept.
    """

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        unit_MD = {role: unit(raw_MD) for role, raw_MD in inputs.items()}
        self.mean_D = unit_MD["train"].mean(0)
        self._centred = {role: value_MD.sub_(self.mean_D) for role, value_MD in unit_MD.items()}
        train_MD = self._centred["train"]
        self._value_D, self._vector_DD = torch.linalg.eigh((train_MD.T @ train_MD).double() / max(1, len(train_MD)))
        self._kept: dict[str, tuple[float, Tensor]] = {}

    @cached_property
    def directions(self) -> Tensor:
        """Centred training contexts scaled to length one, not whitened, float32 (M, D)."""
        return unit(self._centred["train"])

    def whitener(self, shrinkage: float) -> Tensor:
        """Σ^−½ with one shrinkage, 0 (none of it) to 1 (no whitening at all, but a scale); float32 (D, D)."""
        shrunk_D = (1 - shrinkage) * self._value_D.clamp_min(0) + shrinkage * self._value_D.mean()
        shrunk_D = shrunk_D.clamp_min(_LEAST * float(shrunk_D.max()))
        return ((self._vector_DD * shrunk_D.rsqrt()) @ self._vector_DD.T).float()

    def contexts(self, role: str, shrinkage: float) -> Tensor:
        """A panel in the whitened space, float32 (M, D)."""
        if role not in self._kept or self._kept[role][0] != shrinkage:
            self._kept.pop(role, None)
            self._kept[role] = (shrinkage, self._centred[role] @ self.whitener(shrinkage))
        return self._kept[role][1]

    def sums(self, row_EK: Tensor) -> Tensor:
        """Sum of each entry's training contexts before whitening, float32 (E, D); −1 counts for nothing."""
        train_MD = self._centred["train"]
        parts = [
            embedding_bag(row_eK.clamp_min(0), train_MD, mode="sum", per_sample_weights=(row_eK >= 0).float())
            for row_eK in row_EK.split(_BLOCK)
        ]
        return torch.cat(parts)

    def vectors(self, sum_ED: Tensor, shrinkage: float) -> Tensor:
        """Unit mean of each entry's contexts in the whitened space, float32 (E, D); zeros where it has none."""
        return unit(sum_ED @ self.whitener(shrinkage))
