"""One pass over the corpus for all neurons of all layers: exemplars, moments and panels.

Names are loaded on first use, so that naming a scanner imports no torch.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.dictionary.scan.folder import Scan
    from nlae.dictionary.scan.scanner import Scanner

__all__ = ["Scan", "Scanner"]

__getattr__ = lazily(__name__, {"Scan": "folder", "Scanner": "scanner"})
