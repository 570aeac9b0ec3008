"""How much survives a rewording when the reader may learn the reworded language.

`kept` asks whether *this* reader understands other words. Here a fresh reader is fitted on the verbalizer's own
explanations of training rows, reworded in the same way, and reads reworded test explanations: what it cannot recover is
no longer in the text. Beside it stands a reader fitted for as long on the explanations as they are, and

    kept_refit/x = (FVE of the one on reworded texts − b) / (FVE of the other on plain ones − b),

b the better of the mean and what the other makes of empty text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from nlae.activations import ActivationRows
from nlae.errors import NlaeError
from nlae.evaluation.base import FitReader, meta_of
from nlae.evaluation.budget import reader_budget
from nlae.evaluation.measures.kept import about, reword
from nlae.evaluation.own_texts import fit_texts, own_texts, read_with
from nlae.evaluation.record import EvaluationRecord, better
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import unit
from nlae.rewording import Rewording


class KeptRefit:
    """`kept_refit/x` for every rewording x; `refit/fve` and `refit/x`, the FVEs that it is made of.

    It writes `rows` explanations (as long as those that are measured take, at equal number) and fits one reader more
    than there are rewordings. With a `cache_dir` they are written once, for all evaluations of a verbalizer.

    Args:
        rewordings: by name; None leaves one's figure undefined.
        rows: training rows whose explanations readers are fitted on.
        updates: of each fit; None takes as many as the reconstructor had.
        batch_size: texts per update; None takes what the reconstructor had, if the checkpoint says so, else 32.
        lr: learning rate; None takes what the reconstructor had, else 5e-4.
        cache_dir: folder that keeps the explanations; None keeps them for this evaluation alone.
        fit_reader: trains a reader; None takes the package's own.
    """

    costly = True

    def __init__(
        self,
        rewordings: Mapping[str, Rewording | None],
        rows: int = 2048,
        updates: int | None = 300,
        batch_size: int | None = None,
        lr: float | None = None,
        cache_dir: str | None = None,
        fit_reader: FitReader | None = None,
    ) -> None:
        if rows < 2:
            raise NlaeError(f"evaluation.measures.kept_refit.rows is {rows}; it must be at least 2")
        self.rewordings, self.rows, self.cache_dir, self.fit_reader = dict(rewordings), rows, cache_dir, fit_reader
        self.updates, self.batch_size, self.lr = updates, batch_size, lr

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board = record.board
        budget = reader_budget(meta_of(record.autoencoder), self.updates, self.batch_size, self.lr)
        if budget is None:
            board.note(
                "no kept_refit: the checkpoint does not say how long its reconstructor was trained; set "
                "evaluation.measures.kept_refit.updates"
            )
            return
        rows, texts = own_texts(record, self.rows, self.cache_dir)
        reader = fit_texts(record, rows, texts, budget, self.fit_reader, "plain")
        plain_N = read_with(record, reader, record.texts, "refitted reader")
        empty_N = board.error(unit(reader([""]).detach().float().cpu()).expand(len(record.rows), -1))
        board.add("refit/fve", plain_N, record.main_N)
        wordless = [record.wordless[0], empty_N]
        for name, rewording in self.rewordings.items():
            made = None if rewording is None else reword(record, name, rewording)
            has_N = torch.zeros_like(record.main_N) if made is None else about(made) & record.main_N
            if rewording is None or made is None or not has_N.any():
                board.put(f"kept_refit/{name}", math.nan)
                continue
            learned = self._reworded(record, name, rewording, rows, texts)
            reader = fit_texts(record, rows, learned, budget, self.fit_reader, name)
            error_N = read_with(record, reader, [text or "" for text in made.texts], f"refitted, {name}")
            board.add_control(f"refit/{name}", error_N, plain_N, has_N)
            base_N = better(wordless, has_N)
            board.add_quotient(f"kept_refit/{name}", base_N - error_N, base_N - plain_N, has_N)

    def _reworded(
        self, record: EvaluationRecord, name: str, rewording: Rewording, rows: ActivationRows, texts: list[str]
    ) -> list[str]:
        """The training texts reworded; as they are where the rewording has nothing to change."""
        seeds = [derive_seed(record.sample_seed, name, int(row)) for row in rows.row]
        made = rewording(texts, seeds, record.folder)
        return [text if reworded is None else reworded for text, reworded in zip(texts, made.texts, strict=True)]
