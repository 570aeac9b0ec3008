"""One dictionary behind the server: shared by its threads, with what every page needs kept at hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from nlae.dictionary.browse import overview
from nlae.dictionary.browse.neuron import lead, side
from nlae.dictionary.browse.summary import percent, tables
from nlae.dictionary.entries import Dictionary
from nlae.dictionary.query import Finder, Found, named
from nlae.dictionary.schema import Entry
from nlae.errors import NlaeError

PAGE = 25  # entries on one page of answers
PAIRS = 12  # offered for comparison


class DictionaryView:
    """Thread-safe reading of one dictionary.

    Args:
        dictionary: what is shown.
        metrics: its flat numbers, where they do not lie beside it yet.
    """

    def __init__(self, dictionary: Dictionary, metrics: Mapping[str, float] | None = None) -> None:
        self.dictionary = dictionary
        self.metrics = dictionary.metrics if metrics is None else metrics
        self.finder = Finder(dictionary)
        self._lock = threading.RLock()  # one reader of the files at a time; each takes a few milliseconds

    def warm(self) -> None:
        """Read indexes, overview and searched texts, so that no first visitor waits for them."""
        with self._lock:
            _ = (self.neurons, self.glance, self.map)
            if len(self.dictionary):
                layer, known = next(iter(self.neurons.items()))
                self.sides(self.pages(layer, int(known[0])))
        self.finder.warm()

    @property
    def name(self) -> str:
        """What the dictionary is of."""
        target = self.dictionary.facts.get("target") or "a language model"
        if isinstance(target, dict):
            target = target.get("name") or target.get("model") or "a language model"
        return str(target)

    @cached_property
    def neurons(self) -> dict[int, npt.NDArray[np.int32]]:
        """Ascending numbers of the neurons of each layer."""
        frame = self.dictionary.overview
        parts = frame.select("layer", "neuron").partition_by("layer", as_dict=True, maintain_order=True)
        return {int(layer): np.unique(part["neuron"].to_numpy()) for (layer,), part in parts.items()}

    @cached_property
    def glance(self) -> dict[str, Any]:
        """What an overview shows, on the server and as one file."""
        return {
            "headlines": overview.headlines(self.dictionary, self.metrics),
            "tables": tables(self.metrics, self.dictionary.facts.get("reader", "bag")),
            "drawings": overview.drawings(self.dictionary),
            "pairs": self.pairs,
            "lead": lead,
            "percent": percent,
        }

    @cached_property
    def map(self) -> bytes:
        """The map as JSON."""
        return json.dumps(overview.map_data(self.dictionary), separators=(",", ":")).encode()

    @cached_property
    def pairs(self) -> list[tuple[Entry, Entry]]:
        """The strongest entry of each block, of those the strongest, each with the entry whose words are nearest."""
        named_ones = self.dictionary.overview.with_row_index("place").filter("passes", pl.col("nearest_entry") != "")
        best = named_ones.sort("auroc", descending=True).unique("layer", keep="first", maintain_order=True)
        with self._lock:
            entries = [self.dictionary.at(place) for place in sorted(best["place"].head(PAIRS))]
            found = [(entry, self.nearest(entry)) for entry in entries]
        return [(entry, other) for entry, other in found if other is not None]

    def nearest(self, entry: Entry) -> Entry | None:
        """The entry whose words are nearest to those of another; None where that is not there."""
        place = named(entry.nearest_entry or "")
        if place is None:
            return None
        with self._lock:
            try:
                return self.dictionary.entry(*place, entry.nearest_entry[-1])
            except NlaeError:
                return None

    def pages(self, layer: int, neuron: int) -> tuple[Entry, ...]:
        """The signs of a neuron that the dictionary has, `+` first.

        Raises:
            NlaeError: it has none of them.
        """
        if layer not in self.neurons or neuron not in self.neurons[layer]:
            known = self.neurons.get(layer)
            where = (
                f"it has layers {_spans(list(self.neurons))}"
                if known is None
                else f"layer {layer} has {len(known):,} neurons, {_spans(known.tolist())}"
            )
            raise NlaeError(f"this dictionary has no neuron {neuron} in layer {layer}; {where}")
        with self._lock:
            return self.dictionary.neuron(layer, neuron)

    def sides(self, entries: Sequence[Entry]) -> list[dict[str, Any]]:
        """What the page shows of each entry."""
        with self._lock:
            return [side(self.dictionary, entry) for entry in entries]

    def neighbours(self, layer: int, neuron: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """The neurons before and after, across layers; None at the ends."""
        known = self.neurons[layer]
        at = int(np.searchsorted(known, neuron))
        layers = list(self.neurons)
        place = layers.index(layer)
        before = (layer, int(known[at - 1])) if at else None
        after = (layer, int(known[at + 1])) if at + 1 < len(known) else None
        if before is None and place:
            before = (layers[place - 1], int(self.neurons[layers[place - 1]][-1]))
        if after is None and place + 1 < len(layers):
            after = (layers[place + 1], int(self.neurons[layers[place + 1]][0]))
        return before, after

    def random(self, draw: np.random.Generator) -> tuple[int, int]:
        """Any neuron, each equally likely.

        Raises:
            NlaeError: the dictionary is empty.
        """
        frame = self.dictionary.overview
        if not frame.height:
            raise NlaeError("this dictionary is empty")
        row = frame.row(int(draw.integers(frame.height)), named=True)
        return int(row["layer"]), int(row["neuron"])

    def find(self, query: str, layer: int | None, passing: bool, order: str, page: int) -> Found:
        """One page of answers, `page` counted from 1."""
        with self._lock:
            return self.finder.find(
                query, layer=layer, passing=passing, order=order, start=(page - 1) * PAGE, limit=PAGE
            )


def _spans(numbers: Sequence[int], most: int = 6) -> str:
    """`0–11, 14`: runs of numbers, the first few of them."""
    runs: list[list[int]] = []
    for value in numbers:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    shown = [str(a) if a == b else f"{a}–{b}" for a, b in runs[:most]]
    return ", ".join(shown + (["…"] if len(runs) > most else [])) or "none at all"
