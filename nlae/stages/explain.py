"""Service `explain`: read a text, a chat or vectors with a trained pair."""

from nlae.stages.context import StageContext

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Explain what the root keys name, print the table, and write Parquet, JSON and one HTML page."""
    from nlae.autoencoder import Autoencoder
    from nlae.explanation import explain

    autoencoder = Autoencoder.load(context.parents["subject"], device=context.device)
    explain(autoencoder)
    return {}
