"""How a vector enters the verbalizer: what a config says of it, checked before it is used."""

from __future__ import annotations

import dataclasses

from nlae.errors import NlaeError
from nlae.functional.injection import MODES

MAPS = ("down_projection", "learned")


@dataclasses.dataclass(frozen=True)
class InjectionSettings:
    """How a vector enters the verbalizer.

    Attributes:
        mode: `replace`, `add` (norm-matched) or `affine` (a learned map, then `replace`).
        point: `embedding`, or the index of a block whose output is written into.
        scale: norm of the injected vector; None takes the site's alpha (the 75th percentile of residual norms).
        map: how a vector that is wider than the residual stream gets its width: `down_projection` (what the target's
            own, without its bias, makes of it) or `learned` (a linear map that starts there). Others need no map.
    """

    mode: str = "replace"
    point: str | int = "embedding"
    scale: float | None = None
    map: str = "down_projection"

    def check(self, n_layers: int) -> None:
        """Raises: NlaeError, when mode or point do not exist."""
        if self.mode not in MODES:
            raise NlaeError(f"verbalizer.injection.mode is {self.mode!r}; choose one of {', '.join(MODES)}")
        if self.point != "embedding" and not (isinstance(self.point, int) and 0 <= self.point < n_layers):
            raise NlaeError(
                f"verbalizer.injection.point is {self.point!r}; choose 'embedding' or a block 0 … {n_layers - 1}"
            )
        if self.map not in MAPS:
            raise NlaeError(f"verbalizer.injection.map is {self.map!r}; choose one of {', '.join(MAPS)}")
