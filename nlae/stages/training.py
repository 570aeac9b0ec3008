"""What the training stages share: the base, held-out rows, a half's own fit, and how both are joined and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlae.pipeline.context import StageContext

if TYPE_CHECKING:
    from torch import Tensor

    from nlae.activations import ActivationRows, ActivationStore, Descriptions
    from nlae.activations.datamodule import ActivationDataModule
    from nlae.model.autoencoder import Autoencoder
    from nlae.model.learner import Learner
    from nlae.model.validation import ValidationSet

DISTRACTORS = 100
TABLE_ROWS = 32
WEIGHTS = "weights.safetensors"  # of one half


def base(context: StageContext) -> dict[str, Any]:
    """What both halves stand on: the target's weights, at the sites that the config asks for."""
    from nlae.model.backbone import Backbone, base_dtype

    source, precision = context.build("target"), context.precision
    target = source.load(dtype=base_dtype(precision), device=context.device)
    sites = context.build("site").resolve(target.n_layers).sites
    statistics = {name: store.statistics for name, store in open_stores(context).items()}
    backbone = Backbone(target, sites, precision=precision, seed=context.seed)
    return {"backbone": backbone, "prompt": context.build("prompt"), "statistics": statistics}


def fit_half(context: StageContext, name: str, probe: Callable[[Any, Any], dict[str, float]]) -> dict[str, float]:
    """Train one half on the teacher's text, and keep its weights.

    Args:
        context: of its stage.
        name: `verbalizer` or `reconstructor`.
        probe: what is measured before it learns, of the module and its data.
    """
    from safetensors.torch import save_file

    module: Any = context.build(name)(**base(context), seed=context.seed, optimizer=context.build("optimizer"))
    # named as when both were one stage: the order of its rows is what it was
    data = serve(
        context,
        module.schedule.updates,
        view=name,
        stage="warmstart",
        batch_size=module.batch_size,
        descriptions=context.parents["describe"],
    )
    module.validation = validation_sets(data, data.descriptions)
    before = probe(module, data)
    train(context, module, data)
    new = context.folder / f"{WEIGHTS}.new"
    save_file({key: weight.contiguous().cpu() for key, weight in module.trained_state().items()}, str(new))
    new.replace(context.folder / WEIGHTS)
    return {**final_metrics(module), **before}


def join(context: StageContext) -> Autoencoder:
    """The autoencoder of both halves, as each was trained alone."""
    from safetensors.torch import load_file

    from nlae.model.autoencoder import Autoencoder

    shared, source = base(context), context.build("target")
    verbalizer, reconstructor = context.build("verbalizer")(**shared), context.build("reconstructor")(**shared)
    for half in (verbalizer, reconstructor):
        half.load_trained_state(load_file(str(context.parents[half.name] / WEIGHTS)))
    stores = open_stores(context).items()
    return Autoencoder(
        verbalizer,
        reconstructor,
        meta={"target": source.describe(), "base_checkpoint": source.name},
        distractors={name: distractors(store.split("train", early=False)) for name, store in stores},
    )


def site_names(context: StageContext) -> list[str]:
    """Names of the sites that the config asks for; its layers are resolved."""
    return [site.name for site in context.build("site").sites]


def open_stores(context: StageContext) -> dict[str, ActivationStore]:
    """The extracted activations by the name of their site."""
    from nlae.activations.store import open_stores

    return open_stores(context.parents["extract"], site_names(context))


def serve(context: StageContext, updates: int, **how: Any) -> ActivationDataModule:
    """Data of a training stage from its next update on."""
    from nlae.training.resuming import resume_update

    data: ActivationDataModule = context.build("data")(
        store=context.parents["extract"],
        sites=site_names(context),
        seed=context.seed,
        max_updates=updates,
        start_update=resume_update(context.folder),
        **how,
    )
    data.setup()
    return data


