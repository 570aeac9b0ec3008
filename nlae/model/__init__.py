"""The method: one base, a verbalizer that writes what a vector says, a reconstructor that rebuilds it, their files.

Names are loaded on first use, so that naming a class in a config imports no torch.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.model.autoencoder import Autoencoder
    from nlae.model.reconstructor import Reconstructor
    from nlae.model.verbalizer import Verbalizer

__all__ = ["Autoencoder", "Reconstructor", "Verbalizer"]

__getattr__ = lazily(
    __name__, {"Autoencoder": "autoencoder", "Reconstructor": "reconstructor", "Verbalizer": "verbalizer"}
)
