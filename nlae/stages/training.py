"""What the two training stages share: the rows they validate on, the callbacks, and how a pair is begun and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from torch import Tensor

    from nlae.autoencoder import Autoencoder
    from nlae.objective import Objective
    from nlae.objective.settings import TrainingSettings
    from nlae.store import ActivationRows

DISTRACTORS = 100
TABLE_ROWS = 32


def begin_pair(context: StageContext) -> Autoencoder:
    """An untrained pair with the shape that the config asks for."""
    from nlae.autoencoder import Autoencoder, PairSettings
    from nlae.store import ActivationStore

    store = ActivationStore.open(context.parents["extract"])
    verbalizer, reconstructor = context.build("verbalizer"), context.build("reconstructor")
    settings = PairSettings(
        prompt=context.build("prompt"),
        injection=verbalizer.injection,
        verbalizer_adapter=verbalizer.adapter,
        reconstructor_adapter=reconstructor.adapter,
        magnitude=reconstructor.magnitude,
        max_tokens=reconstructor.max_tokens,
        precision=str(context.config["trainer"]["precision"]),
        seed=context.seed,
    )
    source = context.build("target")
    return Autoencoder(
        source.load(dtype=settings.dtype, device=context.device),
        context.build("site"),
        store.statistics,
        settings,
        meta={"target": source.describe(), "base_checkpoint": source.name},
        distractors_MD=distractors(store.split("train", early=False)),
    )


def distractors(rows: ActivationRows) -> Tensor:
    """Unit vectors of 100 training rows, spread evenly over them: what ranks are taken among."""
    from nlae.functional.scaling import unit

    places = np.linspace(0, len(rows) - 1, min(DISTRACTORS, len(rows))).astype(np.int64)
    return unit(rows.activations(places))


def train(context: StageContext, module: Objective, data: Any, settings: TrainingSettings) -> Autoencoder:
    """Fit, and return the trained pair."""
    from nlae.objective import fit

    fit(
        module,
        data,
        context.folder,
        run=context.run,
        checkpoint_every=settings.checkpoint_every,
        device=context.device,
        callbacks=list(context.build("callbacks").values()),
    )
    return module.autoencoder


def keep(context: StageContext, pair: Autoencoder, stage: str, updates: dict[str, int]) -> None:
    """Write the checkpoint into the stage's folder, with hashes of the documents it has seen."""
    from nlae.corpus import Corpus
    from nlae.store import ActivationStore

    warm, trained = context.node("objective.warmstart"), ActivationStore.open(context.parents["extract"]).split("train")
    pair.meta |= {
        "stage": stage,
        "training": {
            "fingerprint": context.fingerprint,
            "updates": updates,
            "batch": warm["reconstructor_batch"],
            "lr": warm["reconstructor_lr"],
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


def show_samples(context: StageContext, pair: Autoencoder, rows: ActivationRows) -> None:
    """A table of held-out explanations in the run."""
    few = rows.select(np.arange(min(TABLE_ROWS, len(rows))))
    seeds = pair.row_seeds(context.seed, "samples", [int(row) for row in few.row])
    written = pair.verbalize(few.all(), seeds=seeds)
    decode = pair.target.tokenizer.decode
    table = [[int(few.row[i]), decode(few.context_ids(i)), written[i].text, written[i].closed] for i in range(len(few))]
    context.run.table("explanations", ["row", "context", "explanation", "closed"], table)
