"""Joint reinforcement: the verbalizer is rewarded for words from which the reconstructor rebuilds the activation.

Every update samples a group of explanations per activation, runs the reconstructor once for reward *and* regression,
then takes one policy step and one regression step. Two continuations of the same warm start share this code, so that
what reinforcement itself adds can be measured: `frozen` trains the reconstructor alone on the rollouts of a verbalizer
that stands still, `supervised` goes on with the teacher's text. A value network and replay are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlae.functional.policy import group_advantages, k3, surrogate
from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import unit
from nlae.functional.transfers import Figures, send
from nlae.rollout import RolloutEngine, Rollouts
from nlae.training.base import Objective
from nlae.training.micro import responses
from nlae.training.reward import Reward, Scored
from nlae.training.settings import ALGORITHMS


class Reinforce(Objective):
    """Group-relative policy gradient on the verbalizer, regression on the reconstructor.

    Args:
        engine: writes the explanations.
        reward: what they earn.
        algorithm: `grpo` or `rloo`; or a control: `frozen` or `supervised`.
        samples: explanations per activation.
        kl: weight of the k3 penalty to the warm-started policy.
        clip: of the probability ratio.
        **shared: see `Objective`.
    """

    name = "reinforce"

    def __init__(
        self,
        build: Any,
        *,
        engine: RolloutEngine,
        reward: Reward,
        algorithm: str = "grpo",
        samples: int = 8,
        kl: float = 0.02,
        clip: float = 0.2,
        **shared: Any,
    ) -> None:
        super().__init__(build, **shared)
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm {algorithm!r} is none of {', '.join(ALGORITHMS)}")
        self.engine, self.reward, self.algorithm = engine, reward, algorithm
        self.samples, self.kl, self.clip = samples, kl, clip

    def configure_model(self) -> None:
        """Load weights, and freeze the warm-started policy as the KL reference where there is a penalty."""
        fresh = self.pair is None
        super().configure_model()
        if fresh and self.kl:
            self.trained.verbalizer.freeze_reference()

    def training_step(self, batch: Any, index: int) -> None:
        """One update on `Batch` of activations (with the teacher's text for `supervised`)."""
        self.site = getattr(batch, "site", "")
        if self.algorithm == "supervised":
            written = self.imitate(batch.activation_BD, batch.explanation)
            figures = {**written, **self.regress(batch.activation_BD, batch.explanation)}
        else:
            figures = self._reinforced(batch.activation_BD, batch.row_B.tolist())
        self.finish_update(self.step_both(figures))

    def _reinforced(self, activation_GD: Tensor, row_G: list[int]) -> dict[str, float | Tensor]:
        pair, n = self.autoencoder, self.samples
        activation_BD = activation_GD.to(pair.target.device).repeat_interleave(n, 0)
        seeds = [derive_seed(self.seed, self.name, self.update, row, i) for row in row_G for i in range(n)]
        rollouts = self.engine(pair.verbalizer, activation_BD, seeds)
        error_B = self._regress(rollouts, activation_BD)
        scored = Scored(error_B, rollouts.length.to(error_B.device), rollouts.closed, rollouts.text)
        reward_B, means = self.reward(scored)
        figures: dict[str, float | Tensor] = {
            **means,
            "reconstructor/error": error_B.mean(),
            "rollout/closed_rate": rollouts.closed.float().mean(),
            "rollout/tokens": rollouts.length.float().mean(),
            "rollout/unique": len(set(rollouts.text)) / len(rollouts.text),
        }
        if self.algorithm == "frozen":
            return figures
        advantage_GN = group_advantages(reward_B.view(-1, n), self.algorithm)
        return {**figures, **self._improve(rollouts, activation_GD, advantage_GN)}

    def _regress(self, rollouts: Rollouts, activation_BD: Tensor) -> Tensor:
        """Gradient of the regression loss, and from the same forward the error of every row, detached.

        Empty text carries nothing to regress on; its error is that of the constant μ/‖μ‖.
        """
        pair = self.autoencoder
        error_B = (pair.statistics.constant_D.to(activation_BD.device) - unit(activation_BD)).pow(2).sum(-1)
        filled = [i for i, text in enumerate(rollouts.text) if text.strip()]
        if filled:
            (filled_N,) = send(error_B.device, torch.tensor(filled))
            error_B[filled_N] = self.errors(activation_BD[filled_N], [rollouts.text[i] for i in filled])
        return error_B

    def _improve(self, rollouts: Rollouts, activation_GD: Tensor, advantage_GN: Tensor) -> Figures:
        """Gradient of the clipped surrogate and the KL penalty, a mean over all generated tokens."""
        tokens = rollouts.mask_BT.sum()
        advantage_B = advantage_GN.flatten().to(rollouts.token_BT.device)
        totals: dict[str, Tensor] = {}
        for part in responses(
            self.autoencoder.verbalizer,
            activation_GD,
            rollouts.token_BT,
            rollouts.mask_BT,
            self.micro_tokens,
            reference=self.kl > 0,
        ):
            old_BT = rollouts.logp_BT[part.rows, : part.token_BT.shape[1]]
            loss_BT = surrogate(part.logp_BT, old_BT, advantage_B[part.rows], self.clip)
            seen = {"policy/entropy": -part.logp_BT, "policy/sampler_gap": (part.logp_BT - old_BT).abs()}
            if part.reference_BT is not None:
                seen["policy/kl"] = k3(part.logp_BT, part.reference_BT)
                loss_BT = loss_BT + self.kl * seen["policy/kl"]
            self.manual_backward((loss_BT * part.mask_BT).sum() / tokens)
            for name, value_BT in seen.items():
                mean = ((value_BT.detach() * part.mask_BT).sum() / tokens).double()
                totals[name] = totals[name] + mean if name in totals else mean
        return {**totals, "policy/advantage_std": advantage_GN.std()}
