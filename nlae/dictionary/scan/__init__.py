"""One pass over the corpus for all neurons of all layers: exemplars, moments and panels.

Names are loaded on first use, so that building settings imports no torch.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.dictionary.scan.folder import Exemplars, Moments, Panel, Scan
    from nlae.dictionary.scan.neurons import neurons_of
    from nlae.dictionary.scan.output_side import promoted
    from nlae.dictionary.scan.panels import roles
    from nlae.dictionary.scan.scanning import scan
    from nlae.dictionary.scan.settings import ScanSettings

__all__ = [
    "Exemplars",
    "Moments",
    "Panel",
    "Scan",
    "ScanSettings",
    "neurons_of",
    "promoted",
    "roles",
    "scan",
]

__getattr__ = lazily(
    __name__,
    {
        "Exemplars": "folder",
        "Moments": "folder",
        "Panel": "folder",
        "Scan": "folder",
        "ScanSettings": "settings",
        "neurons_of": "neurons",
        "promoted": "output_side",
        "roles": "panels",
        "scan": "scanning",
    },
)
