"""Joint reinforcement: the verbalizer is rewarded for words from which the reconstructor rebuilds the activation.

Every update samples a group of explanations per activation, runs the reconstructor once for reward *and* regression,
then takes one policy step and one regression step. Two continuations of the same warm start share this code, so that
what reinforcement itself adds can be measured: `frozen` trains the reconstructor alone on the rollouts of a verbalizer
that stands still, `supervised` goes on with the teacher's text. A value network and replay are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from nlae.activations.datamodule import Batch
from nlae.errors import NlaeError
from nlae.functional.policy import k3
from nlae.functional.randomness import derive_seed
from nlae.functional.scaling import unit
from nlae.functional.transfers import Figures, send
from nlae.model.autoencoder import Autoencoder
from nlae.model.learner import MICRO_TOKENS, Half, Learner
from nlae.model.micro import responses
from nlae.model.optimizer import ADAMW
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.model.validation import validate
from nlae.rollout import RolloutEngine, Rollouts
from nlae.training.faithfulness import Faithfulness
from nlae.training.keeping import KeepBest
from nlae.training.policy import GRPO, PolicyLoss, Sampled
from nlae.training.reading import Reading
from nlae.training.reward import Record, Reward
from nlae.training.stopping import StopUnfaithful

CONTROLS = ("frozen", "supervised")


def check_control(control: str | None) -> None:
    """Raises: NlaeError, when there is no such control."""
    if control not in (None, *CONTROLS):
        raise NlaeError(f"objective.control is {control!r}; choose null or one of {', '.join(CONTROLS)}")


class Reinforce(Learner):
    """A policy loss on the verbalizer, regression on the reconstructor.

    Args:
        autoencoder: both halves, warm-started.
        engine: writes the explanations.
        reward: what they earn.
        policy_loss: how rewards move the policy; GRPO by default.
        control: `frozen` or `supervised` in place of reinforcement; None reinforces.
        reading: what of a rollout is read and rewarded; None reads it whole.
        faithfulness: what is measured beside the round trip on validation rows; None measures the round trip alone.
        keep: which validated weights the fit leaves; None leaves the last.
        stop: ends the fit early; None never does.
        activations: per update.
        samples: explanations per activation.
        kl: weight of the k3 penalty to the warm-started policy.
        verbalizer_lr, reconstructor_lr: peak learning rates.
        updates, warmup, decay, clip_norm, weight_decay, micro_tokens, validate_every, seed, optimizer: see `Learner`.

    Raises:
        NlaeError: an unknown control, or groups that compare nothing.
    """

    name = "reinforce"

    def __init__(
        self,
        autoencoder: Autoencoder,
        *,
        engine: RolloutEngine,
        reward: Reward,
        policy_loss: PolicyLoss | None = None,
        control: str | None = None,
        reading: Reading | None = None,
        faithfulness: Faithfulness | None = None,
        keep: KeepBest | None = None,
        stop: StopUnfaithful | None = None,
        activations: int = 8,
        samples: int = 8,
        kl: float = 0.02,
        verbalizer_lr: float = 5e-4,
        reconstructor_lr: float = 5e-4,
        updates: int = 1000,
        warmup: int = 10,
        decay: float = 0.1,
        clip_norm: float = 1.0,
        weight_decay: float = 0.0,
        micro_tokens: int = MICRO_TOKENS,
        validate_every: int = 50,
        seed: int = 0,
        optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    ) -> None:
        super().__init__(
            updates=updates, warmup=warmup, decay=decay, clip_norm=clip_norm, weight_decay=weight_decay,
            micro_tokens=micro_tokens, validate_every=validate_every, seed=seed, optimizer=optimizer,
        )  # fmt: skip
        check_control(control)
        if samples < 2:
            raise NlaeError("objective.samples must be at least 2: rewards are compared within a group")
        if kl < 0:
            raise NlaeError(f"objective.kl={kl} would pay for leaving the reference; 0 is no penalty")
        self.autoencoder, self.verbalizer, self.reconstructor = (
            autoencoder,
            autoencoder.verbalizer,
            autoencoder.reconstructor,
        )
        for half in (self.verbalizer, self.reconstructor):
            half.micro_tokens = micro_tokens
        self.engine, self.reward, self.control, self.reading = engine, reward, control, reading
        self.faithfulness, self.keep, self.stop = faithfulness, keep, stop
        self.policy_loss = GRPO() if policy_loss is None else policy_loss
        self.activations, self.samples, self.kl = activations, samples, kl
        self.verbalizer_lr, self.reconstructor_lr = verbalizer_lr, reconstructor_lr
        if self.reads_reference:  # the policy as it was warm-started
            self.verbalizer.freeze_reference()

    @property
    def halves(self) -> Mapping[str, tuple[Half[Any], float]]:
        """Both."""
        return {
            "verbalizer": (self.verbalizer, self.verbalizer_lr),
            "reconstructor": (self.reconstructor, self.reconstructor_lr),
        }

    @property
    def reads_reference(self) -> bool:
        """Whether the warm-started policy is kept and read."""
        return self.kl > 0 or bool(getattr(self.policy_loss, "needs_reference", False))

    def trained_state(self) -> dict[str, Tensor]:
        """All trained weights of both halves."""
        return self.autoencoder.trained_state()

    def validate(self) -> dict[str, float]:
        """The round trip, and both halves on the teacher's text, on held-out rows."""
        return validate(self.autoencoder.at, self.validation or {}, self.seed, self.faithfulness)

    def configure_callbacks(self) -> list[pl.Callback]:
        """What ends this fit, and what it leaves: parts of the objective, so that no half is trained anew for them."""
        return [callback for callback in (self.keep, self.stop) if callback is not None]

    def conclude(self, folder: Path) -> None:
        """Bring back the weights that `keep` chooses."""
        if self.keep is not None:
            self.keep.conclude(self, folder)

    def training_step(self, batch: Batch, index: int) -> None:
        """One update on a `Batch` of one site (with the teacher's text for `supervised`)."""
        if self.control == "supervised":
            assert batch.explanation is not None
            written = self.verbalizer.sft_loss(batch.activation_BD, batch.explanation, batch.site)
            rebuilt = self.reconstructor.reconstruction_loss(batch.activations, batch.explanation)
            self.finish_update(self.step({**written, **rebuilt}))
            return
        metrics = self.step(self._reinforced(batch))
        self.reward.check(metrics)
        self.finish_update(metrics)

    def _reinforced(self, batch: Batch) -> Figures:
        view, n = self.autoencoder.at(batch.site), self.samples
        activation_GD = batch.activation_BD
        activation_BD = activation_GD.to(view.target.device).repeat_interleave(n, 0)
        row_B = [row for row in batch.row_B.tolist() for _ in range(n)]
        seeds = [derive_seed(self.seed, self.name, self.update, row, i % n) for i, row in enumerate(row_B)]
        rollouts = self.engine(view.verbalizer, activation_BD, seeds)
        read = rollouts.text
        if self.reading is not None:
            read = self.reading(read, row_B, seed=self.seed, update=self.update)
        error_B, reconstruction_BD = self._rebuilt(view, read, activation_BD)
        record = Record(
            text=rollouts.text,
            activation_BD=activation_BD,
            reconstruction_BD=reconstruction_BD,
            error_B=error_B,
            length_B=rollouts.length.to(error_B.device),
            closed_B=rollouts.closed,
            context_ids=[ids for ids in batch.context_ids for _ in range(n)],
            row=row_B,
            group_B=torch.arange(len(activation_GD)).repeat_interleave(n),
            seeds=seeds,
            token_BT=rollouts.token_BT,
            logp_BT=rollouts.logp_BT,
            mask_BT=rollouts.mask_BT,
            site=view.site.name,
        )
        reward_B, means = self.reward(record)
        figures: dict[str, float | Tensor] = {
            **means,
            "reconstructor/error": error_B.mean(),
            "rollout/closed_rate": rollouts.closed.float().mean(),
            "rollout/tokens": rollouts.length.float().mean(),
            "rollout/unique": len(set(rollouts.text)) / len(rollouts.text),
        }
        if self.control == "frozen":
            return figures
        weight_GN = self.policy_loss.weights(reward_B.view(-1, n), record)
        if not isinstance(weight_GN, Tensor) or weight_GN.shape != (len(activation_GD), n):
            found = tuple(weight_GN.shape) if isinstance(weight_GN, Tensor) else type(weight_GN).__name__
            raise NlaeError(
                f"objective.policy_loss: weights of {type(self.policy_loss).__name__} returned {found}; "
                f"it must return a weight for each of {n} samples of {len(activation_GD)} activations"
            )
        return {**figures, **self._improve(view.verbalizer, rollouts, activation_GD, weight_GN)}

    def _rebuilt(self, view: SiteAutoencoder, texts: list[str], activation_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the regression loss, and from the same forward every row's error (B,) and reconstruction (B, D).

        Empty text carries nothing to regress on; what it gives is the constant μ/‖μ‖.
        """
        constant_D = view.statistics.constant_D.to(activation_BD.device)
        error_B = (constant_D - unit(activation_BD)).pow(2).sum(-1)
        reconstruction_BD = constant_D.expand(len(activation_BD), -1).clone()
        filled = [i for i, text in enumerate(texts) if text.strip()]
        if filled:
            (filled_N,) = send(error_B.device, torch.tensor(filled))
            error_B[filled_N], reconstruction_BD[filled_N] = self.reconstructor.row_errors(
                activation_BD[filled_N], [texts[i] for i in filled], view.site.name
            )
        return error_B, reconstruction_BD

    def _improve(
        self, verbalizer: SiteVerbalizer, rollouts: Rollouts, activation_GD: Tensor, weight_GN: Tensor
    ) -> Figures:
        """Gradient of the policy loss and the KL penalty."""
        tokens = rollouts.mask_BT.sum()
        weight_B = weight_GN.flatten().to(rollouts.token_BT.device)
        totals: dict[str, Tensor] = {}
        for part in responses(
            verbalizer,
            activation_GD,
            rollouts.token_BT,
            rollouts.mask_BT,
            self.micro_tokens,
            reference=self.reads_reference,
        ):
            old_BT = rollouts.logp_BT[part.rows, : part.token_BT.shape[1]]
            loss = self.policy_loss(Sampled(part.logp_BT, old_BT, part.mask_BT, weight_B[part.rows], part.reference_BT))
            seen = {"policy/entropy": -part.logp_BT, "policy/sampler_gap": (part.logp_BT - old_BT).abs()}
            if part.reference_BT is not None:
                seen["policy/kl"] = k3(part.logp_BT, part.reference_BT)
            penalty_BT = self.kl * seen["policy/kl"] if self.kl else None
            self.manual_backward(self._mean(loss, penalty_BT, part.mask_BT, tokens, len(weight_B)))
            for name, value_BT in seen.items():
                mean = ((value_BT.detach() * part.mask_BT).sum() / tokens).double()
                totals[name] = totals[name] + mean if name in totals else mean
        return {**totals, "policy/advantage_std": weight_GN.std()}

    def _mean(self, loss: Tensor, penalty_BT: Tensor | None, mask_BT: Tensor, tokens: Tensor, samples: int) -> Tensor:
        """This micro-batch's share of the update's loss: a mean over all its tokens, or over all its explanations.

        Raises:
            NlaeError: the policy loss has returned neither.
        """
        if loss.shape == mask_BT.shape:
            loss_BT = loss if penalty_BT is None else loss + penalty_BT
            return (loss_BT * mask_BT).sum() / tokens
        if loss.shape == mask_BT.shape[:1]:
            penalty = 0.0 if penalty_BT is None else (penalty_BT * mask_BT).sum() / tokens
            return loss.sum() / samples + penalty
        raise NlaeError(
            f"objective.policy_loss: {type(self.policy_loss).__name__} returned shape {tuple(loss.shape)} for "
            f"{tuple(mask_BT.shape)} tokens; it must return a loss per token or per explanation"
        )
