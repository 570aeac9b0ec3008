"""How directions are steered with. No torch here: settings are built before any model is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SteeringSettings:
    """How directions are steered with.

    Attributes:
        kl: divergence in nats that every direction is brought to, mean over contexts, steered against unsteered.
        random: number of random directions.
        rows: contexts × directions read at a time.
        seed: of the random directions; a dictionary puts its own here.
    """

    kl: float = 0.5
    random: int = 16
    rows: int = 256
    seed: int = 0
