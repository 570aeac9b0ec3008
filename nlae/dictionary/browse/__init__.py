"""Pages of a dictionary: a local server for all of them, and an overview as one file.

The server answers on this machine only and knows one dictionary, read on demand. Left out: accounts, writing, and
anything that needs a model.
"""

from nlae.dictionary.browse.app import make_app
from nlae.dictionary.browse.overview import write_overview
from nlae.dictionary.browse.server import listen, serve

__all__ = ["listen", "make_app", "serve", "write_overview"]
