"""Text to read activations from: where it comes from, how it is cut and split, and which positions are drawn.

Names are loaded on first use, so that naming a corpus in a config imports neither torch nor datasets.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.corpus.base import CorpusSource, Document
    from nlae.corpus.build import build_corpus
    from nlae.corpus.corpus import Corpus
    from nlae.corpus.files import FilesCorpus
    from nlae.corpus.hub import HubCorpus
    from nlae.corpus.stdlib import StdlibCorpus

__all__ = [
    "Corpus",
    "CorpusSource",
    "Document",
    "FilesCorpus",
    "HubCorpus",
    "StdlibCorpus",
    "build_corpus",
]

__getattr__ = lazily(
    __name__,
    {
        "Corpus": "corpus",
        "CorpusSource": "base",
        "Document": "base",
        "FilesCorpus": "files",
        "HubCorpus": "hub",
        "StdlibCorpus": "stdlib",
        "build_corpus": "build",
    },
)
