"""What the two training stages share: the rows they validate on, the callbacks, and how a pair is begun and kept."""

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
    from nlae.model.mixture import Mixture
    from nlae.training import Objective, ValidationSet
    from nlae.training.settings import FitSettings

    Trained = Autoencoder | Mixture

log = logging.getLogger(__name__)
DISTRACTORS = 100
TABLE_ROWS = 32


def begin_pair(context: StageContext) -> Trained:
    """An untrained pair, or mixture of them, with the shape that the config asks for."""
    from nlae.model.autoencoder import Autoencoder, PairSettings
    from nlae.model.mixture import Mixture
    from nlae.target import resolved_sites

    verbalizer, reconstructor = context.build("verbalizer"), context.build("reconstructor")
    settings = PairSettings(
        prompt=context.build("prompt"),
        injection=verbalizer.injection,
        verbalizer_adapter=verbalizer.adapter,
        reconstructor_adapter=reconstructor.adapter,
        magnitude=reconstructor.magnitude,
        max_tokens=reconstructor.max_tokens,
        precision=context.precision,
        seed=context.seed,
    )
    source = context.build("target")
    meta = {"target": source.describe(), "base_checkpoint": source.name}
    target = source.load(dtype=settings.dtype, device=context.device)
    stores = open_stores(context)
    known = {name: distractors(store.split("train", early=False)) for name, store in stores.items()}
    if not is_mixture(context):
        ((name, store),) = stores.items()
        return Autoencoder(
            target, context.build("site"), store.statistics, settings, meta=meta, distractors_MD=known[name]
        )
    if not settings.prompt.names_site:
        log.warning(
            "prompt.verbalizer does not say {site}: sites can be told apart by their vectors alone; prompt=site"
        )
    sites = resolved_sites(context.build("site"), target.n_layers)
    statistics = {name: store.statistics for name, store in stores.items()}
    return Mixture(target, sites, statistics, settings, meta=meta | {"site": context.node("site")}, distractors=known)


def is_mixture(context: StageContext) -> bool:
    """Whether the config names several sites."""
    from nlae.target import SiteMixture

    return isinstance(context.build("site"), SiteMixture)


def open_stores(context: StageContext) -> dict[str, ActivationStore]:
    """The extracted activations by the name of their site; one for a plain site."""
    from nlae.activations import ActivationStore

    folder = context.parents["extract"]
    if not is_mixture(context):
        store = ActivationStore.open(folder)
        return {store.site: store}
    return {site.name: ActivationStore.open(folder / site.name) for site in context.build("site").sites}


def serve(context: StageContext, updates: int, **how: Any) -> ActivationDataModule:
    """Data of a training stage from its next update on: for one site or for a mixture."""
    from nlae.activations.mixture import MixtureDataModule
    from nlae.training.resuming import resume_update

    make = context.build("data")
    shared: dict[str, Any] = {
        "store": context.parents["extract"],
        "seed": context.seed,
        "max_updates": updates,
        "start_update": resume_update(context.folder),
        **how,
    }
    if is_mixture(context):
        shared |= {"sites": [site.name for site in context.build("site").sites]}
        data: ActivationDataModule = MixtureDataModule(**{**make.keywords, **shared})
    else:
        data = make(**shared)
    data.setup()
    return data


def validation_rows(data: ActivationDataModule) -> dict[str, ActivationRows]:
    """Validation rows by site; the name is empty where there is only one."""
    found = getattr(data, "validation_at", None)
    return {"": data.validation} if found is None else dict(found)


def validation_sets(
    data: ActivationDataModule, descriptions: Descriptions | None
) -> ValidationSet | dict[str, ValidationSet]:
    """What curves are drawn on: one set, or of a mixture one for each site chosen for it."""
    from nlae.training import validation_set

    sets = {site: validation_set(rows, descriptions) for site, rows in validation_rows(data).items()}
    return sets.get("", sets)


def view(trained: Trained, site: str) -> Autoencoder:
    """The autoencoder of one site; a plain one is its own only view."""
    from nlae.model.mixture import Mixture

    return trained.at(site) if isinstance(trained, Mixture) else trained


def mean_gap(trained: Trained, data: ActivationDataModule) -> float:
    """The start-up probe of the injection, its mean over the sites that are validated."""
    from nlae.training import zero_shot_gap

    return float(np.mean([zero_shot_gap(view(trained, site), rows) for site, rows in validation_rows(data).items()]))


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


def train(context: StageContext, module: Objective, data: Any) -> Trained:
    """Fit, and return what was trained."""
    from nlae.training import fit

    callbacks = list(context.build("callbacks").values())
    fit(module, data, context.folder, run=context.run, trainer=context.build("trainer"), callbacks=callbacks)
    return module.trained


def keep(context: StageContext, pair: Trained, stage: str, updates: dict[str, int]) -> None:
    """Write the checkpoint into the stage's folder, with hashes of the documents it has seen."""
    from nlae.corpus import Corpus

    # the sites of a mixture hold the same rows
    warm, trained = context.node("reconstructor"), next(iter(open_stores(context).values())).split("train")
    pair.meta |= {
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
    pair.save(context.folder)


def write_lines(path: Path, lines: list[str]) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(path)


def final_metrics(module: Objective) -> dict[str, float]:
    """The held-out figures of the last update."""
    return {k: v for k, v in module.metrics.items() if k.startswith("val/")} | {"updates": float(module.update)}


def show_samples(context: StageContext, trained: Trained, data: ActivationDataModule) -> None:
    """A table of held-out explanations in the run."""
    table, by_site = [], validation_rows(data)
    for site, rows in by_site.items():
        pair, few = view(trained, site), rows.select(np.arange(min(TABLE_ROWS // len(by_site), len(rows))))
        seeds = pair.row_seeds(context.seed, "samples", [int(row) for row in few.row])
        written = pair.verbalize(few.all(), seeds=seeds)
        decode = pair.target.tokenizer.decode
        for i, said in enumerate(written):
            table.append([pair.site.name, int(few.row[i]), decode(few.context_ids(i)), said.text, said.closed])
    context.run.table("explanations", ["site", "row", "context", "explanation", "closed"], table)
