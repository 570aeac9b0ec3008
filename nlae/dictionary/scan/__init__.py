"""One pass over the corpus for all neurons of all layers: exemplars, moments and panels."""

from nlae.dictionary.scan.scanner import Scanner

__all__ = ["Scanner"]
