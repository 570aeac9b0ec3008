"""Text to read activations from: where it comes from, how it is cut and split, and which positions are drawn.

Names are loaded on first use, so that naming a corpus in a config imports neither torch nor datasets.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlae.corpus.build import build_corpus
    from nlae.corpus.corpus import Corpus, RowColumns
    from nlae.corpus.files import FilesCorpus
    from nlae.corpus.hub import HubCorpus
    from nlae.corpus.source import CorpusSource, Document
    from nlae.corpus.stdlib import StdlibCorpus

__all__ = [
    "Corpus",
    "CorpusSource",
    "Document",
    "FilesCorpus",
    "HubCorpus",
    "RowColumns",
    "StdlibCorpus",
    "build_corpus",
]

_HOME = {
    "Corpus": "corpus",
    "CorpusSource": "source",
    "Document": "source",
    "FilesCorpus": "files",
    "HubCorpus": "hub",
    "RowColumns": "corpus",
    "StdlibCorpus": "stdlib",
    "build_corpus": "build",
}


def __getattr__(name: str) -> Any:
    """Import the module that defines `name` the first time it is asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
