"""Goal `warmstart`: verbalizer and reconstructor learn from the teacher's words; the folder is a checkpoint."""

from nlae.stages.context import StageContext

VERSION = 2


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.data import ActivationDataModule
    from nlae.objective import WarmStart, validation_set, zero_shot_gap
    from nlae.objective.base import resume_update
    from nlae.stages.training import begin_pair, final_metrics, keep, show_samples, train

    settings = context.build("objective.warmstart")
    data = ActivationDataModule(
        store=context.parents["extract"],
        view="warmstart",
        seed=context.seed,
        stage="warmstart",
        max_updates=settings.updates,
        start_update=resume_update(context.folder),
        verbalizer_batch=settings.verbalizer_batch,
        reconstructor_batch=settings.reconstructor_batch,
        descriptions=context.parents["describe"],
        disjoint=settings.disjoint_documents,
        validation_rows=settings.validation_rows,
    )
    data.setup()
    pair = begin_pair(context)
    gap = zero_shot_gap(pair, data.validation)
    module = WarmStart(
        lambda: pair,
        schedule=settings.schedule,
        validation=validation_set(data.validation, data.descriptions),
        validate_every=settings.validate_every,
        seed=context.seed,
        micro_tokens=settings.micro_tokens,
    )
    train(context, module, data, settings)
    keep(context, pair, "warmstart", {"warmstart": settings.updates, "reinforce": 0})
    show_samples(context, pair, data.validation)
    return {**final_metrics(module), "probe/gap": gap}
