"""What the two training stages share: held-out rows, callbacks, and how an autoencoder is begun and kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from torch import Tensor

    from nlae.activations import ActivationRows, ActivationStore, Descriptions
    from nlae.activations.datamodule import ActivationDataModule
    from nlae.model.autoencoder import Autoencoder
    from nlae.training import Objective, ValidationSet
    from nlae.training.settings import FitSettings

log = logging.getLogger(__name__)
DISTRACTORS = 100
TABLE_ROWS = 32


def begin(context: StageContext) -> Autoencoder:
    """An untrained autoencoder with the shape that the config asks for."""
    from nlae.model.autoencoder import Autoencoder
    from nlae.model.backbone import Backbone, base_dtype
    from nlae.model.reconstructor import Reconstructor
    from nlae.model.verbalizer import Verbalizer

    prompt, verbalizer, reconstructor = (context.build(node) for node in ("prompt", "verbalizer", "reconstructor"))
    source, precision = context.build("target"), context.precision
    target = source.load(dtype=base_dtype(precision), device=context.device)
    sites = context.build("site").resolve(target.n_layers).sites
    if len(sites) > 1 and not prompt.names_site:
        log.warning(
            "prompt.verbalizer does not say {site}: sites can be told apart by their vectors alone; prompt=site"
        )
    stores = open_stores(context)
    shared: dict[str, Any] = {
        "backbone": Backbone(target, sites, precision=precision, seed=context.seed),
        "prompt": prompt,
        "statistics": {name: store.statistics for name, store in stores.items()},
    }
    return Autoencoder(
        Verbalizer(adapter=verbalizer.adapter, injection=verbalizer.injection, **shared),
        Reconstructor(
            adapter=reconstructor.adapter,
            magnitude=reconstructor.magnitude,
            max_tokens=reconstructor.max_tokens,
            head_rank=reconstructor.head_rank,
            **shared,
        ),
        meta={"target": source.describe(), "base_checkpoint": source.name},
        distractors={name: distractors(store.split("train", early=False)) for name, store in stores.items()},
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


def validation_sets(data: ActivationDataModule, descriptions: Descriptions | None) -> dict[str, ValidationSet]:
    """What curves are drawn on, by site."""
    from nlae.training import validation_set

    return {site: validation_set(rows, descriptions) for site, rows in data.validation.items()}


def mean_gap(autoencoder: Autoencoder, data: ActivationDataModule) -> float:
    """The start-up probe of the injection, its mean over the sites that are validated."""
    from nlae.training import zero_shot_gap

    return float(np.mean([zero_shot_gap(autoencoder.at(site), rows) for site, rows in data.validation.items()]))


def distractors(rows: ActivationRows) -> Tensor:
    """Unit vectors of 100 training rows, spread evenly over them: what ranks are taken among."""
    from nlae.functional.scaling import unit

    places = np.linspace(0, len(rows) - 1, min(DISTRACTORS, len(rows))).astype(np.int64)
    return unit(rows.activations(places))


def shared(context: StageContext, settings: FitSettings) -> dict[str, Any]:
    """What every objective is given."""
    return {
        "validate_every": settings.validate_every,
        "micro_tokens": settings.micro_tokens,
        "seed": context.seed,
        "checkpointing": bool(context.node("machine").get("checkpointing")),
        "optimizer": context.build("optimizer"),
    }


def train(context: StageContext, module: Objective, data: Any) -> Autoencoder:
    """Fit, and return what was trained."""
    from nlae.training import fit

    callbacks = list(context.build("callbacks").values())
    fit(module, data, context.folder, run=context.run, trainer=context.build("trainer"), callbacks=callbacks)
    return module.trained


def keep(context: StageContext, autoencoder: Autoencoder, stage: str, updates: dict[str, int]) -> None:
    """Write the checkpoint into the stage's folder, with hashes of the documents it has seen."""
    from nlae.corpus import Corpus

    # all sites hold the same rows
    warm, trained = context.node("reconstructor"), next(iter(open_stores(context).values())).split("train")
    autoencoder.meta |= {
        "stage": stage,
        "training": {
            "fingerprint": context.fingerprint,
            "updates": updates,
            "batch": warm["batch_size"],
            "lr": warm["lr"],
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


def final_metrics(module: Objective) -> dict[str, float]:
    """The held-out figures of the last update."""
    return {k: v for k, v in module.metrics.items() if k.startswith("val/")} | {"updates": float(module.update)}


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
