"""The dictionary in a format that others read: Neuronpedia's rows.

delphi's latent cache is left out on purpose: its samplers take every token that is not listed for silent, and a
dictionary keeps an entry's strongest contexts and a few windows, so that each context of another entry would count as
one in which this entry does not fire. Who scores with delphi lets it scan the model itself, and takes the explanations.
"""

from nlae.dictionary.export.neuronpedia import export_neuronpedia

__all__ = ["export_neuronpedia"]
