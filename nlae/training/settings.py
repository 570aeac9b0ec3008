"""What a config says about an objective; plain numbers, checked before anything is loaded."""

from __future__ import annotations

import dataclasses

from nlae.errors import NlaeError
from nlae.training.base import MICRO_TOKENS, Schedule
from nlae.training.policy import PolicyLoss

CONTROLS = ("frozen", "supervised")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Shared by both objectives.

    Attributes:
        updates: optimizer steps of each role.
        verbalizer_lr: peak learning rate.
        reconstructor_lr: peak learning rate.
        warmup: updates of linear rise.
        decay: share of the peak left at the last update.
        clip_norm: largest gradient norm, per role.
        weight_decay: of AdamW.
        validate_every: updates between two points of the held-out curves.
        validation_rows: rows those points are taken on.
        validation_sites: of a mixture, sites those points are taken at; they share the rows.
        checkpoint_every: updates that a kill can cost.
        micro_tokens: most tokens of one backward, padding counted: memory and speed, not the update.
    """

    updates: int
    verbalizer_lr: float = 5e-4
    reconstructor_lr: float = 5e-4
    warmup: int = 10
    decay: float = 0.1
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    validate_every: int = 50
    validation_rows: int = 64
    validation_sites: int = 4
    checkpoint_every: int = 25
    micro_tokens: int = MICRO_TOKENS

    def __post_init__(self) -> None:
        """Refuse counts that could never train."""
        for name in ("updates", "validate_every", "checkpoint_every", "micro_tokens", "validation_sites"):
            if getattr(self, name) < 1:
                raise NlaeError(f"objective: {name} is {getattr(self, name)}; it must be at least 1")

    @property
    def schedule(self) -> Schedule:
        """Learning rates over the updates."""
        names = [field.name for field in dataclasses.fields(Schedule)]
        return Schedule(**{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStartSettings(TrainingSettings):
    """Supervised start on the teacher's text.

    Attributes:
        verbalizer_batch: rows per update for the verbalizer.
        reconstructor_batch: rows per update for the reconstructor.
        disjoint_documents: no document feeds both.
        reader_sites: of a mixture, sites that the reconstructor learns at in one update; None for all of them.
    """

    verbalizer_batch: int = 16
    reconstructor_batch: int = 16
    disjoint_documents: bool = True
    reader_sites: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReinforceSettings(TrainingSettings):
    """Joint reinforcement, or one of its two controls.

    Attributes:
        policy_loss: how rewards move the policy; None is GRPO.
        control: `frozen` or `supervised` in place of reinforcement.
        activations: per update.
        samples: explanations per activation.
        kl: weight of the k3 penalty to the warm-started policy.
    """

    policy_loss: PolicyLoss | None = None
    control: str | None = None
    activations: int = 8
    samples: int = 8
    kl: float = 0.02

    def __post_init__(self) -> None:
        """Refuse unknown controls and groups that compare nothing."""
        super().__post_init__()
        if self.control not in (None, *CONTROLS):
            raise NlaeError(
                f"objective.reinforce.control is {self.control!r}; choose null or one of {', '.join(CONTROLS)}"
            )
        if self.samples < 2:
            raise NlaeError("objective.reinforce.samples must be at least 2: rewards are compared within a group")
        if self.kl < 0:
            raise NlaeError(f"objective.reinforce.kl={self.kl} would pay for leaving the reference; 0 is no penalty")
