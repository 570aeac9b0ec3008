"""The dictionary: what every neuron of a model stands for, each entry with its evidence, or an honest "no"."""

from nlae.dictionary.entries import Context, Dictionary, Entry, write_dictionary

__all__ = ["Context", "Dictionary", "Entry", "write_dictionary"]
