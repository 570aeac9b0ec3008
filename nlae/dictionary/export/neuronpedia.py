"""Neuronpedia's rows as JSON lines: neurons, explanations and activations.

A neuron there has one description; here each sign is an entry, so that a sign is a source of its own,
`<layer>-<set>-pos` and `<layer>-<set>-neg`. Only entries that pass get an explanation row: a reader of that format has
no place for "no description found". Of an exemplar's passage only the peak's activation is kept in a dictionary, so
`values` is that number at its token and 0 elsewhere; `valuesArePeaksOnly` says so on every row.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nlae.dictionary.entries import Dictionary, Entry
from nlae.store.arrow import replacing

TYPE = "nlae"
SIDES = {"+": "pos", "-": "neg"}
NEURONS, EXPLANATIONS, ACTIVATIONS = "neurons.jsonl", "explanations.jsonl", "activations.jsonl"
Row = dict[str, Any]


def export_neuronpedia(
    dictionary: Dictionary,
    folder: Path,
    *,
    model_id: str,
    explainer: str = "nlae",
    set_name: str = "mlp",
    window: int = 32,
) -> dict[str, int]:
    """Write the three files.

    Args:
        dictionary: finished.
        folder: gets them.
        model_id: the model's name over there.
        explainer: who wrote the descriptions.
        set_name: name of the set of sources.
        window: tokens before and after an exemplar's peak that are kept.

    Returns:
        Number of rows by file.
    """
    rows = _Rows(dictionary, model_id, explainer, set_name, window)
    makers: dict[str, Callable[[Entry], Iterator[Row]]] = {
        NEURONS: rows.neuron,
        EXPLANATIONS: rows.explanation,
        ACTIVATIONS: rows.activations,
    }
    return {name: _write(folder / name, dictionary, make) for name, make in makers.items()}


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What the format says of one entry; the attributes are the arguments of `export_neuronpedia`."""

    dictionary: Dictionary
    model_id: str
    explainer: str
    set_name: str
    window: int

    def neuron(self, entry: Entry) -> Iterator[Row]:
        """The neuron itself."""
        yield {
            **self._named(entry),
            "sourceSetName": self.set_name,
            "maxActApprox": entry.exemplar_value[0] if entry.exemplar_value else 0.0,
            # an MLP neuron is never exactly 0, so that activity counts from the layer's threshold
            "frac_nonzero": entry.frequency,
            "pos_str": entry.promoted,
            "neg_str": entry.suppressed,
        }

    def explanation(self, entry: Entry) -> Iterator[Row]:
        """Its description, where it passes."""
        if entry.passes:
            yield {
                **self._named(entry),
                "description": entry.description,
                "typeName": TYPE,
                "explanationModelName": self.explainer,
                "notes": _notes(entry),
            }

    def activations(self, entry: Entry) -> Iterator[Row]:
        """Its exemplars."""
        places = zip(entry.exemplar_document, entry.exemplar_position, entry.exemplar_value, strict=True)
        for document, position, value in places:
            if document < 0:
                continue
            tokens = self.dictionary.context(document).tokens
            start = max(0, position - self.window)
            kept = tokens[start : position + self.window + 1]
            values = [0.0] * len(kept)
            values[position - start] = value
            yield {
                **self._named(entry),
                "tokens": kept,
                "values": values,
                "maxValue": max(values),
                "minValue": min(values),
                "maxValueTokenIndex": position - start,
                "valuesArePeaksOnly": True,
            }

    def _named(self, entry: Entry) -> Row:
        return {
            "modelId": self.model_id,
            "layer": f"{entry.layer}-{self.set_name}-{SIDES[entry.sign]}",
            "index": str(entry.neuron),
        }


def _notes(entry: Entry) -> str:
    """The scores that the description stands on, since the format has no place for them."""
    parts = [
        f"{name}={value:.3f}"
        for name, value in (
            ("fdr", entry.fdr),
            ("prediction", entry.prediction),
            ("prediction_null", entry.prediction_null),
            ("skyline", entry.skyline),
            ("last_token", entry.last_token),
        )
        if value is not None
    ]
    return " ".join(parts)


def _write(path: Path, dictionary: Dictionary, make: Callable[[Entry], Iterator[Row]]) -> int:
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for place in range(len(dictionary)):
            for row in make(dictionary.at(place)):
                out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                count += 1
    return count
