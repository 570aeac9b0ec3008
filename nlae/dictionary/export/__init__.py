"""The dictionary in formats that others read: Neuronpedia's rows and delphi's latent cache."""

from nlae.dictionary.export.delphi import export_delphi, read_delphi
from nlae.dictionary.export.neuronpedia import export_neuronpedia

__all__ = ["export_delphi", "export_neuronpedia", "read_delphi"]
