"""Goal `warmstart`: verbalizer and reconstructor learn from the teacher's words; the folder is a checkpoint."""

from nlae.errors import NlaeError
from nlae.stages.context import StageContext

VERSION = 3


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.stages.training import begin, final_metrics, keep, mean_gap, serve, shared, show_samples, train
    from nlae.stages.training import validation_sets as held_out
    from nlae.training import Schedule, WarmStart

    verbalizer, reconstructor = context.build("verbalizer"), context.build("reconstructor")
    for key in ("updates", "warmup", "decay", "clip_norm", "weight_decay", "validate_every", "micro_tokens"):
        if getattr(verbalizer, key) != getattr(reconstructor, key):
            raise NlaeError(f"verbalizer.{key} and reconstructor.{key} must be equal for now")
    data = serve(
        context,
        verbalizer.updates,
        view="warmstart",
        stage="warmstart",
        verbalizer_batch=verbalizer.batch_size,
        reconstructor_batch=reconstructor.batch_size,
        descriptions=context.parents["describe"],
    )
    pair = begin(context)
    gap = mean_gap(pair, data)
    module = WarmStart(
        lambda: pair,
        schedule=Schedule.of(verbalizer, verbalizer_lr=verbalizer.lr, reconstructor_lr=reconstructor.lr),
        validation=held_out(data, data.descriptions),
        **shared(context, verbalizer),
    )
    train(context, module, data)
    keep(context, pair, "warmstart", {"warmstart": verbalizer.updates, "reinforce": 0})
    show_samples(context, pair, data)
    return {**final_metrics(module), "probe/gap": gap}
