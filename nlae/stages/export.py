"""Service `export`: write a trained pair in a layout that others read."""

import shutil

from nlae.errors import NlaeError
from nlae.stages.context import StageContext
from nlae.stages.evaluate import TRAINING_DOCUMENTS

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Write `format=reference`: `av` and `ar` folders, adapters merged."""
    layout = context.config.get("format") or "reference"
    if layout != "reference":
        raise NlaeError(f"format={layout}: unknown; the only one so far is format=reference")
    from nlae.autoencoder import Autoencoder
    from nlae.reference_layout import export_reference

    subject = context.parents["subject"]
    export_reference(Autoencoder.load(subject, device=context.device), context.folder)
    for kept in (subject / TRAINING_DOCUMENTS, subject / "av" / TRAINING_DOCUMENTS):
        if kept.is_file():  # so that it can be evaluated elsewhere, and on nothing that it was trained on
            shutil.copyfile(kept, context.folder / "av" / TRAINING_DOCUMENTS)
    return {}
