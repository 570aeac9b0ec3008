"""Output score: does steering along a write direction raise the tokens that it is said to promote?

Every direction is added to the last position of a few contexts, as loudly as it takes to move the next-token
distribution by the same Kullback–Leibler divergence, and its promoted tokens are compared with what random directions
do to them at that same divergence. Matching matters: any direction raises some tokens if it is loud enough. The null is
another neuron's promoted tokens. Left out: steering earlier positions and free generation. Near the last layer the
score is close to a tautology, because promoted tokens are read off the same unembedding.

Shape suffixes: n directions, R random ones, B contexts, T tokens, D model width, V vocabulary, K promoted tokens, U
tokens that count, X rows of a forward pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from nlae.errors import NlaeError
from nlae.functional.randomness import generator
from nlae.target import Site, Target, capture
from nlae.target.cache import fork, keeps_state, read_on
from nlae.target.hooks import first

KL = 0.5  # nats that every direction is brought to, mean over contexts, steered against unsteered
TOLERANCE, MAX_STEPS = 0.05, 16  # share of it that may be missed: rounding beyond moves no rank; forward passes at most
RANDOM = 16  # directions that the promoted tokens are compared with
ROWS = 256  # contexts × directions read at a time


@torch.no_grad()
def output_scores(
    target: Target,
    layer: int,
    neurons: Sequence[int],
    signs: Sequence[int],
    promoted_nK: Tensor,
    context_BT: Tensor,
    *,
    seed: int = 0,
    kl: float = KL,
) -> tuple[Tensor, Tensor]:
    """How often promoted tokens gain more log-odds than under a random direction at the same divergence; 0.5 is chance.

    Args:
        target: the model.
        layer: block.
        neurons: entries of the down-projection's input.
        signs: +1 or −1 for each: which side of it is steered with.
        promoted_nK: tokens that each of them is said to promote.
        context_BT: token ids, at least two a row.
        seed: of the random directions.
        kl: divergence in nats.

    Returns:
        Own promoted tokens' score and another neuron's, float32 (n,) each; NaN where no loudness reaches the
        divergence, and where there is no other neuron.

    Raises:
        NlaeError: a model whose blocks keep a running state.
    """
    down_Dn = target.architecture.down_weight(target.architecture.blocks(target.model)[layer]).detach()
    write_nD = down_Dn.T[list(neurons)].float().cpu() * torch.tensor(list(signs)).float()[:, None]
    tokens_U, place_nK = promoted_nK.unique(return_inverse=True)
    steered = Steered(target, layer, context_BT, tokens_U, kl)
    random_RD = torch.randn(RANDOM, write_nD.shape[1], generator=generator(seed, "steering", f"mlp_out.{layer}"))
    random_RBU = steered.gains(random_RD)
    random_RBU = random_RBU[~random_RBU.isnan().any(-1).any(-1)]
    score_n2 = torch.full((len(neurons), 2), torch.nan)
    for place, gain_BU in enumerate(steered.gains(write_nD)):
        # the null's tokens: of the nearest one before, in a circle, that is not the same neuron's other side
        before = (place - step for step in range(1, len(neurons)))
        other = next((row for row in before if neurons[row] != neurons[place]), None)
        for column, owner in enumerate((place, other)):
            if owner is not None and not gain_BU.isnan().any():
                gain_BK, random_RBK = gain_BU[:, place_nK[owner]], random_RBU[..., place_nK[owner]]
                won_RBK = (gain_BK > random_RBK).float() + 0.5 * (gain_BK == random_RBK).float()
                score_n2[place, column] = won_RBK.mean()
    return score_n2[:, 0], score_n2[:, 1]


def log_odds(logp: Tensor) -> Tensor:
    """Log-odds: log p − log(1 − p), finite for p that rounds to 1."""
    return logp - torch.log((-torch.expm1(logp)).clamp_min(1e-12))


class Steered:
    """Contexts read up to their last token, whose step is repeated for every direction and loudness at a block's MLP.

    The arguments are those of `output_scores`, with the tokens whose gains count.
    """

    def __init__(self, target: Target, layer: int, context_BT: Tensor, tokens_U: Tensor, kl: float) -> None:
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
        self.module, _ = target.architecture.hooked(target.model, "mlp_out", layer)
        with capture(target.model, Site("mlp_out", layer)) as seen:
            self.base_BV = self._step(1).log_softmax(-1)[0]
        self.loudness = float(seen.value[:, -1].float().norm(dim=-1).median())

    def gains(self, direction_nD: Tensor) -> Tensor:
        """Gain in log-odds of the tokens, (n, B, U), at the loudness of the wanted divergence; NaN where none is."""
        size = max(1, ROWS // len(self.context_BT))
        return torch.cat([self._gains(rows_nD) for rows_nD in direction_nD.split(size)])

    def _gains(self, direction_nD: Tensor) -> Tensor:
        """The divergence grows about as the square of the loudness: each step follows that within its bracket."""
        unit_nD = direction_nD / direction_nD.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        n = len(unit_nD)
        scale_n, low_n, high_n = torch.full((n,), self.loudness), torch.zeros(n), torch.full((n,), torch.inf)
        gain_nBU = torch.full((n, len(self.context_BT), len(self.tokens_U)), torch.nan)
        left = torch.arange(n)
        for _ in range(MAX_STEPS):
            if not len(left):
                break
            push_XD = (unit_nD[left] * scale_n[left, None]).repeat(len(self.context_BT), 1)  # contexts outside
            with _added(self.module, push_XD.to(self.target.device)):
                logp_nBV = self._step(len(left)).log_softmax(-1)
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


def _next(scale_n: Tensor, ratio_n: Tensor, low_n: Tensor, high_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The next loudness to try, and the bracket it lies in, which is halved where the guess would leave it."""
    quiet_n = (ratio_n < 1) & ratio_n.isfinite()
    low_n, high_n = torch.where(quiet_n, scale_n, low_n), torch.where(quiet_n, high_n, scale_n)
    wished_n = scale_n * ratio_n.clamp_min(1e-12).rsqrt().nan_to_num(0.25).clamp(1 / 16, 16)
    middle_n = torch.where(low_n > 0, (low_n * high_n).sqrt(), high_n / 4)
    inside_n = (wished_n > low_n * 1.01) & (wished_n < high_n / 1.01)
    return torch.where(inside_n | ~high_n.isfinite(), wished_n, middle_n), low_n, high_n


@contextmanager
def _added(module: nn.Module, push_XD: Tensor) -> Iterator[None]:
    """Add a vector to each row's output of `module`."""

    def on_output(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden_XTD = first(output)
        pushed_XTD = hidden_XTD + push_XD[:, None].to(hidden_XTD)
        return (pushed_XTD, *output[1:]) if isinstance(output, tuple) else pushed_XTD

    handle = module.register_forward_hook(on_output)
    try:
        yield
    finally:
        handle.remove()
