"""The overview as one file beside the dictionary: figures, the map and curves, no server and no network needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nlae.dictionary.browse.overview import map_data
from nlae.dictionary.browse.view import DictionaryView
from nlae.dictionary.entries import OVERVIEW, Dictionary
from nlae.page import render, write


def write_overview(
    dictionary: Dictionary, folder: Path | None = None, metrics: Mapping[str, float] | None = None
) -> Path:
    """Write `dictionary.html`.

    Args:
        dictionary: a finished one.
        folder: gets the file; None: the dictionary's own.
        metrics: its flat numbers; None: those that lie beside it, if any.

    Returns:
        The file.
    """
    view = DictionaryView(dictionary, metrics)
    page = render(
        "static.html.j2",
        Path(__file__).parent / "templates",
        title=f"{view.name}: dictionary of neurons",
        name=view.name,
        **{"made_up": bool(dictionary.facts.get("made_up")), "data": map_data(dictionary), "live": False},
        **view.glance,
    )
    return write((folder or dictionary.folder) / OVERVIEW, page)
