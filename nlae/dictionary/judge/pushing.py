"""Output score: does pushing along a write direction raise the tokens that it is said to promote?

Every direction is added to the last position of a few contexts, as loudly as it takes to move the next-token
distribution by the same Kullback–Leibler divergence, and its promoted tokens are compared with what random directions
do to them at that same divergence. Matching matters: any direction raises some tokens if it is loud enough. The null is
another neuron's promoted tokens. Left out: steering earlier positions and free generation. Near the last layer the
score is close to a tautology, because promoted tokens are read off the same unembedding.

Shape suffixes: n directions, B contexts, T tokens, D model width, V vocabulary, K promoted tokens, U tokens that count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from nlae.dictionary.judge.steering import Steering
from nlae.errors import NlaeError
from nlae.functional.randomness import generator
from nlae.target.cache import fork, keeps_state, read_on
from nlae.target.hooks import first
from nlae.target.model import Target
from nlae.target.site import Site

TOLERANCE = 0.05  # of the divergence; rounding beyond it moves no rank
MAX_STEPS = 16


def output_scores(
    target: Target,
    layer: int,
    neurons: Sequence[int],
    signs: Sequence[int],
    promoted_nK: Tensor,
    context_BT: Tensor,
    settings: Steering,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """See `Steering.output_scores`."""
    block = target.architecture.blocks(target.model)[layer]
    write_nD = target.architecture.down_weight(block).detach().T[list(neurons)].float().cpu()
    write_nD = write_nD * torch.tensor(list(signs), dtype=write_nD.dtype)[:, None]
    site = Site("mlp_out", layer).resolve(target.n_layers)
    return direction_scores(target, site, write_nD, promoted_nK, context_BT, neurons, settings, progress)


@torch.no_grad()
def direction_scores(
    target: Target,
    site: Site,
    direction_nD: Tensor,
    promoted_nK: Tensor,
    context_BT: Tensor,
    owners: Sequence[int],
    settings: Steering,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """How often promoted tokens gain more log-odds than under a random direction at the same divergence; 0.5 is chance.

    Args:
        target: the model.
        site: where directions are added.
        direction_nD: of any length.
        promoted_nK: tokens of each.
        context_BT: token ids, at least two a row.
        owners: the neuron that each direction belongs to: its other side's tokens are no null.
        settings: see `Steering`.
        progress: called with the number of directions just finished.

    Returns:
        Own promoted tokens' score and another neuron's, float32 (n,) each; NaN where no loudness reaches the
        divergence, and where there is no other neuron.
    """
    if promoted_nK.shape[0] != len(direction_nD) or context_BT.shape[1] < 2:
        raise ValueError(f"{len(direction_nD)} directions, {promoted_nK.shape} promoted, {context_BT.shape} contexts")
    random_RD = torch.randn(
        settings.random, direction_nD.shape[1], generator=generator(settings.seed, "steering", site.name)
    )
    tokens_U, place_nK = promoted_nK.unique(return_inverse=True)
    pushing = Pushing(target, site, context_BT, tokens_U, settings.kl)
    size = max(1, settings.rows // len(context_BT))
    random_RBU = torch.cat([pushing.gains(rows_RD) for rows_RD in random_RD.split(size)])
    random_RBU = random_RBU[~random_RBU.isnan().any(-1).any(-1)]
    scores: list[list[Tensor]] = []
    for rows_nD in direction_nD.float().split(size):
        for gain_BU in pushing.gains(rows_nD):
            other = _other(owners, len(scores))
            picked = [place_nK[len(scores)], None if other is None else place_nK[other]]
            scores.append(
                [torch.tensor(torch.nan) if p is None else _beats(gain_BU[:, p], random_RBU[..., p]) for p in picked]
            )
        if progress is not None:
            progress(len(rows_nD))
    own_n, null_n = torch.tensor(scores).view(-1, 2).unbind(1)
    return own_n, null_n


def log_odds(logp: Tensor) -> Tensor:
    """Log-odds: log p − log(1 − p), finite for p that rounds to 1."""
    return logp - torch.log((-torch.expm1(logp)).clamp_min(1e-12))


def _other(owners: Sequence[int], place: int) -> int | None:
    """The direction before this one, in a circle, that belongs to another owner; None where all have the same."""
    n = len(owners)
    return next(((place - step) % n for step in range(1, n) if owners[place - step] != owners[place]), None)


def _beats(gain_BK: Tensor, random_RBK: Tensor) -> Tensor:
    """How often a gain exceeds that under a random direction, ties half; NaN without either."""
    won_RBK = (gain_BK > random_RBK).float() + 0.5 * (gain_BK == random_RBK).float()
    return torch.tensor(torch.nan) if gain_BK.isnan().any() else won_RBK.mean()


class Pushing:
    """The contexts read up to their last token, whose step is repeated for every direction and loudness."""

    def __init__(self, target: Target, site: Site, context_BT: Tensor, tokens_U: Tensor, kl: float) -> None:
        self.target, self.tokens_U, self.kl = target, tokens_U, kl
        self.decoder = target.architecture.decoder(target.model)
        self.context_BT = context_BT.to(target.device)
        if keeps_state(self.decoder.config):
            raise NlaeError(
                f"steering: blocks of {target.source_name} keep a running state, which cannot be shared by many "
                "directions; set dictionary.steered=0"
            )
        self.prefix = DynamicCache(config=self.decoder.config)
        read_on(self.decoder, self.prefix, input_ids=self.context_BT[:, :-1])
        self.module, _ = target.architecture.hooked(target.model, site.kind, site.index)
        norms: list[Tensor] = []
        with _added(self.module, None, norms):
            self.base_BV = self._step(1).log_softmax(-1)[0]
        self.loudness = float(norms[0].median())

    def gains(self, direction_nD: Tensor) -> Tensor:
        """Gain in log-odds of the tokens, (n, B, U), at the loudness whose mean divergence is the wanted one; else NaN.

        The divergence grows about as the square of the loudness; each step follows that inside the bracket that the
        steps before have left, and halves the bracket where it would leave it.
        """
        unit_nD = direction_nD / direction_nD.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        n = len(unit_nD)
        scale_n, low_n, high_n = torch.full((n,), self.loudness), torch.zeros(n), torch.full((n,), torch.inf)
        gain_nBU = torch.full((n, len(self.context_BT), len(self.tokens_U)), torch.nan)
        left = torch.arange(n)
        for _ in range(MAX_STEPS):
            if not len(left):
                break
            logp_nBV = self._steered(unit_nD[left] * scale_n[left, None])
            ratio_n = (logp_nBV.exp() * (logp_nBV - self.base_BV)).sum(-1).mean(1).cpu() / self.kl
            closed = (ratio_n - 1).abs() <= TOLERANCE
            logp_nBU = logp_nBV[closed.to(logp_nBV.device)][..., self.tokens_U]
            gain_nBU[left[closed]] = (log_odds(logp_nBU) - log_odds(self.base_BV[:, self.tokens_U])).cpu()
            left, ratio_n = left[~closed], ratio_n[~closed]
            scale_n[left], low_n[left], high_n[left] = _next(scale_n[left], ratio_n, low_n[left], high_n[left])
        return gain_nBU

    def _step(self, repeats: int) -> Tensor:
        """Logits of the last token's step, (repeats, B, V); the cache of the contexts stays as it is."""
        cache = fork(self.prefix)
        if repeats > 1:
            cache.batch_repeat_interleave(repeats)
        out = read_on(self.decoder, cache, input_ids=self.context_BT[:, -1:].repeat_interleave(repeats, 0))
        logits_XV = self.target.logits(out.last_hidden_state[:, -1])
        return logits_XV.view(len(self.context_BT), repeats, -1).transpose(0, 1)

    def _steered(self, push_nD: Tensor) -> Tensor:
        """Log-probabilities under each push, (n, B, V)."""
        push_XD = push_nD.to(self.target.device).repeat(len(self.context_BT), 1)  # contexts outside, as in `_step`
        with _added(self.module, push_XD, []):
            return self._step(len(push_nD)).log_softmax(-1)


