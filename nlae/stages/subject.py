"""The trained pair that a goal measures or a service uses, whatever kind of checkpoint it lies in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from nlae.model.autoencoder import Autoencoder
    from nlae.model.mixture import Mixture


def load_subject(context: StageContext) -> Autoencoder | Mixture:
    """A pair, a mixture, or of a mixture the one site that the config names.

    Raises:
        NlaeError: the checkpoint cannot be read, or the mixture has no such site.
    """
    from nlae.model.mixture import Mixture
    from nlae.model.mixture_files import load_trained
    from nlae.target import SiteMixture

    trained = load_trained(context.parents["subject"], device=context.device, precision=context.precision)
    if not isinstance(trained, Mixture):
        return trained
    site = context.build("site")
    return trained if isinstance(site, SiteMixture) else trained.at(site.resolve(trained.target.n_layers).name)
