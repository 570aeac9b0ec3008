"""Goal `warmstart`: joins a verbalizer and a reconstructor that were trained alone; the folder is a checkpoint."""

from nlae.files.foreign import parse_json
from nlae.pipeline.context import StageContext

VERSION = 5
HALVES = ("verbalizer", "reconstructor")


def run(context: StageContext) -> dict[str, float]:
    """Trains nothing; returns the held-out figures of both halves together."""
    from nlae.model.validation import validate
    from nlae.stages.training import join, keep, serve, show_samples, validation_sets

    found = {name: parse_json((context.parents[name] / "metrics.json").read_text("utf-8")) for name in HALVES}
    halves = {name: int(metrics["updates"]) for name, metrics in found.items()}  # a limit or a callback may end a fit
    autoencoder = join(context)
    data = serve(
        context,
        halves["verbalizer"],
        view="verbalizer",
        stage="warmstart",
        descriptions=context.parents["describe"],
    )
    held = validation_sets(data, data.descriptions)
    metrics = validate(autoencoder.at, held, context.seed)
    keep(context, autoencoder, "warmstart", {"warmstart": halves["reconstructor"], "reinforce": 0})
    show_samples(context, autoencoder, data)
    return {**metrics, "updates": float(halves["verbalizer"]), "probe/gap": found["verbalizer"]["probe/gap"]}