def _next(scale_n: Tensor, ratio_n: Tensor, low_n: Tensor, high_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The next loudness to try for each direction, and the bracket it lies in."""
    quiet_n = (ratio_n < 1) & ratio_n.isfinite()
    low_n, high_n = torch.where(quiet_n, scale_n, low_n), torch.where(quiet_n, high_n, scale_n)
    wished_n = scale_n * ratio_n.clamp_min(1e-12).rsqrt().nan_to_num(0.25).clamp(1 / 16, 16)
    middle_n = torch.where(low_n > 0, (low_n * high_n).sqrt(), high_n / 4)
    inside_n = (wished_n > low_n * 1.01) & (wished_n < high_n / 1.01)
    return torch.where(inside_n | ~high_n.isfinite(), wished_n, middle_n), low_n, high_n


@contextmanager
def _added(module: nn.Module, push_XD: Tensor | None, norms: list[Tensor]) -> Iterator[None]:
    """Add a vector to each row's output of `module`, or, without vectors, note how large that output is."""

    def on_output(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden_X1D = first(output)
        if push_XD is None:
            norms.append(hidden_X1D[:, -1].float().norm(dim=-1))
            return output
        pushed = hidden_X1D + push_XD[:, None].to(hidden_X1D)
        return (pushed, *output[1:]) if isinstance(output, tuple) else pushed

    handle = module.register_forward_hook(on_output)
    try:
        yield
    finally:
        handle.remove()
