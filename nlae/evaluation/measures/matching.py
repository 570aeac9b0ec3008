"""Blind matching by the reconstructor and by the target, and the sheet for people (`nlae.evaluation.blind_match`)."""

from __future__ import annotations

from typing import Any

from nlae.errors import NlaeError
from nlae.evaluation import blind_match, output
from nlae.evaluation.record import EvaluationRecord


class Matching:
    """`match/reader`, `match/lm` and the sheet: to which of four contexts does an explanation belong?

    Args:
        rows: explanations that are matched.
        lm: also let the target itself match.
    """

    costly = True

    def __init__(self, rows: int = 40, lm: bool = True) -> None:
        if rows < 1:
            raise NlaeError(
                f"evaluation.measures.matching.rows is {rows}; evaluation.measures.matching=null leaves it out"
            )
        self.rows, self.lm = rows, lm

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, pool = record.board, record.store.split("test", early=False)
        main = record.rows.select(record.main_N.numpy())
        items = blind_match.draw(main, pool, self.rows, record.sample_seed)
        board.put("match/rows", len(items))
        if not items:
            board.note("no matching test: no test row has three others that end on the same token in other works")
            return
        texts = [text for text, keep in zip(record.texts, record.main_N.tolist(), strict=True) if keep]
        choices = blind_match.match_reader(items, record.pred_ND[record.main_N], pool)
        board.metrics |= blind_match.score("match/reader", items, choices)
        target: Any = getattr(record.autoencoder, "target", None)
        if self.lm and hasattr(target, "model"):
            choices = blind_match.match_lm(record.autoencoder, items, texts, pool)
            board.metrics |= blind_match.score("match/lm", items, choices)
        context = output.context_reader(getattr(target, "tokenizer", None), record.corpus, pool)
        blind_match.write_sheet(record.folder, items, texts, main, context, pool)
