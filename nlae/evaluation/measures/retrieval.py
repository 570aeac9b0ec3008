"""Does an explanation single out its own activation, also where quoting the last token would not?

What it does not say: whether the words are true. A private code that tells activations apart retrieves as well; the
same task for quotes, and without what was copied from the context, shows how much of it is quotation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.errors import NlaeError
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.retrieval import CHOICES, KINDS, LineUps, line_up, picked
from nlae.functional.copying import copied_words, without_words, words
from nlae.functional.randomness import derive_seed

COPY = 2  # words in a row that also stand in the context


class Retrieval:
    """`retrieval/document` and `retrieval/hard`: share of rows whose own activation is picked among ten.

    Beside each: `_null`, the same with another row's explanation, and `_rows` and `_left_out`, the rows that had nine
    others and those that had not. Beside `hard`, on the same rows: `hard_quote_n`, the last n tokens of the context
    read by the frontier's reader; `hard_no_copies`, the explanation without runs of two or more words that the context
    holds too; `hard_random_cut`, without equally many random words. `retrieval/chance` is 0.1.

    Args:
        rows: line-ups of each kind, at most.
        quote_lengths: tokens quoted.
    """

    def __init__(self, rows: int = 1000, quote_lengths: Sequence[int] = (1, 2, 4)) -> None:
        self.rows, self.quote_lengths = rows, tuple(sorted(int(n) for n in quote_lengths))
        if rows < 1 or any(n < 1 for n in self.quote_lengths):
            raise NlaeError(
                f"evaluation.measures.retrieval: rows={rows} and quote_lengths={list(quote_lengths)} must be 1 or more"
            )

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        record.board.put("retrieval/chance", 1 / CHOICES)
        pool = record.store.split("test", early=False)
        wanted = record.draw(self.rows).nonzero().squeeze(1).tolist()
        for kind in KINDS:
            lineups = line_up(record.rows, wanted, pool, kind, record.sample_seed)
            record.board.put(f"retrieval/{kind}_rows", len(lineups))
            record.board.put(f"retrieval/{kind}_left_out", len(wanted) - len(lineups))
            if not len(lineups):
                record.board.note(f"no retrieval/{kind}: no measured row has {CHOICES - 1} others to be told from")
                continue
            task = _Task(record, pool, lineups)
            own_N = task.right(record.pred_ND)
            partner_N = record.partners(task.keep_N)
            null_N = None if partner_N is None else task.right(record.pred_ND[partner_N])
            record.board.add_mean(f"retrieval/{kind}", own_N, task.keep_N, null_N)
            if kind == "hard":
                self._beside(record, task, own_N)

    def _beside(self, record: EvaluationRecord, task: _Task, own_N: Tensor) -> None:
        """The same line-ups for quotes, and for explanations without what they copy."""
        keep_N, board = task.keep_N, record.board
        for n in self.quote_lengths:
            pred_KD = record.read_quotes([n] * int(keep_N.sum()), keep_N, f"quotes of {n}")
            if pred_KD is not None:
                board.add_mean_control(f"retrieval/hard_quote_{n}", task.right_of_kept(pred_KD), own_N, keep_N)
        if record.quote_reader is None:
            board.note("no retrieval/hard_quote_n: no reader of quotes was trained (evaluation.measures.frontier)")
        bare, cut = _cut(record, keep_N)
        for name, texts in (("no_copies", bare), ("random_cut", cut)):
            right_N = task.right_of_kept(record.read(texts, name.replace("_", " ")))
            board.add_mean_control(f"retrieval/hard_{name}", right_N, own_N, keep_N)


class _Task:
    """Line-ups and who is right in them, over all measured rows."""

    def __init__(self, record: EvaluationRecord, pool: ActivationRows, lineups: LineUps) -> None:
        self.pool, self.lineups = pool, lineups
        self.keep_N = torch.zeros(len(record.rows), dtype=torch.bool)
        self.keep_N[torch.from_numpy(lineups.index_M)] = True

    def right(self, pred_ND: Tensor) -> Tensor:
        """The points of each row, NaN where it has no line-up; of reconstructions of all measured rows."""
        return self.right_of_kept(pred_ND[self.keep_N])

    def right_of_kept(self, pred_KD: Tensor) -> Tensor:
        """The same of reconstructions of the rows that have one, which lie in the order of the rows."""
        right_N = torch.full((len(self.keep_N),), float("nan"), dtype=torch.float64)
        right_N[self.keep_N] = picked(self.lineups, pred_KD, self.pool)
        return right_N


def _cut(record: EvaluationRecord, keep_N: Tensor) -> tuple[list[str], list[str]]:
    """Of each kept row the explanation without its copies, and without as many random words."""
    bare, cut = [], []
    for i in keep_N.nonzero().squeeze(1).tolist():
        text = record.texts[i]
        places = copied_words(text, record.contexts[i], COPY)
        rng = np.random.default_rng(derive_seed(record.sample_seed, "random_cut", int(record.rows.row[i])))
        bare.append(without_words(text, places))
        cut.append(without_words(text, rng.choice(len(words(text)), len(places), replace=False).tolist()))
    return bare, cut
