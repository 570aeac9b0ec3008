"""Goal `warmstart`: verbalizer and reconstructor learn from the teacher's words; the folder is a checkpoint."""

from nlae.stages.context import StageContext

VERSION = 3


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.stages.training import begin_pair, final_metrics, keep, mean_gap, serve, show_samples, train
    from nlae.stages.training import validation_sets as held_out
    from nlae.training import WarmStart

    settings = context.build("objective.warmstart")
    data = serve(
        context,
        settings,
        view="warmstart",
        stage="warmstart",
        verbalizer_batch=settings.verbalizer_batch,
        reconstructor_batch=settings.reconstructor_batch,
        reader_sites=settings.reader_sites,
        descriptions=context.parents["describe"],
        disjoint=settings.disjoint_documents,
    )
    pair = begin_pair(context)
    gap = mean_gap(pair, data)
    module = WarmStart(
        lambda: pair,
        schedule=settings.schedule,
        validation=held_out(data, data.descriptions),
        validate_every=settings.validate_every,
        seed=context.seed,
        micro_tokens=settings.micro_tokens,
        checkpointing=bool(context.node("trainer").get("checkpointing")),
        optimizer_bits=int(context.node("trainer").get("optimizer_bits", 32)),
    )
    train(context, module, data, settings)
    keep(context, pair, "warmstart", {"warmstart": settings.updates, "reinforce": 0})
    show_samples(context, pair, data)
    return {**final_metrics(module), "probe/gap": gap}
