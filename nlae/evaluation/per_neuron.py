"""How much of every single neuron survives the words, and how much could survive at all.

`r2` is raw-space: 1 − Σ(a−â)² / Σ(a−m)² over held-out rows, with â = predicted direction × predicted norm (the
magnitude head's, else the site's one fitted scalar) and m the neuron's mean over training rows. `r2_shrunk` lets each
neuron shrink to its mean by one factor fitted on validation rows. `ceiling` is the held-out R² of the best ridge map
from what is injected, before its norm is set: a vector of d_model numbers cannot carry d_mlp of them. All of it is
about mean-square error, which rare large activations rule; it stands beside the scores of a dictionary, deciding none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from nlae.files.arrow import replacing
from nlae.functional.reconstruction import explained

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
FILE = "neurons.parquet"
BLOCK = 1024  # neurons whose predictions are in memory at once


def neuron_r2(pred_BN: Tensor, true_BN: Tensor, mean_N: Tensor) -> Tensor:
    """R² of each neuron around its training mean, float64 [N]; NaN where it never leaves that mean in these rows."""
    pred_BN, true_BN, mean_N = pred_BN.double(), true_BN.double(), mean_N.double()
    total_N = (true_BN - mean_N).square().sum(0)
    r2_N = explained((true_BN - pred_BN).square().sum(0), total_N)
    return torch.where(total_N > 0, r2_N, torch.full_like(r2_N, float("nan")))


def fit_neuron_shrink(pred_BN: Tensor, true_BN: Tensor, mean_N: Tensor) -> Tensor:
    """Each neuron's factor s in [0, 1] for which m + s(â − m) is the least-squares prediction, float64 [N]."""
    pred_BN, true_BN = pred_BN.double() - mean_N.double(), true_BN.double() - mean_N.double()
    power_N = pred_BN.square().sum(0)
    factor_N = (pred_BN * true_BN).sum(0) / power_N.clamp_min(torch.finfo(torch.float64).tiny)
    return factor_N.clamp(0, 1)


class Ridge:
    """Linear maps with offset from x to y for any penalty, from one decomposition.

    Args:
        x_BD: inputs of the training rows.
        y_BN: outputs of the same rows.
    """

    def __init__(self, x_BD: Tensor, y_BN: Tensor) -> None:
        x_BD = x_BD.double()
        self.x_mean_D = x_BD.mean(0)
        self.y_mean_N = torch.cat([y_BN[:, part].double().mean(0) for part in _blocks(y_BN)])
        x_BD = x_BD - self.x_mean_D
        self.value_D, self.vector_DD = torch.linalg.eigh(x_BD.T @ x_BD)
        centred = (y_BN[:, part].double() - self.y_mean_N[part] for part in _blocks(y_BN))
        self.target_DN = torch.cat([self.vector_DD.T @ (x_BD.T @ y_Bn) for y_Bn in centred], 1)

    def project(self, x_BD: Tensor) -> Tensor:
        """Inputs in the coordinates that `outputs` takes, float64 [B, D]."""
        return (x_BD.double() - self.x_mean_D) @ self.vector_DD

    def outputs(self, projected_BD: Tensor, penalty: float | Tensor, part: slice = slice(None)) -> Tensor:
        """Outputs of projected inputs under a penalty, or under one for each output; float64 [B, N].

        Args:
            projected_BD: from `project`.
            penalty: in units of the inputs' mean square; one number, or [N].
            part: the outputs that are wanted.
        """
        ridge = penalty * self.value_D.mean().clamp_min(1e-30)
        target_DN = self.target_DN[:, part] / (self.value_D.clamp_min(0)[:, None] + ridge)
        return self.y_mean_N[part] + projected_BD @ target_DN

    def predict(self, x_BD: Tensor, penalty: float) -> Tensor:
        """Outputs under a penalty, in units of the inputs' mean square; float64 [B, N]."""
        return self.outputs(self.project(x_BD), penalty)


def linear_ceiling(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    penalties: Sequence[float] = PENALTIES,
) -> tuple[Tensor, Tensor]:
    """Held-out R² [N] of each neuron's ridge map from the inputs, and the penalty [N] that validation chose for it.

    Neurons go in blocks, so that beside what is given only a block's predictions are in memory.

    Args:
        train: inputs [B, D] and raw neurons [B, N] of the rows it is fitted on.
        validation: those of the rows that choose the penalty.
        test: those of the rows it is measured on.
        penalties: to choose from, in units of the inputs' mean square.
    """
    ridge = Ridge(*train)
    choosing_BD, measuring_BD = ridge.project(validation[0]), ridge.project(test[0])
    given_P = torch.tensor(penalties, dtype=torch.float64)
    ceiling, chosen = [], []
    for part in _blocks(test[1]):
        mean_n = ridge.y_mean_N[part]
        r2 = [neuron_r2(ridge.outputs(choosing_BD, p, part), validation[1][:, part], mean_n) for p in penalties]
        # a neuron that stands still in the validation rows takes the first
        penalty_n = given_P[torch.stack(r2).nan_to_num(nan=-torch.inf).argmax(0)]
        ceiling.append(neuron_r2(ridge.outputs(measuring_BD, penalty_n, part), test[1][:, part], mean_n))
        chosen.append(penalty_n)
    return torch.cat(ceiling), torch.cat(chosen)


def _blocks(value_BN: Tensor) -> Iterator[slice]:
    for start in range(0, value_BN.shape[1], BLOCK):
        yield slice(start, min(start + BLOCK, value_BN.shape[1]))


def write(frame: pl.DataFrame, folder: Path) -> None:
    """Write `neurons.parquet`, whole or not at all."""
    with replacing(folder / FILE) as temporary:
        frame.write_parquet(temporary)
