"""How much of what the words are worth survives when they are reworded.

For a rewording x, over the rows that it is about: FVE_x is what the same reader makes of the reworded text, b the
better of two wordless answers (the mean, and what the reader says of empty text), and

    kept/x = (FVE_x − b) / (FVE − b)        ratio/x = FVE_x / FVE, as the literature has it.

1 is a rewording that costs nothing, 0 one that leaves no more than silence. Where FVE − b is below 0.1 there is nothing
to keep, and the figure is undefined. A reader that has learned one way of writing fails on others that mean the same:
`kept_refit` grants it to learn them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.evaluation.record import EvaluationRecord
from nlae.functional.randomness import derive_seed
from nlae.rewording import Reworded, Rewording


class Kept:
    """`kept/x`, `ratio/x` and `control/x` for every rewording x, and `control/x_rows`, the rows that x is about.

    What a rewording says of itself (the share of words replaced) stands at `kept/x_<name>`.

    Args:
        rewordings: by name; None leaves one's figures undefined.
    """

    def __init__(self, rewordings: Mapping[str, Rewording | None]) -> None:
        given: Mapping[str, object] = rewordings  # from a config anything can come
        for name, rewording in given.items():
            if rewording is not None and not callable(rewording):
                raise NlaeError(
                    f"evaluation.measures.kept.rewordings.{name} is a {type(rewording).__name__}: it needs a _target_ "
                    "that is a rewording"
                )
        self.rewordings = dict(rewordings)

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        for name, rewording in self.rewordings.items():
            made = None if rewording is None else reword(record, name, rewording)
            has_N = torch.zeros_like(record.main_N) if made is None else about(made) & record.main_N
            if made is not None:
                record.board.put(f"control/{name}_rows", int(has_N.sum()))
                for share, value in made.shares.items():
                    record.board.put(f"kept/{name}_{share}", value)
                if made.note:
                    record.board.note(f"kept/{name}: {made.note}")
            if made is None or not has_N.any():
                put_undefined(record, name)
                continue
            error_N = record.board.error(record.read([text or "" for text in made.texts], name))
            record.put_control(name, error_N, has_N)
            put_kept(record, name, error_N, has_N)
            if getattr(rewording, "headline", False):
                record.columns[name] = made.texts


def reword(record: EvaluationRecord, name: str, rewording: Rewording) -> Reworded:
    """The explanations of the measured rows reworded, each by a seed of its own."""
    seeds = [derive_seed(record.sample_seed, name, int(row)) for row in record.rows.row]
    made = rewording(record.texts, seeds, record.folder)
    if len(made.texts) != len(record.texts):
        raise NlaeError(f"rewording {name} returned {len(made.texts)} texts for {len(record.texts)}")
    return made


def about(made: Reworded) -> Tensor:
    """Whether each row has a reworded text, bool [N]."""
    return torch.tensor([text is not None for text in made.texts])


def put_kept(record: EvaluationRecord, name: str, error_N: Tensor, keep_N: Tensor) -> None:
    """Put `kept/<name>` and, where there is an FVE, `ratio/<name>`, of a reading with these errors."""
    board, base_N, own_N = record.board, record.baseline(keep_N), record.error_N
    board.add_quotient(f"kept/{name}", base_N - error_N, base_N - own_N, keep_N)
    if board.is_fve:
        board.add_quotient(f"ratio/{name}", board.spread_N - error_N, board.spread_N - own_N, keep_N)


def put_undefined(record: EvaluationRecord, name: str) -> None:
    """Both keys, without a figure."""
    for key in ("kept", "ratio") if record.board.is_fve else ("kept",):
        record.board.put(f"{key}/{name}", math.nan)
