"""What each sentence of an explanation is worth to the reader: the FVE that goes when it is left out.

What it does not say: that a sentence which costs something is true, nor that one which costs nothing is false. Two
sentences that say the same are both worth nothing alone.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.evaluation.record import EvaluationRecord

_PIECE = re.compile(r".+?(?:[.!?…][\"'”’)\]]*(?=\s)|\n|$)\s*", re.DOTALL)


def pieces(text: str) -> list[str]:
    """Sentences and lines of `text`, with the blanks behind them: joined, they are the text."""
    return _PIECE.findall(text)


class Sentences:
    """`claims/sentence_fve`: FVE lost with one sentence, mean over an explanation's; `claims/sentences_that_count`.

    The second is the share of sentences without which the error grows. Beside both `_null`: the same texts held
    against another row, where saying less is mostly less wrong. `rows.parquet` gets `sentence_fve`, a
    number for each sentence.

    Args:
        rows: at most.
    """

    def __init__(self, rows: int = 400) -> None:
        if rows < 1:
            raise NlaeError(f"evaluation.measures.sentences.rows is {rows}; it must be at least 1")
        self.rows = rows

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board = record.board
        drawn = record.draw(self.rows).nonzero().squeeze(1).tolist()
        parts = {i: pieces(record.texts[i]) for i in drawn if record.texts[i].strip()}
        board.put("claims/sentences_rows", len(parts))
        if not parts:
            board.note("no claims/sentence_fve: no explanation has any text")
            return
        keep_N = torch.zeros_like(record.main_N)
        keep_N[list(parts)] = True
        shorter = ["".join(part[:k] + part[k + 1 :]).strip() for part in parts.values() for k in range(len(part))]
        owner_S = torch.tensor([i for i, part in parts.items() for _ in part])
        read_SD = record.read(shorter, "one sentence left out")
        partner_N = record.partners(keep_N)
        lost_S = _lost(record, read_SD, owner_S, torch.arange(len(keep_N)))
        null_S = None if partner_N is None else _lost(record, read_SD, owner_S, partner_N)

        def by_row(value_S: Tensor | None) -> Tensor | None:
            return None if value_S is None else _by_row(value_S, owner_S, keep_N)

        lost_N, null_N, spread_N = _by_row(lost_S, owner_S, keep_N), by_row(null_S), board.spread_N
        # what an FVE loses is the growth of the error as a share of the spread
        rest_N = None if null_N is None else spread_N - null_N
        board.add_ratio("claims/sentence_fve", spread_N - lost_N, spread_N, keep_N, null_N=rest_N)
        counts_N = _by_row((lost_S > 0).double(), owner_S, keep_N)
        board.add_mean(
            "claims/sentences_that_count",
            counts_N,
            keep_N,
            null_N=by_row(None if null_S is None else (null_S > 0).double()),
        )
        variance = float(board.spread_N[keep_N].mean())
        record.columns["sentence_fve"] = [
            (lost_S[owner_S == i] / variance).tolist() if i in parts else None for i in range(len(keep_N))
        ]


def _lost(record: EvaluationRecord, read_SD: Tensor, owner_S: Tensor, truth_N: Tensor) -> Tensor:
    """By how much the squared error grows when each sentence goes [S], of the activations at `truth_N`."""
    truth_ND, pred_ND = record.board.truth_ND.double(), record.pred_ND.double()
    truth_SD = truth_ND[truth_N[owner_S]]
    whole_S = (pred_ND[owner_S] - truth_SD).square().sum(-1)
    return (read_SD.double() - truth_SD).square().sum(-1) - whole_S


def _by_row(value_S: Tensor, owner_S: Tensor, keep_N: Tensor) -> Tensor:
    """Mean over the sentences of each row [N], NaN where a row has none."""
    total_N = torch.zeros(len(keep_N), dtype=torch.float64).index_add_(0, owner_S, value_S)
    return torch.where(keep_N, total_N / torch.bincount(owner_S, minlength=len(keep_N)), torch.nan)
