"""What waits are divided by: decoding steps, joins, micro-batches, updates; and in which activity they happen.

Names of the project's functions stand here and nowhere else: one that has moved is an AttributeError at the start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import nlae.model.learner as learner
import nlae.model.micro as micro
import nlae.pipeline.run as pipeline
import nlae.training.reinforce as reinforce
from nlae.model.reconstructor import Reconstructor
from nlae.model.site_reconstructor import SiteReconstructor
from nlae.model.verbalizer import Verbalizer
from nlae.rollout import decoder, local, plain
from pretend_cuda.ledger import LEDGER


def follow() -> None:
    """Note stage and activity in the ledger from now on."""
    pipeline.stage_module = _stages(pipeline.stage_module)
    _within(decoder.Decoder, "step", "local step", "local steps")
    _within(local._Run, "_join", "local join", "local joins")
    _within(local._Run, "_leave", "local look", "local looks")
    _within(local._Run, "_sample", "local step")
    _within(local.LocalRollout, "__call__", "local call", "local calls")
    _within(plain.PlainRollout, "__call__", "plain", "plain calls")
    _within(plain._Decoding, "_draw", "plain", "plain steps")
    for trained in (Verbalizer, Reconstructor, reinforce.Reinforce):
        _within(trained, "validate", "validate", "validations")
    _within(Verbalizer, "sft_loss", "sft", "sft calls")
    _within(Reconstructor, "reconstruction_loss", "regress", "regress calls")
    _within(Reconstructor, "row_errors", "regress", "regress calls")
    _within(learner.Learner, "step", "optimizer", "optimizer steps")
    _within(reinforce.Reinforce, "_improve", "improve", "improve calls")
    _within(micro, "_part", None, "responses micro-batches")
    for reader in (Reconstructor, SiteReconstructor):
        _within(reader, "read", None, "reader micro-batches", only=lambda: LEDGER.phase.endswith("/regress"))


def _within(
    owner: Any, name: str, activity: str | None, unit: str = "", only: Callable[[], bool] = lambda: True
) -> None:
    """Wrap a function: each call is one `unit`, and what it does belongs to `activity`."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Any:
        stage = LEDGER.phase.split("/")[0]
        if unit and only():
            LEDGER.mark(f"{stage}/{unit}")
        if activity is None:
            return inner(*args, **kwargs)
        with LEDGER.within(f"{stage}/{activity}"):
            return inner(*args, **kwargs)

    setattr(owner, name, outer)


def _stages(stage_module: Callable[[str], Any]) -> Callable[[str], Any]:
    def module(stage: str) -> Any:
        found = stage_module(stage)

        class Stage:
            def __getattr__(self, name: str) -> Any:
                return getattr(found, name)

            @staticmethod
            def run(context: Any) -> Any:
                with LEDGER.within(stage):
                    return found.run(context)

        return Stage()

    return module
