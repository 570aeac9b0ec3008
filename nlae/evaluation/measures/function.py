"""Does the target go on as it would have, with the reconstruction in place of its activation?

A direction can be nearly right and still lack what the next token hangs on, and the other way round. What it does not
say: anything about the words; it is a figure of the vector they were read into.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.splicing import Effect, effects
from nlae.functional.randomness import generator
from nlae.functional.reconstruction import unit


class Function:
    """`function/kl`, `function/recovered` and `function/top1` of the reconstruction at the row's true norm.

    * `kl`: of the next-token distribution as it was from what it becomes, nats; 0 is no effect.
    * `recovered`: 1 − (CE − CE of the target as it is) / (CE under mean ablation − CE of the target as it is), CE the
      cross-entropy of the true next token: 1 loses nothing, 0 is as bad as the mean.
    * `top1`: share of rows whose likeliest next token stays the same.

    Beside each, on the same rows: `_mean` (the mean raw training vector), `_shuffled` (another work's reconstruction),
    `_noise` (a random direction) and, where the frontier has trained a reader, `_quote` (as many tokens of the context
    as the explanation has, at most what that reader knows); but for the mean all at the row's true norm. `_gap` is the
    reconstruction's figure minus the control's. Rows at the end of their text have no next token and are left out.

    Args:
        rows: at most.
    """

    costly = True

    def __init__(self, rows: int = 200) -> None:
        if rows < 1:
            raise NlaeError(
                f"evaluation.measures.function.rows is {rows}; evaluation.measures.function=null leaves it out"
            )
        self.rows = rows

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, corpus, autoencoder = record.board, record.corpus, record.autoencoder
        if corpus is None or not hasattr(getattr(autoencoder, "target", None), "next_token_logits"):
            board.note("no function: it needs the corpus and the target's own weights")
            return
        following = {i: corpus.next_id(int(record.rows.row[i])) for i in _places(record.draw(self.rows))}
        next_ids = {i: token for i, token in following.items() if token is not None}
        board.put("function/rows", len(next_ids))
        if not next_ids:
            board.note("no function: every drawn row is the last of its text")
            return
        keep_N = torch.zeros_like(record.main_N)
        keep_N[list(next_ids)] = True
        contexts = [corpus.context_ids(int(record.rows.row[i])) for i in next_ids]
        clean_K, found = effects(
            autoencoder, contexts, list(next_ids.values()), vectors(record, keep_N), record.batch_size
        )
        _put(record, keep_N, clean_K, found)


def vectors(record: EvaluationRecord, keep_N: Tensor) -> dict[str, Tensor]:
    """What is put in the place of the kept rows' activations: raw vectors [K, width] by name; "" is our own."""
    norm_K1 = record.raw_ND[keep_N].norm(dim=-1, keepdim=True)
    made = {"": record.pred_ND[keep_N] * norm_K1, "mean": record.training.raw_mean_D.float().expand(len(norm_K1), -1)}
    partner_N = record.partners(keep_N)
    if partner_N is not None:
        made["shuffled"] = record.pred_ND[partner_N][keep_N] * norm_K1
    numbers = record.rows.row[keep_N.numpy()].tolist()
    noise = [torch.randn(record.store.width, generator=generator(record.sample_seed, "noise", n)) for n in numbers]
    made["noise"] = unit(torch.stack(noise)) * norm_K1
    quoted_KD = None if record.lengths is None else _quoted(record, keep_N)
    return made if quoted_KD is None else {**made, "quote": quoted_KD * norm_K1}


def _quoted(record: EvaluationRecord, keep_N: Tensor) -> Tensor | None:
    lengths: Any = record.lengths
    tokens_K = (lengths[0][keep_N] - lengths[1]).long().tolist()
    return record.read_quotes(tokens_K, keep_N, "quotes as long as the explanations")


def _put(record: EvaluationRecord, keep_N: Tensor, clean_K: Tensor, found: dict[str, Effect]) -> None:
    board = record.board

    def spread_out(value_K: Tensor) -> Tensor:
        value_N = torch.full((len(keep_N),), float("nan"), dtype=torch.float64)
        value_N[keep_N] = value_K
        return value_N

    own, lost_N = found[""], spread_out(found["mean"].entropy_N - clean_K)
    hurts = float(lost_N[keep_N].sum()) > 0
    if not hurts:
        board.note("no function/recovered: the mean in the activation's place costs nothing on these rows")
    for name, effect in found.items():
        end = f"_{name}" if name else ""
        for key, value_K, own_K in (("kl", effect.kl_N, own.kl_N), ("top1", effect.same_N, own.same_N)):
            if name:
                board.add_mean_control(f"function/{key}{end}", spread_out(value_K), spread_out(own_K), keep_N)
            else:
                board.add_mean(f"function/{key}", spread_out(value_K), keep_N)
        if hurts and name != "mean":
            board.add_ratio(f"function/recovered{end}", spread_out(effect.entropy_N - clean_K), lost_N, keep_N)


def _places(keep_N: Tensor) -> list[int]:
    return [int(i) for i in keep_N.nonzero().squeeze(1)]
