"""Service `export`: write a trained autoencoder, or a finished dictionary, in a layout that others read."""

import shutil
from collections.abc import Mapping
from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.context import StageContext
from nlae.pipeline.table import DICTIONARY, DICTIONARY_FORMATS
from nlae.stages.evaluate import TRAINING_DOCUMENTS

VERSION = 2
REFERENCE = "reference"


def check(config: Mapping[str, Any]) -> None:
    """Refuse an unknown layout before anything is looked for.

    Raises:
        NlaeError: there is no such layout.
    """
    layout, known = config.get("format") or REFERENCE, (REFERENCE, *DICTIONARY_FORMATS)
    if layout not in known:
        raise NlaeError(f"format={layout}: unknown; choose one of {', '.join(known)}")


def run(context: StageContext) -> dict[str, float]:
    """Write `format=reference` (`av` and `ar`, adapters merged), or a dictionary as `neuronpedia`."""
    check(context.config)
    layout = context.config.get("format") or REFERENCE
    if layout in DICTIONARY_FORMATS:
        return _export_dictionary(context)
    from nlae.model.autoencoder import Autoencoder
    from nlae.model.reference_layout import export_reference

    subject = context.parents["subject"]
    export_reference(Autoencoder.load(subject, device=context.device), context.folder)
    for kept in (subject / TRAINING_DOCUMENTS, subject / "av" / TRAINING_DOCUMENTS):
        if kept.is_file():  # so that it can be evaluated elsewhere, and on nothing that it was trained on
            shutil.copyfile(kept, context.folder / "av" / TRAINING_DOCUMENTS)
    return {}


def _export_dictionary(context: StageContext) -> dict[str, float]:
    from nlae.dictionary.entries import Dictionary
    from nlae.dictionary.neuronpedia import export_neuronpedia

    node = context.node("target")
    name = str(node.get("model") or node.get("name") or "model").rsplit("/", 1)[-1].lower()
    counts = export_neuronpedia(Dictionary.open(context.parents[DICTIONARY]), context.folder, model_id=name)
    return {f"rows/{file.removesuffix('.jsonl')}": float(count) for file, count in counts.items()}