def validation_sets(
    data: ActivationDataModule,
    descriptions: Descriptions | None,
    stores: Mapping[str, ActivationStore] | None = None,
) -> dict[str, ValidationSet]:
    """What curves are drawn on, by site; with rivals for retrieval from the training rows of `stores`."""
    from nlae.training import validation_set

    pools = {site: store.split("train", early=False) for site, store in (stores or {}).items()}
    return {site: validation_set(rows, descriptions, pools.get(site)) for site, rows in data.validation.items()}


def distractors(rows: ActivationRows) -> Tensor:
    """Unit vectors of 100 training rows, spread evenly over them: what ranks are taken among."""
    from nlae.functional.scaling import unit

    places = np.linspace(0, len(rows) - 1, min(DISTRACTORS, len(rows))).astype(np.int64)
    return unit(rows.activations(places))


def train(context: StageContext, module: Learner, data: Any) -> None:
    """Fit to the last update."""
    from nlae.training.fit import fit
    from nlae.training.resuming import resume_update

    if context.node("machine").get("checkpointing"):
        half, _ = next(iter(module.halves.values()))  # both stand on one base
        half.backbone.recompute()
    callbacks = [callback for callback in context.build("callbacks").values() if callback is not None]
    loggers = loggers_of(context, f"from_update_{resume_update(context.folder)}")  # what a killed fit wrote stays
    trainer = context.build("trainer")
    fit(module, data, context.folder, run=context.run, trainer=trainer, callbacks=callbacks, loggers=loggers)


def loggers_of(context: StageContext, version: str) -> list[Any]:
    """Lightning's loggers; one that is `_partial_` is told of `save_dir`, `name` and `version` what it takes."""
    from inspect import signature

    loggers = []
    for name, made in (context.build("logger.lightning") or {}).items():
        if hasattr(made, "keywords"):
            takes = signature(made).parameters
            own = {"save_dir": str(context.folder), "name": name, "version": version}
            made = made(**{key: value for key, value in own.items() if key in takes and key not in made.keywords})
        if made is not None:
            loggers.append(made)
    return loggers


def check(config: dict[str, Any]) -> None:
    """What a fit refuses of Lightning's Trainer and callbacks, before anything is made."""
    from nlae.config.build import build
    from nlae.training import fit

    trainer, callbacks = build(config["trainer"], "trainer"), build(config["callbacks"], "callbacks")
    fit.check(trainer, callbacks, config["logger"].get("lightning"))


def keep(context: StageContext, autoencoder: Autoencoder, stage: str, updates: dict[str, int]) -> None:
    """Write the checkpoint into the stage's folder, with hashes of the documents it has seen."""
    from nlae.corpus import Corpus

    # all sites hold the same rows
    reader, trained = context.node("reconstructor"), next(iter(open_stores(context).values())).split("train")
    autoencoder.meta |= {
        "stage": stage,
        "training": {
            "fingerprint": context.fingerprint,
            "updates": updates,
            "batch": reader["batch_size"],
            "lr": reader["lr"],
            "max_position": int(trained.position.max()),
        },
    }
    seen = Corpus.open(context.parents["corpus"]).document_hashes("train")
    write_lines(context.folder / "training_documents.txt", sorted(seen))
    autoencoder.save(context.folder)


def write_lines(path: Path, lines: list[str]) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(path)


def final_metrics(module: Learner) -> dict[str, float]:
    """The held-out figures of the last update."""
    held = {k: v for k, v in module.metrics.items() if k.startswith("val/") or k == "kept_update"}
    return held | {"updates": float(module.update)}


def show_samples(context: StageContext, autoencoder: Autoencoder, data: ActivationDataModule) -> None:
    """A table of held-out explanations in the run."""
    table, decode = [], autoencoder.target.tokenizer.decode
    for site, rows in data.validation.items():
        few = rows.select(np.arange(min(TABLE_ROWS // len(data.validation), len(rows))))
        seeds = autoencoder.row_seeds(context.seed, "samples", [int(row) for row in few.row])
        written = autoencoder.at(site).verbalize(few.all(), seeds=seeds)
        for i, said in enumerate(written):
            table.append([site, int(few.row[i]), decode(few.context_ids(i)), said.text, said.closed])
    context.run.table("explanations", ["site", "row", "context", "explanation", "closed"], table)
