"""Our objects on a job's model."""

from __future__ import annotations

import copy
from typing import Any

import pyarrow as pa
from torch import nn

from experiments.benchmarks.job import Job
from experiments.benchmarks.models import load_model, load_tokenizer, vectors
from nlae.corpus import Corpus
from nlae.functional.scaling import SiteStatistics, unit
from nlae.model import Autoencoder, Reconstructor, Verbalizer
from nlae.model.adapters import AdapterSettings
from nlae.model.backbone import Backbone
from nlae.model.injection import InjectionSettings
from nlae.model.learner import Learner
from nlae.model.prompt import CLOSE_TAG, Prompt
from nlae.rollout import LocalRollout
from nlae.target import Site, Target


def target(job: Job) -> Target:
    """The frozen model."""
    return Target(load_model(job), load_tokenizer(job), job.model, f"bench-{job.model}")


def site(job: Job) -> Site:
    """Output of the job's block."""
    return Site(layer=job.layer)


def pair(job: Job) -> Autoencoder:
    """A fresh pair with adapters, its verbalizer unable to end an explanation."""
    loaded = target(job)
    adapter = AdapterSettings(job.sizes.rank, float(job.sizes.rank))
    prompt = Prompt("bench", job.verbalizer, job.reconstructor, "", max_tokens=job.sizes.new_tokens)
    direction_ND = unit(vectors(job))
    mean_D = direction_ND.mean(0)
    statistics = SiteStatistics(
        mean_D=mean_D,
        variance=float((direction_ND - mean_D).pow(2).sum(-1).mean()),
        alpha=job.scale,
        norm_median=float(vectors(job).norm(dim=-1).median()),
        count=len(direction_ND),
    )
    place = site(job).resolve(loaded.n_layers)
    shared: dict[str, Any] = {
        "backbone": Backbone(loaded, [place], precision="fp32" if job.dtype == "float32" else "bf16-base"),
        "prompt": prompt,
        "statistics": {place.name: statistics},
        "adapter": adapter,
    }
    made = Autoencoder(
        Verbalizer(injection=InjectionSettings(scale=job.scale), **shared),
        Reconstructor(max_tokens=max(160, job.sizes.new_tokens + 16), **shared),
        engine=LocalRollout(batch_size=max(64, job.n_rows), graphs=bool(job.sizes.graphs)),
    )
    never_closing(made)
    return made


def never_closing(made: Autoencoder) -> None:
    """Let no row of a rollout end before the cap, so that token counts are equal.

    The ending is hidden from what *decodes* tokens: sampling, and with it the arithmetic, is left as it is.
    """
    plain = made.at().verbalizer.tokenizer

    class NeverClosing(type(plain)):  # type: ignore[misc]  # the tokenizer's own class is known at run time only
        def decode(self, *arguments: Any, **options: Any) -> Any:
            return _open(super().decode(*arguments, **options))

        def batch_decode(self, *arguments: Any, **options: Any) -> Any:
            return _open(super().batch_decode(*arguments, **options))

    hidden = copy.copy(plain)
    hidden.__class__ = NeverClosing
    # an id that is never sampled
    hidden.eos_token = None
    made.at().verbalizer.tokenizer = hidden
    made.target.model.generation_config.eos_token_id = None


def _open(text: Any) -> Any:
    if isinstance(text, list):
        return [_open(one) for one in text]
    return text.replace(CLOSE_TAG[1:], "explanation")


def attach(module: Learner) -> Any:
    """Ready what learns for steps without Lightning's Trainer, which would add its own bookkeeping: its optimizers."""
    module.train()
    optimizers = module.configure_optimizers()
    for part in (part for part in module.modules() if isinstance(part, Learner)):
        setattr(part, "manual_backward", lambda loss: loss.backward())  # noqa: B010
    setattr(module, "optimizers", lambda: optimizers)  # noqa: B010
    return optimizers


def corpus(ids: list[list[int]], places: list[tuple[int, int]], splits: list[str] | None = None) -> Corpus:
    """Passages as the corpus stage would have left them; all of them training passages unless said."""
    names = [f"d{i}" for i in range(len(ids))]
    split = splits or ["train"] * len(ids)
    documents = pa.table(
        {
            "document": list(range(len(ids))), "id": names, "origin": names, "source": names, "split": split,
            "text": [""] * len(ids), "input_ids": ids,
        }
    )  # fmt: skip
    rows = pa.table(
        {
            "row": list(range(len(places))),
            "document": [d for d, _ in places],
            "position": [p for _, p in places],
            "token_id": [ids[d][p] for d, p in places],
            "split": [split[d] for d, _ in places],
        }
    )
    return Corpus(documents, rows)


def trainable(part: Any) -> list[nn.Parameter]:
    """Parameters of one half."""
    found: list[nn.Parameter] = part.trainable()
    return found
