"""How long explanations are, as they are written and as they are read."""

from __future__ import annotations

import torch

from nlae.evaluation.record import EvaluationRecord


class Lengths:
    """`tokens_mean` counts all that the reconstructor reads; `explanation_tokens_mean` what the text adds to it.

    `generated_tokens_mean` counts what the verbalizer wrote.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, main_N = record.board, record.main_N
        generated_N = torch.tensor([one.n_tokens for one in record.explanations], dtype=torch.float64)
        board.put("generated_tokens_mean", float(generated_N[main_N].mean()))
        if record.lengths is None:
            board.note("no tokens_mean: this reconstructor does not show what it reads")
            return
        tokens_N, template = record.lengths
        board.put("tokens_mean", float(tokens_N[main_N].mean()))
        board.put("explanation_tokens_mean", float(tokens_N[main_N].mean()) - template)
