"""Goal `reinforce`: joint reinforcement of the warm-started autoencoder; the folder is a checkpoint."""

from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.context import StageContext
from nlae.stages import training

VERSION = 4


def check(config: dict[str, Any]) -> None:
    """Refuse, before anything is made, what the module would refuse after hours of its parents' work."""
    from nlae.config.build import build
    from nlae.training.reinforce import check_control

    training.check(config)
    check_control(config["objective"].get("control"))
    build(config["objective"].get("reading"), "objective.reading")
    temperature = config["rollout"].get("temperature", 1.0)
    if temperature != 1.0:
        raise NlaeError(f"rollout.temperature={temperature}: reinforcement samples at 1, or its gradient is biased")


def run(context: StageContext) -> dict[str, float]:
    """Train to the last update; returns the held-out figures at the end."""
    from nlae.activations import Descriptions
    from nlae.model.autoencoder import Autoencoder
    from nlae.stages.training import final_metrics, keep, open_stores, serve, show_samples, train, validation_sets

    autoencoder = Autoencoder.load(context.parents["warmstart"], device=context.device)
    autoencoder.engine = context.build("rollout")
    module = context.build("objective")(
        autoencoder,
        engine=autoencoder.engine,
        reward=context.build("reward"),
        seed=context.seed,
        optimizer=context.build("optimizer"),
    )
    supervised = module.control == "supervised"
    data = serve(
        context,
        module.schedule.updates,
        view="rollout",
        stage="reinforce",
        batch_size=module.activations * (module.samples if supervised else 1),
        descriptions=context.parents["describe"] if supervised else None,
    )
    module.validation = validation_sets(data, Descriptions.open(context.parents["describe"]), open_stores(context))
    train(context, module, data)
    updates = autoencoder.meta["training"]["updates"]
    kept = int(module.metrics.get("kept_update", module.update))
    keep(context, autoencoder, "reinforce", {**updates, "reinforce": kept})
    show_samples(context, autoencoder, data)
    return final_metrics(module)
