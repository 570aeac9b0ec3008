"""Goal `warmstart`: joins a verbalizer and a reconstructor that were trained alone; the folder is a checkpoint."""

from nlae.files.foreign import parse_json
from nlae.pipeline.context import StageContext

VERSION = 4


def run(context: StageContext) -> dict[str, float]:
    """Trains nothing; returns the held-out figures of both halves together."""
    from nlae.model.validation import validate
    from nlae.stages.training import join, keep, serve, show_samples, validation_sets

    halves = {name: context.node(name)["updates"] for name in ("verbalizer", "reconstructor")}
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
    begun = parse_json((context.parents["verbalizer"] / "metrics.json").read_text(encoding="utf-8"))
    return {**metrics, "updates": float(halves["verbalizer"]), "probe/gap": begun["probe/gap"]}
