"""Output score: does pushing along a write direction raise the tokens that it is said to promote?

Every direction is added to the last position of a few contexts, as loudly as it takes to move the next-token
distribution by the same Kullback–Leibler divergence, and its promoted tokens are compared with what random directions
do to them at that same divergence, and with what it does to another neuron's promoted tokens. Matching matters: any
direction raises some tokens if it is loud enough. Left out: steering earlier positions and free generation, which say
more about a model's taste than about a neuron. Near the last layer the score is close to a tautology, because promoted
tokens are read off the same unembedding; it is a claim about early and middle layers.

Shape suffixes: n directions, B contexts, T tokens, D model width, V vocabulary, K promoted tokens, R random directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from nlae.dictionary.steering_settings import SteeringSettings
from nlae.errors import NlaeError
from nlae.functional.randomness import generator
from nlae.target.cache import fork, keeps_state, read_on
from nlae.target.hooks import first
from nlae.target.model import Target
from nlae.target.site import Site

TOLERANCE = 0.05  # of the divergence; rounding beyond it moves no rank
MAX_STEPS = 16
COLUMNS = 8  # figures of one direction


@dataclass(frozen=True)
class OutputScores:
    """What steering did, one entry per direction; NaN where no loudness reached the divergence.

    Attributes:
        score_n: probability that a promoted token gains more log-odds than under a random direction at the same
            divergence, over tokens, contexts and random directions; 0.5 is chance. The output score.
        decoy_score_n: the same of another neuron's promoted tokens: what any loud direction does to such tokens; NaN
            where there is no other.
        gain_n: mean gain of the promoted tokens' log-odds, nats.
        random_n: the same tokens' mean gain under the random directions.
        decoy_n: mean gain, under this direction, of those other tokens; NaN where there are none.
        rank_n: mean halvings of the promoted tokens' rank, log2(rank before / rank after), less the random ones'.
        scale_n: loudness that the divergence took, as a multiple of the typical norm of what is written there.
        kl_n: divergence reached.
        random_reached: share of the random directions that reached the divergence.
    """

    score_n: Tensor
    decoy_score_n: Tensor
    gain_n: Tensor
    random_n: Tensor
    decoy_n: Tensor
    rank_n: Tensor
    scale_n: Tensor
    kl_n: Tensor
    random_reached: float


def output_scores(
    target: Target,
    layer: int,
    neurons: Sequence[int],
    promoted_nK: Tensor,
    context_BT: Tensor,
    settings: SteeringSettings | None = None,
    *,
    signs: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> OutputScores:
    """Output scores of neurons of one layer.

    Args:
        target: the model.
        layer: block.
        neurons: entries of the down-projection's input.
        promoted_nK: tokens that each of them is said to promote.
        context_BT: token ids, all rows of the same length.
        settings: see `SteeringSettings`.
        signs: +1 or −1 for each neuron: which side of it pushes; all +1 by default.
        progress: called with the number of directions just finished.
    """
    write_nD = write_directions(target, layer, neurons)
    if signs is not None:
        write_nD = write_nD * torch.tensor(list(signs), dtype=write_nD.dtype)[:, None]
    site = Site("mlp_out", layer).resolve(target.n_layers)
    return direction_scores(
        target, site, write_nD, promoted_nK, context_BT, settings, owners=neurons, progress=progress
    )


@torch.no_grad()
def direction_scores(
    target: Target,
    site: Site,
    direction_nD: Tensor,
    promoted_nK: Tensor,
    context_BT: Tensor,
    settings: SteeringSettings | None = None,
    *,
    owners: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> OutputScores:
    """Output scores of any directions that are added at `site`; see `output_scores`.

    `owners` says which neuron each direction belongs to, so that its other side is not taken for another neuron; None:
    each is one of its own.

    Raises:
        ValueError: shapes that do not belong together.
    """
    settings = settings or SteeringSettings()
    n = len(direction_nD)
    if promoted_nK.shape[:1] != (n,) or context_BT.ndim != 2 or context_BT.shape[1] < 2:
        raise ValueError(f"{n} directions, promoted {tuple(promoted_nK.shape)}, contexts {tuple(context_BT.shape)}")
    steering = _Steering(target, site, context_BT)
    source = generator(settings.seed, "steering", site.name)
    random_RD = torch.randn(settings.random, direction_nD.shape[1], generator=source)
    tokens_U, place_nK = promoted_nK.unique(return_inverse=True)
    size = max(1, settings.rows // len(context_BT))
    noise = [steering.match(rows_RD, settings.kl, tokens_U) for rows_RD in random_RD.split(size)]
    random_gain_RBU = torch.cat([part.gain_nBU[part.reached_n] for part in noise])
    random_rank_RBU = torch.cat([part.halvings_nBU[part.reached_n] for part in noise])
    others = _others(range(n) if owners is None else owners)
    columns: list[Tensor] = []
    done = 0
    for rows_nD in direction_nD.float().split(size):
        part = steering.match(rows_nD, settings.kl, tokens_U)
        for row in range(len(rows_nD)):
            other = others[done + row]
            other_K = None if other is None else place_nK[other]
            columns.append(_column(part, row, place_nK[done + row], other_K, random_gain_RBU, random_rank_RBU))
        done += len(rows_nD)
        if progress is not None:
            progress(len(rows_nD))
    table_nC = torch.stack(columns) if columns else torch.empty(0, COLUMNS)
    score, decoy_score, gain, noise_gain, decoy, rank, scale, kl = table_nC.unbind(1)
    reached = len(random_gain_RBU) / max(1, settings.random)
    return OutputScores(score, decoy_score, gain, noise_gain, decoy, rank, scale / steering.loudness, kl, reached)


def _others(owners: Sequence[int]) -> list[int | None]:
    """The direction before each one, in a circle, that belongs to another owner; None where all have the same."""
    n = len(owners)
    return [
        next(((place - step) % n for step in range(1, n) if owners[place - step] != owners[place]), None)
        for place in range(n)
    ]


def write_directions(target: Target, layer: int, neurons: Sequence[int]) -> Tensor:
    """What each neuron adds to the output of its MLP per unit of activation, float32 (n, D)."""
    block = target.architecture.blocks(target.model)[layer]
    return target.architecture.down_weight(block).detach().T[list(neurons)].float().cpu()


@dataclass(frozen=True)
class _Matched:
    """Directions brought to one divergence: gain in log-odds and halvings of rank of the tokens U."""

    gain_nBU: Tensor
    halvings_nBU: Tensor
    scale_n: Tensor
    kl_n: Tensor
    reached_n: Tensor


class _Steering:
    """The contexts read up to their last token, whose step is repeated for every direction and loudness."""

    def __init__(self, target: Target, site: Site, context_BT: Tensor) -> None:
        self.target, self.site = target, site
        self.decoder = target.architecture.decoder(target.model)
        self.context_BT = context_BT.to(target.device)
        if keeps_state(self.decoder.config):
            raise NlaeError(
                f"steering: blocks of {target.source_name} keep a running state, which cannot be shared by many "
                "directions; set dictionary.steered=0"
            )
        self.prefix = DynamicCache(config=self.decoder.config)
        read_on(self.decoder, self.prefix, input_ids=self.context_BT[:, :-1])
        module, _ = target.architecture.hooked(target.model, site.kind, site.index)
        self.module: nn.Module = module
        self.norms: list[Tensor] = []
        with _added(self.module, None, self.norms):
            self.base_BV = self._step(1).log_softmax(-1)[0]
        self.loudness = float(self.norms[0].median())

    def _step(self, repeats: int) -> Tensor:
        """Logits of the last token's step, (repeats, B, V); the cache of the contexts stays as it is."""
        cache = fork(self.prefix)
        if repeats > 1:
            cache.batch_repeat_interleave(repeats)
        last_B1 = self.context_BT[:, -1:].repeat_interleave(repeats, 0)
        out = read_on(self.decoder, cache, input_ids=last_B1)
        logits_XV = self.target.logits(out.last_hidden_state[:, -1])
        return logits_XV.view(len(self.context_BT), repeats, -1).transpose(0, 1)

    def _steered(self, unit_nD: Tensor, scale_n: Tensor) -> Tensor:
        """Log-probabilities under each direction at each loudness, (n, B, V)."""
        push_nD = (unit_nD * scale_n[:, None]).to(self.target.device)
        push_XD = push_nD.repeat(len(self.context_BT), 1)  # contexts outside, directions inside, as in `_step`
        with _added(self.module, push_XD, []):
            return self._step(len(unit_nD)).log_softmax(-1)

    def match(self, direction_nD: Tensor, kl: float, tokens_U: Tensor) -> _Matched:
        """Find each direction's loudness at which the mean divergence over contexts is `kl`.

        The divergence grows about as the square of the loudness; each step follows that, inside the bracket that the
        steps before have left, and halves the bracket where it would leave it.
        """
        unit_nD = direction_nD.float() / direction_nD.float().norm(dim=-1, keepdim=True).clamp_min(1e-12)
        n = len(unit_nD)
        scale_n = torch.full((n,), self.loudness)
        low_n, high_n = torch.zeros(n), torch.full((n,), torch.inf)
        kl_n, open_n = torch.full((n,), torch.nan), torch.ones(n, dtype=torch.bool)
        shape = (n, len(self.context_BT), len(tokens_U))
        gain_nBU, halvings_nBU = torch.zeros(shape), torch.zeros(shape)
        for _ in range(MAX_STEPS):
            rows = torch.nonzero(open_n).squeeze(1)
            if not len(rows):
                break
            logp_nBV = self._steered(unit_nD[rows], scale_n[rows])
            kl_n[rows] = (logp_nBV.exp() * (logp_nBV - self.base_BV)).sum(-1).mean(1).cpu()
            closed = (kl_n[rows] / kl - 1).abs() <= TOLERANCE
            if bool(closed.any()):
                logp = logp_nBV[closed.to(logp_nBV.device)]
                gain_nBU[rows[closed]], halvings_nBU[rows[closed]] = self._read(logp, tokens_U)
                open_n[rows[closed]] = False
            left = rows[~closed]
            scale_n[left], low_n[left], high_n[left] = _next(scale_n[left], kl_n[left] / kl, low_n[left], high_n[left])
        return _Matched(gain_nBU, halvings_nBU, scale_n, kl_n, ~open_n)

    def _read(self, logp_nBV: Tensor, tokens_U: Tensor) -> tuple[Tensor, Tensor]:
        """Gain in log-odds, and halvings of rank, of the tokens."""
        gain_nBU = log_odds(logp_nBV[..., tokens_U]) - log_odds(self.base_BV[..., tokens_U])
        before_BU = ranks(self.base_BV, tokens_U)
        after_nBU = torch.stack([ranks(logp_BV, tokens_U) for logp_BV in logp_nBV])
        return gain_nBU.cpu(), (before_BU / after_nBU).log2().cpu()


