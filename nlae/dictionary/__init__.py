"""The dictionary: what every neuron of a model stands for, each entry with its evidence, or an honest "no".

What lies on disk is loaded on first use, so that naming a builder imports no polars.
"""

from typing import TYPE_CHECKING

from nlae.dictionary.builder import DictionaryBuilder
from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.dictionary.entries import Context, Dictionary, Entry, write_dictionary

__all__ = ["Context", "Dictionary", "DictionaryBuilder", "Entry", "write_dictionary"]

__getattr__ = lazily(__name__, dict.fromkeys(("Context", "Dictionary", "Entry", "write_dictionary"), "entries"))
