"""A fresh reader of the reconstructor's architecture, trained on other texts: what quotes would carry, fairly judged.

It starts where the reconstructor started (same adapter settings, identity head), takes as many updates, and
shares the frozen base; the autoencoder is not touched. Batch size and peak rate are those of the warm start throughout:
the other rates and batches of reinforcement are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import unit
from nlae.model.backbone import RECONSTRUCTOR
from nlae.model.schedule import Schedule
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.model.site_reconstructor import SiteReconstructor

ROLE = "reader"


def fit_reader(
    autoencoder: SiteAutoencoder,
    texts: Callable[[int], list[str]],
    activations: Callable[[int], Tensor],
    *,
    updates: int,
    batch_size: int,
    lr: float,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Callable[[Sequence[str]], Tensor]:
    """Train a fresh reader and return it as a function from texts to unit vectors (N, D) on the CPU.

    Args:
        autoencoder: whose architecture is copied.
        texts: texts of an update.
        activations: their raw activations.
        updates: optimizer steps.
        batch_size: texts per forward when reading afterwards.
        lr: peak learning rate, with the schedule of the objectives.
        seed: of the adapter's initialisation.
        progress: called with 1 after every update.
    """
    backbone, own = autoencoder.backbone, autoencoder.reconstructor
    backbone.remove(ROLE)
    backbone.add_reader(ROLE, backbone.adapters.get(RECONSTRUCTOR), derive_seed(seed, ROLE) % 2**31)
    mine = backbone.parameters_of(ROLE)[0]
    reader = SiteReconstructor(
        backbone, own.prompt, site=own.site, max_tokens=own.max_tokens, head_rank=own.head_rank, role=ROLE
    )
    optimizer = torch.optim.AdamW(reader.trainable(), lr=lr, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = Schedule(updates=updates)
    for update in range(updates):
        with torch.enable_grad():
            predicted_BD, _ = reader(texts(update))
            error = (predicted_BD - unit(activations(update)).to(predicted_BD.device)).pow(2).sum(-1).mean()
            error.backward()
        norm = torch.nn.utils.clip_grad_norm_(reader.trainable(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule.factor(update)
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if progress is not None:
            progress(1)

    @torch.no_grad()
    def read(given: Sequence[str]) -> Tensor:
        assert backbone.parameters_of(ROLE)[0] is mine, "a reader that was trained later has taken this one's place"
        parts = [reader(list(given[i : i + batch_size]))[0].float().cpu() for i in range(0, len(given), batch_size)]
        return torch.cat(parts)

    return read
