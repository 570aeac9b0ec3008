"""Neuronpedia's rows as JSON lines: neurons, explanations and activations.

A neuron there has one description; here each sign is an entry, so that a sign is a source of its own,
`<layer>-<set>-pos` and `<layer>-<set>-neg`. Only entries that pass get an explanation row: a reader of that format has
no place for "no description holds". Unseen windows give every token's activation; of an exemplar only the peak's is
kept, so that its `values` are 0 elsewhere, and `valuesArePeaksOnly` says so on every row.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nlae.dictionary.entries import Dictionary, Entry
from nlae.files.arrow import replacing

WHO, SET = "nlae", "mlp"  # who explains, and the name of the set of sources
SIDES = {"+": "pos", "-": "neg"}
WINDOW = 32  # tokens before and after an exemplar's peak that are kept
NOTED = ("auroc", "nearest", "mismatched", "permuted", "last_token", "skyline", "embedding")
Row = dict[str, Any]


def export_neuronpedia(dictionary: Dictionary, folder: Path, *, model_id: str) -> dict[str, int]:
    """Write `neurons.jsonl`, `explanations.jsonl` and `activations.jsonl` into `folder`; returns rows by file."""
    makers: dict[str, Callable[[Dictionary, Entry], Iterator[Row]]] = {
        "neurons.jsonl": _neuron,
        "explanations.jsonl": _explanation,
        "activations.jsonl": _activations,
    }
    counts = dict.fromkeys(makers, 0)
    for name, make in makers.items():
        with replacing(folder / name) as temporary, temporary.open("w", encoding="utf-8") as out:
            for entry in dictionary:
                layer = f"{entry.layer}-{SET}-{SIDES[entry.sign]}"
                for row in make(dictionary, entry):
                    row = {"modelId": model_id, "layer": layer, "index": str(entry.neuron), **row}
                    out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                    counts[name] += 1
    return counts


def _neuron(dictionary: Dictionary, entry: Entry) -> Iterator[Row]:
    yield {
        "sourceSetName": SET,
        "maxActApprox": entry.exemplar_value[0] if entry.exemplar_value else 0.0,
        # an MLP neuron is never exactly 0, so that activity counts from the layer's threshold
        "frac_nonzero": entry.frequency,
        "pos_str": entry.promoted,
        "neg_str": entry.suppressed,
    }


def _explanation(dictionary: Dictionary, entry: Entry) -> Iterator[Row]:
    """The description, where it passes, with the scores that it stands on, for which the format has no place."""
    if entry.passes:
        scores = [(name, getattr(entry, name)) for name in NOTED]
        notes = [f"{name}={value:.3f}" for name, value in scores if value is not None]
        yield {
            "description": entry.description,
            "typeName": WHO,
            "explanationModelName": WHO,
            "notes": " ".join([entry.grade, entry.label, *notes]),
        }


def _activations(dictionary: Dictionary, entry: Entry) -> Iterator[Row]:
    """Exemplars, then unseen windows."""
    places = zip(entry.exemplar_document, entry.exemplar_position, entry.exemplar_value, strict=True)
    for document, position, value in places:
        start = max(0, position - WINDOW)
        kept = dictionary.context(document).tokens[start : position + WINDOW + 1]
        values = [value if start + i == position else 0.0 for i in range(len(kept))]
        yield _activation(kept, values, position - start, peaks_only=True)
    for item, peak in zip(dictionary.unseen(entry), entry.unseen_peak, strict=True):
        yield _activation(item.tokens, item.values, peak, peaks_only=False)


def _activation(tokens: list[str], values: list[float], peak: int, *, peaks_only: bool) -> Row:
    ends = {"maxValue": max(values), "minValue": min(values), "maxValueTokenIndex": peak}
    return {"tokens": tokens, "values": values, **ends, "valuesArePeaksOnly": peaks_only}
