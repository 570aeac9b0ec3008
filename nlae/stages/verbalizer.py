"""Goal `verbalizer`: it learns from the teacher's words alone; the folder holds one half of a checkpoint."""

import logging
from typing import TYPE_CHECKING, Any

from nlae.pipeline.context import StageContext
from nlae.stages.training import check as check

if TYPE_CHECKING:
    from nlae.activations.datamodule import ActivationDataModule

VERSION = 1
log = logging.getLogger(__name__)


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.stages.training import fit_half

    return fit_half(context, "verbalizer", mean_gap)


def mean_gap(verbalizer: Any, data: "ActivationDataModule") -> dict[str, float]:
    """The start-up probe of the injection, its mean over the sites that are validated."""
    import numpy as np

    from nlae.training import zero_shot_gap

    if len(verbalizer.by_name) > 1 and not verbalizer.prompt.names_site:
        log.warning(
            "prompt.verbalizer does not say {site}: sites can be told apart by their vectors alone; prompt=site"
        )
    gaps = [zero_shot_gap(verbalizer.at(site), rows) for site, rows in data.validation.items()]
    return {"probe/gap": float(np.mean(gaps))}
