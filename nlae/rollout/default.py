"""The engine of whoever names none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nlae.rollout.local import LocalRollout
from nlae.rollout.plain import PlainRollout
from nlae.target.cache import keeps_state

if TYPE_CHECKING:
    from nlae.rollout.base import RolloutEngine
    from nlae.target import Target

logger = logging.getLogger(__name__)


def default_engine(target: Target) -> RolloutEngine:
    """`local`, or `plain` where the target's blocks keep a running state, which is said."""
    if not keeps_state(target.model.config):
        return LocalRollout()
    logger.info(
        "target %s: its blocks keep a running state; explanations are written as by rollout=plain, slowly",
        target.source_name,
    )
    return PlainRollout()
