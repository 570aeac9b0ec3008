"""Neuronpedia's rows as JSON lines: neurons, explanations and activations.

A neuron there has one description; here each sign is an entry, so that a sign is a source of its own,
`<layer>-<set>-pos` and `<layer>-<set>-neg`. Only entries that pass get an explanation row: a reader of that format has
no place for "no description holds". Unseen windows give every token's activation; of an exemplar only the peak's is
kept, so that its `values` are 0 elsewhere, and `valuesArePeaksOnly` says so on every row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlae.dictionary.entries import Dictionary, Entry
from nlae.files.arrow import replacing

TYPE = "nlae"
SIDES = {"+": "pos", "-": "neg"}
NEURONS, EXPLANATIONS, ACTIVATIONS = "neurons.jsonl", "explanations.jsonl", "activations.jsonl"
NOTED = ("auroc", "nearest", "mismatched", "permuted", "last_token", "skyline", "embedding")
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
    makers = {NEURONS: rows.neuron, EXPLANATIONS: rows.explanation, ACTIVATIONS: rows.activations}
    counts = {}
    for name, make in makers.items():
        with replacing(folder / name) as temporary, temporary.open("w", encoding="utf-8") as out:
            lines = (row for place in range(len(dictionary)) for row in make(dictionary.at(place)))
            counts[name] = sum(
                bool(out.write(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n")) for r in lines
            )
    return counts


@dataclass(frozen=True)
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
        """Its description, where it passes, with the scores that it stands on, for which the format has no place."""
        if entry.passes:
            scores = [(name, getattr(entry, name)) for name in NOTED]
            notes = [f"{name}={value:.3f}" for name, value in scores if value is not None]
            yield {
                **self._named(entry),
                "description": entry.description,
                "typeName": TYPE,
                "explanationModelName": self.explainer,
                "notes": " ".join([entry.grade, entry.label, *notes]),
            }

    def activations(self, entry: Entry) -> Iterator[Row]:
        """Its exemplars, then its unseen windows."""
        places = zip(entry.exemplar_document, entry.exemplar_position, entry.exemplar_value, strict=True)
        for document, position, value in places:
            if document >= 0:
                start = max(0, position - self.window)
                kept = self.dictionary.context(document).tokens[start : position + self.window + 1]
                values = [value if start + i == position else 0.0 for i in range(len(kept))]
                yield self._activation(entry, kept, values, position - start, peaks_only=True)
        for item, peak in zip(self.dictionary.unseen(entry), entry.unseen_peak, strict=True):
            yield self._activation(entry, item.tokens, item.values, peak, peaks_only=False)

    def _activation(self, entry: Entry, tokens: list[str], values: list[float], peak: int, *, peaks_only: bool) -> Row:
        ends = {"maxValue": max(values), "minValue": min(values), "maxValueTokenIndex": peak}
        return {**self._named(entry), "tokens": tokens, "values": values, **ends, "valuesArePeaksOnly": peaks_only}

    def _named(self, entry: Entry) -> Row:
        layer = f"{entry.layer}-{self.set_name}-{SIDES[entry.sign]}"
        return {"modelId": self.model_id, "layer": layer, "index": str(entry.neuron)}
