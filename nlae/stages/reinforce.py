"""Goal `reinforce`: joint reinforcement of the warm-started pair; the folder is a checkpoint."""

from nlae.errors import NlaeError
from nlae.stages.context import StageContext

VERSION = 3


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.activations import Descriptions
    from nlae.model.autoencoder import Autoencoder
    from nlae.stages.training import final_metrics, keep, serve, shared, show_samples, train, validation_sets
    from nlae.training import Reinforce, Schedule

    settings = context.build("objective")
    supervised = settings.control == "supervised"
    group = 1 if not supervised else settings.samples
    data = serve(
        context,
        settings.updates,
        view="rollout",
        stage="reinforce",
        batch_size=settings.activations * group,
        descriptions=context.parents["describe"] if supervised else None,
    )
    pair = Autoencoder.load(context.parents["warmstart"], device=context.device)
    temperature = context.node("rollout").get("temperature", 1.0)
    if temperature != 1.0:
        raise NlaeError(f"rollout.temperature={temperature}: reinforcement samples at 1, or its gradient is biased")
    pair.engine = context.build("rollout")
    module = Reinforce(
        lambda: pair,
        engine=pair.engine,
        reward=context.build("reward"),
        policy_loss=settings.policy_loss,
        control=settings.control,
        samples=settings.samples,
        kl=settings.kl,
        schedule=Schedule.of(settings),
        validation=validation_sets(data, Descriptions.open(context.parents["describe"])),
        **shared(context, settings),
    )
    train(context, module, data)
    warm = pair.meta["training"]["updates"]["warmstart"]
    keep(context, pair, "reinforce", {"warmstart": warm, "reinforce": settings.updates})
    show_samples(context, pair, data)
    return final_metrics(module)
