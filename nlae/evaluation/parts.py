"""Parts of an evaluation that put one kind of figure each: calibrated, raw space, controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlae.activations import Descriptions
from nlae.evaluation.sampling import derangement
from nlae.evaluation.subject import Subject
from nlae.functional.reconstruction import fit_scale, fit_shrink, shrink, squared_error, unit


class Errors(dict[str, Tensor]):
    """‖ĥ−ĥ'‖² of each measured row by what predicted it; NaN where it predicted nothing. Kept for `rows.parquet`.

    Attributes:
        texts: texts beside the sampled explanations, by the same names; None where there is none.
        tokens_N: tokens the reconstructor read for each explanation.
        template: of them, those it reads for no text at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str] | list[str | None]] = {}
        self.tokens_N: Tensor | None = None
        self.template = 0


def calibrated(subject: Subject) -> None:
    """`fve_calibrated`: FVE of μ + s(ĥ' − μ), where s in [0, 1] is the least-squares factor of validation rows.

    Their explanations are written and read like those of the test rows. `shrink_factor` is s.
    """
    board, statistics = subject.board, subject.statistics
    if statistics is None:
        return
    rows = subject.choose("val", subject.settings.fit_rows)
    if not len(rows):
        board.note("no fve_calibrated: the corpus has no validation rows; raise corpus.val_share")
        return
    pred_ND = subject.read([one.text for one in subject.write(rows, "validation")], "validation")
    mean_D = statistics.mean_D.cpu()
    factor = fit_shrink(pred_ND, unit(rows.all()), mean_D)
    board.put("shrink_factor", factor)
    board.add("fve_calibrated", board.error(shrink(subject.pred_ND, mean_D, factor)), subject.main_N)


def raw_space(subject: Subject) -> None:
    """`raw_r2`: 1 − Σ‖h−h'‖² / Σ‖h−m‖², m the mean raw training vector, h' = norm·ĥ'.

    The norm is the magnitude head's, else one scalar: the least-squares fit on training rows, explained and read like
    the test rows. Massive rows weigh most here, as they do in raw space.
    """
    board, raw_ND, main_N = subject.board, subject.raw_ND.double(), subject.main_N
    norm_N1 = _predicted_norm(subject)
    if norm_N1 is None:
        rows = subject.choose("train", subject.settings.fit_rows)
        pred_ND = subject.read([one.text for one in subject.write(rows, "training")], "training")
        scale = fit_scale(pred_ND, rows.all())
        board.put("raw_scale", scale)
        norm_N1 = torch.full((len(raw_ND), 1), scale, dtype=torch.float64)
    error_N = squared_error(norm_N1 * subject.pred_ND.double(), raw_ND)
    total_N = squared_error(subject.training.raw_mean_D.expand_as(raw_ND), raw_ND)
    board.add_ratio("raw_r2", error_N, total_N, main_N)


def controls(subject: Subject, teacher: list[str | None] | None, errors: Errors) -> None:
    """Every `control/*` with its `_gap`: the autoencoder's figure minus the control's, on the control's rows."""
    wordless(subject, errors)
    put_control(subject, errors, "no_injection", subject.board.error(_uninjected(subject)))
    if teacher is not None:
        has_N = torch.tensor([text is not None for text in teacher]) & subject.main_N
        errors.texts["teacher"] = teacher
        subject.board.put("control/teacher_rows", int(has_N.sum()))
        if has_N.any():
            read_ND = subject.read([text or "" for text in teacher], "teacher")
            put_control(subject, errors, "teacher", subject.board.error(read_ND), has_N)


def wordless(subject: Subject, errors: Errors) -> None:
    """The controls for which nothing more is written: mean, last token, principal components, shuffled pairing."""
    board, rows, main_N = subject.board, subject.rows, subject.main_N

    def put(name: str, error_N: Tensor) -> None:
        put_control(subject, errors, name, error_N)

    put("mean", board.error(subject.training.constant(len(rows))))
    table_ND, seen_N = subject.training.last_token(rows.token_id)
    put("last_token", board.error(table_ND))
    board.put("control/last_token_seen", float(seen_N[main_N].double().mean()))
    for k in subject.settings.components:
        put(f"pca_{k}", board.error(subject.training.pca(board.truth_ND, k)))
    shuffled_N = _shuffled(subject)
    if shuffled_N is not None:
        put("shuffled", shuffled_N)


def put_control(subject: Subject, errors: Errors, name: str, error_N: Tensor, keep_N: Tensor | None = None) -> None:
    """Put `control/<name>` with its gap to the round trip over the rows kept (the main ones), and keep its errors."""
    keep_N = subject.main_N if keep_N is None else keep_N
    errors[name] = torch.where(keep_N, error_N, torch.full_like(error_N, float("nan")))
    subject.board.add_control(f"control/{name}", error_N, subject.error_N, keep_N)


def teacher_texts(subject: Subject, descriptions: Descriptions | None) -> list[str | None] | None:
    """The teacher's text of each measured row, None where it has none; without a teacher None, and a note."""
    if descriptions is None:
        subject.board.note("no control/teacher: no teacher has described these rows")
        return None
    numbers = [int(number) for number in subject.rows.row]
    texts = [descriptions.text(number) if number in descriptions else None for number in numbers]
    lacking = sum(text is None for text, main in zip(texts, subject.main_N.tolist(), strict=True) if main)
    if lacking:
        subject.board.note(f"control/teacher leaves out {lacking} rows that the teacher has not described")
    return texts


def _shuffled(subject: Subject) -> Tensor | None:
    """Errors when each reconstruction is held against a row of another document: of another source work if possible.

    A document of the store is a passage, so rows of one work may continue each other.
    """
    main = np.flatnonzero(subject.main_N.numpy())
    rows, seed = subject.rows, subject.settings.sample_seed
    partner = derangement(rows.source[main].astype(str), seed)
    if partner is None:
        partner = derangement(rows.document[main], seed)
        subject.board.note("one source work holds most measured rows: control/shuffled pairs passages within it")
    if partner is None:
        subject.board.note("no control/shuffled: one document holds more than half of the measured rows")
        return None
    pairing = np.arange(len(subject.rows))
    pairing[main] = main[partner]
    return subject.board.error(subject.pred_ND[torch.from_numpy(pairing)])


def _uninjected(subject: Subject) -> Tensor:
    """What is read from explanations written with the marker's own embedding in the slot, dealt to the rows in turn."""
    count = min(subject.settings.no_injection_samples, len(subject.rows))
    said = subject.write(subject.rows.select(np.arange(count)), "no_injection", inject=False)
    pred_MD = subject.read([one.text for one in said], "no injection")
    return pred_MD[torch.arange(len(subject.rows)) % count]


def _predicted_norm(subject: Subject) -> Tensor | None:
    """The magnitude head's ‖h‖ for each explanation [N, 1], or None."""
    head: Any = getattr(subject.autoencoder, "reconstruct_norm", None)
    # asked about one text first: without a head the answer is None whatever the text
    if head is None or head(subject.texts[:1]) is None:
        return None
    size, texts = subject.settings.batch_size, subject.texts
    parts = [head(texts[start : start + size]) for start in range(0, len(texts), size)]
    return torch.cat(parts).double().cpu().reshape(-1, 1)