def log_odds(logp: Tensor) -> Tensor:
    """Log-odds: log p − log(1 − p), finite for p that rounds to 1."""
    return logp - torch.log((-torch.expm1(logp)).clamp_min(1e-12))


def ranks(logp_BV: Tensor, tokens_U: Tensor) -> Tensor:
    """Rank of each token in each row, 1 for the likeliest, float32 (B, U)."""
    ascending_BV = logp_BV.sort(dim=-1).values
    above_BU = logp_BV.shape[-1] - torch.searchsorted(ascending_BV, logp_BV[:, tokens_U].contiguous(), right=True)
    return above_BU.float() + 1


def _next(scale_n: Tensor, ratio_n: Tensor, low_n: Tensor, high_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The next loudness to try for each direction, and the bracket it lies in."""
    quiet_n = (ratio_n < 1) & ratio_n.isfinite()
    low_n = torch.where(quiet_n, scale_n, low_n)
    high_n = torch.where(quiet_n, high_n, scale_n)
    wished_n = scale_n * ratio_n.clamp_min(1e-12).rsqrt().nan_to_num(0.25).clamp(1 / 16, 16)
    middle_n = torch.where(low_n > 0, (low_n * high_n).sqrt(), high_n / 4)
    inside_n = (wished_n > low_n * 1.01) & (wished_n < high_n / 1.01)
    return torch.where(inside_n | ~high_n.isfinite(), wished_n, middle_n), low_n, high_n


def _column(
    part: _Matched, row: int, own_K: Tensor, other_K: Tensor | None, random_RBU: Tensor, random_rank_RBU: Tensor
) -> Tensor:
    """All figures of one direction, in the order of `direction_scores`."""
    if not bool(part.reached_n[row]) or not len(random_RBU):
        return torch.full((COLUMNS,), torch.nan)
    gain_BK, noise_RBK = part.gain_nBU[row][:, own_K], random_RBU[:, :, own_K]
    decoy_score = decoy_gain = torch.tensor(torch.nan)
    if other_K is not None:
        other_BK = part.gain_nBU[row][:, other_K]
        decoy_score, decoy_gain = _beats(other_BK, random_RBU[:, :, other_K]), other_BK.mean()
    halvings = part.halvings_nBU[row][:, own_K].mean() - random_rank_RBU[:, :, own_K].mean()
    return torch.stack(
        [
            _beats(gain_BK, noise_RBK),
            decoy_score,
            gain_BK.mean(),
            noise_RBK.mean(),
            decoy_gain,
            halvings,
            part.scale_n[row],
            part.kl_n[row],
        ]
    )


def _beats(gain_BK: Tensor, noise_RBK: Tensor) -> Tensor:
    """How often a gain exceeds that under a random direction, ties half."""
    return ((gain_BK > noise_RBK).float() + 0.5 * (gain_BK == noise_RBK).float()).mean()


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
