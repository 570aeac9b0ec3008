"""Goal `reinforce`: joint reinforcement of the warm-started pair; the folder is a checkpoint."""

from nlae.errors import NlaeError
from nlae.stages.context import StageContext

VERSION = 2


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.autoencoder import Autoencoder
    from nlae.data import ActivationDataModule
    from nlae.objective import Reinforce, validation_set
    from nlae.objective.base import resume_update
    from nlae.stages.training import final_metrics, keep, show_samples, train
    from nlae.store import Descriptions

    settings = context.build("objective.reinforce")
    supervised = settings.algorithm == "supervised"
    group = 1 if not supervised else settings.samples
    data = ActivationDataModule(
        store=context.parents["extract"],
        view="rollout",
        seed=context.seed,
        stage="reinforce",
        max_updates=settings.updates,
        start_update=resume_update(context.folder),
        batch_size=settings.activations * group,
        descriptions=context.parents["describe"] if supervised else None,
        validation_rows=settings.validation_rows,
    )
    data.setup()
    pair = Autoencoder.load(context.parents["warmstart"], device=context.device)
    temperature = context.node("rollout").get("temperature", 1.0)
    if temperature != 1.0:
        raise NlaeError(f"rollout.temperature={temperature}: reinforcement samples at 1, or its gradient is biased")
    pair.engine = context.build("rollout")
    module = Reinforce(
        lambda: pair,
        engine=pair.engine,
        reward=context.build("reward"),
        algorithm=settings.algorithm,
        samples=settings.samples,
        kl=settings.kl,
        clip=settings.clip,
        micro_tokens=settings.micro_tokens,
        schedule=settings.schedule,
        validation=validation_set(data.validation, Descriptions.open(context.parents["describe"])),
        validate_every=settings.validate_every,
        seed=context.seed,
    )
    train(context, module, data, settings)
    warm = pair.meta["training"]["updates"]["warmstart"]
    keep(context, pair, "reinforce", {"warmstart": warm, "reinforce": settings.updates})
    show_samples(context, pair, data.validation)
    return final_metrics(module)
