"""Service `export`: write a trained pair in a layout that others read."""

from nlae.errors import NlaeError
from nlae.stages.context import StageContext

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Write `format=reference`: `av` and `ar` folders, adapters merged."""
    layout = context.config.get("format") or "reference"
    if layout != "reference":
        raise NlaeError(f"format={layout}: unknown; the only one so far is format=reference")
    from nlae.autoencoder import Autoencoder
    from nlae.reference_layout import export_reference

    export_reference(Autoencoder.load(context.parents["subject"], device=context.device), context.folder)
    return {}
