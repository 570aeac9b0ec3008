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

from nlae.functional.policy import group_advantages, k3, masked_mean, surrogate
from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import unit
from nlae.objective.base import Objective
from nlae.objective.settings import ALGORITHMS
from nlae.objective.warmstart import magnitude_loss, reconstructor_loss, verbalizer_loss
from nlae.reward import Reward, Scored
from nlae.rollout import RolloutEngine, Rollouts


class Reinforce(Objective):
    """Group-relative policy gradient on the verbalizer, regression on the reconstructor.

    Args:
        engine: writes the explanations.
        reward: what they earn.
        algorithm: `grpo` or `rloo`; or a control: `frozen` or `supervised`.
        samples: explanations per activation.
        kl: weight of the k3 penalty to the warm-started policy.
        clip: of the probability ratio.
        micro_batch: explanations per backward.
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
        micro_batch: int = 32,
        **shared: Any,
    ) -> None:
        super().__init__(build, **shared)
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm {algorithm!r} is none of {', '.join(ALGORITHMS)}")
        self.engine, self.reward, self.algorithm = engine, reward, algorithm
        self.samples, self.kl, self.clip, self.micro_batch = samples, kl, clip, micro_batch

    def configure_model(self) -> None:
        """Load weights, and freeze the warm-started policy as the KL reference."""
        fresh = self.pair is None
        super().configure_model()
        if fresh:
            self.autoencoder.verbalizer.freeze_reference()

    def training_step(self, batch: Any, index: int) -> None:
        """One update on `Batch` of activations (with the teacher's text for `supervised`)."""
        if self.algorithm == "supervised":
            metrics = self._supervised(batch.activation_BD, batch.explanation)
        else:
            metrics = self._reinforced(batch.activation_BD, batch.row_B.tolist())
        self.finish_update({**metrics, **self.step_both()})

    def _supervised(self, activation_BD: Tensor, explanation: list[str]) -> dict[str, float]:
        nll = verbalizer_loss(self.autoencoder, activation_BD, explanation)
        self.manual_backward(nll)
        error, magnitude = reconstructor_loss(self.autoencoder, activation_BD, explanation)
        self.manual_backward(error + magnitude)
        return {"verbalizer/nll": nll.item(), "reconstructor/error": error.item()}

    def _reinforced(self, activation_GD: Tensor, row_G: list[int]) -> dict[str, float]:
        pair, n = self.autoencoder, self.samples
        activation_BD = activation_GD.to(pair.target.device).repeat_interleave(n, 0)
        seeds = [derive_seed(self.seed, self.name, self.update, row, i) for row in row_G for i in range(n)]
        rollouts = self.engine(pair.verbalizer, activation_BD, seeds)
        error_B = self._regress(rollouts, activation_BD)
        scored = Scored(error_B, rollouts.length.to(error_B.device), rollouts.closed, rollouts.text)
        reward_B, metrics = self.reward(scored)
        metrics |= {
            "reconstructor/error": float(error_B.mean()),
            "rollout/closed_rate": float(rollouts.closed.float().mean()),
            "rollout/tokens": float(rollouts.length.float().mean()),
            "rollout/unique": len(set(rollouts.text)) / len(rollouts.text),
        }
        if self.algorithm == "frozen":
            return metrics
        advantage_GN = group_advantages(reward_B.view(-1, n), self.algorithm)
        return metrics | self._improve(rollouts, activation_GD, advantage_GN)

    def _regress(self, rollouts: Rollouts, activation_BD: Tensor) -> Tensor:
        """Gradient of the regression loss, and from the same forward the error of every row, detached.

        Empty text carries nothing to regress on; its error is that of the constant μ/‖μ‖.
        """
        pair, size = self.autoencoder, self.micro_batch
        error_B = (pair.statistics.constant_D.to(activation_BD.device) - unit(activation_BD)).pow(2).sum(-1)
        filled = [i for i, text in enumerate(rollouts.text) if text.strip()]
        for start in range(0, len(filled), size):
            rows = filled[start : start + size]
            predicted_BD, log_norm_B = pair.reconstructor([rollouts.text[i] for i in rows])
            part_B = (predicted_BD - unit(activation_BD[rows])).pow(2).sum(-1)
            share = len(rows) / len(filled)
            self.manual_backward(share * (part_B.mean() + magnitude_loss(pair, activation_BD[rows], log_norm_B)))
            error_B[rows] = part_B.detach()
        return error_B

    def _improve(self, rollouts: Rollouts, activation_GD: Tensor, advantage_GN: Tensor) -> dict[str, float]:
        """Gradient of the clipped surrogate and the KL penalty, in micro-batches of whole groups."""
        pair, n = self.autoencoder, self.samples
        groups = max(1, self.micro_batch // n)
        totals = {"policy/kl": 0.0, "policy/entropy": 0.0, "policy/sampler_gap": 0.0}
        tokens = rollouts.mask_BT.sum()
        for start in range(0, len(activation_GD), groups):
            rows = slice(start * n, (start + groups) * n)
            width = int(rollouts.length[rows].max())
            token_BT, mask_BT = rollouts.token_BT[rows, :width], rollouts.mask_BT[rows, :width]
            old_BT = rollouts.logp_BT[rows, :width]
            given_GD = activation_GD[start : start + groups]
            with torch.no_grad():
                reference_BT = pair.verbalizer.logprobs(given_GD, token_BT, role="reference")
            logp_BT = pair.verbalizer.logprobs(given_GD, token_BT)
            advantage_B = advantage_GN[start : start + groups].flatten().to(logp_BT.device)
            penalty_BT = k3(logp_BT, reference_BT)
            loss_BT = surrogate(logp_BT, old_BT, advantage_B, self.clip) + self.kl * penalty_BT
            share = mask_BT.sum() / tokens
            self.manual_backward(share * masked_mean(loss_BT, mask_BT))
            for name, value_BT in (
                ("policy/kl", penalty_BT),
                ("policy/entropy", -logp_BT),
                ("policy/sampler_gap", (logp_BT - old_BT).abs()),
            ):
                totals[name] += float(share * masked_mean(value_BT.detach(), mask_BT))
        return {**totals, "policy/advantage_std": float(advantage_GN.std())}
