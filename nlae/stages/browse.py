"""Service `browse`: the pages of a finished dictionary on this machine; and the same questions on the terminal.

Like `explain` it writes to standard output: an address or a table is what was asked for. It answers until interrupted.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from nlae.dictionary.entries import Dictionary
from nlae.terminal.plain import plain

VERSION = 1
MOST = 20  # answers on the terminal
log = logging.getLogger(__name__)


def run(folder: Path, port: int = 0) -> None:
    """Serve the pages of one dictionary until interrupted.

    Args:
        folder: a finished dictionary.
        port: 0 takes any that is free.

    Raises:
        NlaeError: no dictionary there, or the port is taken.
    """
    from rich.console import Console

    from nlae.dictionary.browse import listen, make_app, serve
    from nlae.dictionary.browse.server import address

    app = make_app(Dictionary.open(folder))
    opened = listen(port)
    log.info("reading the dictionary")
    app.state.pages.warm()
    say = partial(Console().print, markup=False, highlight=False, soft_wrap=True)
    say(f"Dictionary: {address(opened)}   (this machine only; Ctrl-C ends it)")
    serve(app, opened)


def answer(folder: Path, query: str, open_with: str) -> None:
    """Print the entries that match, passing ones first, each score beside its null.

    Args:
        folder: a finished dictionary.
        query: words, or `layer.neuron`.
        open_with: command that opens the pages, for the hint.

    Raises:
        NlaeError: no dictionary there.
    """
    from rich.console import Console

    from nlae.dictionary.query import Finder, Found, legend, named, table

    dictionary = Dictionary.open(folder)
    place = named(query)
    if place is None:
        found = Finder(dictionary).find(query, limit=MOST)
    else:
        entries = list(dictionary.neuron(*place))
        found = Found(entries, len(entries), sum(entry.passes for entry in entries))
    console = Console()
    show = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if found.entries:
        console.print(table(found))
    for line in legend(found):
        show(plain(line))
    show(f"Pages with contexts and charts: {open_with}")
