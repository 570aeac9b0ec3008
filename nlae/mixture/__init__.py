"""One autoencoder for several sites of a target: one verbalizer, one reconstructor, a view for each site.

Every view is an ordinary `Autoencoder`; what they share is the backbone with all roles' weights. Sites are told apart
by the verbalizer's prompt, which may name them, and by heads (and learned injection maps) of their own. Sampling sites
while training and reading several stores are left to `data` and the objectives.
"""

from nlae.mixture.data import MixtureBatch, MixtureDataModule
from nlae.mixture.files import load_trained
from nlae.mixture.mixture import Mixture
from nlae.mixture.roles import Reconstructors, Verbalizers

__all__ = ["Mixture", "MixtureBatch", "MixtureDataModule", "Reconstructors", "Verbalizers", "load_trained"]
