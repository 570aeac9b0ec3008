"""Goal `reconstructor`: it learns from the teacher's words alone; the folder holds one half of a checkpoint."""

from nlae.pipeline.context import StageContext
from nlae.stages.training import check as check

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.stages.training import fit_half

    return fit_half(context, "reconstructor", lambda module, data: {})
