"""The dictionary: what every neuron of a model stands for, each entry with its evidence, or an honest "no".

Names are loaded on first use, so that naming a builder imports no torch.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.dictionary.builder import DictionaryBuilder
    from nlae.dictionary.entries import Context, Dictionary, Entry, write_dictionary

__all__ = ["Context", "Dictionary", "DictionaryBuilder", "Entry", "write_dictionary"]

__getattr__ = lazily(
    __name__,
    {"DictionaryBuilder": "builder"} | dict.fromkeys(("Context", "Dictionary", "Entry", "write_dictionary"), "entries"),
)
