"""The autoencoder that a goal measures or a service uses, whatever kind of checkpoint it lies in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlae.pipeline.context import StageContext

if TYPE_CHECKING:
    from nlae.model.autoencoder import Autoencoder


def load_subject(context: StageContext) -> tuple[Autoencoder, tuple[str, ...]]:
    """The autoencoder, and the names of those of its sites that the config asks for.

    Raises:
        NlaeError: the checkpoint cannot be read, or has no such site.
    """
    from nlae.model.autoencoder import Autoencoder

    autoencoder = Autoencoder.load(context.parents["subject"], device=context.device, precision=context.precision)
    wanted = context.build("site").resolve(autoencoder.target.n_layers).sites
    return autoencoder, tuple(autoencoder.at(site.name).site.name for site in wanted)
