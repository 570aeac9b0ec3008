"""The whole evaluation of one autoencoder on the held-out test split: `evaluate` writes a folder, returns numbers.

Order of the day: explanations of a proportional sample of test rows, their figure, then everything it must stand
beside. Keys that cannot be had (an interval from too few source works, an FVE without the checkpoint's mean) are left
out of the metrics, and `notes.json` says why. Truth of the claims and effects on the target's output are left out here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlae.activations import ActivationStore, Descriptions
from nlae.evaluation import matching, neurons, output
from nlae.evaluation.base import Contexts, FitReader, RoundTrip
from nlae.evaluation.frontier import ReaderBudget
from nlae.evaluation.parts import Errors, calibrated, controls, raw_space, teacher_texts
from nlae.evaluation.quotes import quote_frontier
from nlae.evaluation.reworded import reworded
from nlae.evaluation.round_trip import FOLDER as TEXT_FOLDER
from nlae.evaluation.round_trip import read_lengths
from nlae.evaluation.sampling import others
from nlae.evaluation.settings import EvaluationSettings
from nlae.evaluation.subject import Subject
from nlae.functional.reconstruction import explained, rank
from nlae.tracking import NullRun, Run

TABLE_ROWS = 40


def evaluate(
    autoencoder: RoundTrip,
    store: ActivationStore,
    corpus: Contexts | None,
    descriptions: Descriptions | None,
    folder: Path,
    *,
    settings: EvaluationSettings | None = None,
    seed: int = 0,
    extraction: Mapping[str, float] | None = None,
    budget: ReaderBudget | None = None,
    fit_reader: FitReader | None = None,
    run: Run | None = None,
) -> dict[str, float]:
    """Measure `autoencoder` on the test split of `store`.

    Args:
        autoencoder: the pair, ours or a foreign one.
        store: activations of the same target and site.
        corpus: for longer contexts in the sheet for people; None shows the store's last 64 tokens.
        descriptions: the teacher's texts; None leaves `control/teacher` out.
        folder: gets `rows.parquet`, `frontier.json`, `samples.json`, `notes.json`, `matching.jsonl` and its key;
            of a site of neurons `neurons.parquet` too.
        settings: how many rows, which parts.
        seed: of the sampling noise of each row.
        extraction: metrics of the extraction, for `extraction_rate`.
        budget: how long the quote reader trains; None takes it from the settings and the checkpoint.
        fit_reader: trains the quote reader; None takes the package's own.
        run: where a table and the figures go.

    Returns:
        Flat numbers; see `Scoreboard` for the intervals' keys.

    Raises:
        NlaeError: there are no test or training rows.
    """
    subject = Subject(autoencoder, store, folder, settings or EvaluationSettings(), seed)
    run = run or NullRun()
    board, errors = subject.board, Errors()
    _headline(subject, errors)
    _lengths(subject, errors)
    calibrated(subject)
    raw_space(subject)
    if neurons.reads_neurons(subject):
        neurons.write(neurons.measure(subject), folder)
    controls(subject, teacher_texts(subject, descriptions), errors)
    reworded(subject, errors)
    rank_N = _ranks(subject)
    frontier = quote_frontier(subject, budget, fit_reader, errors) if subject.settings.frontier else None
    _match(subject, corpus)
    if extraction and "extraction_rate" in extraction:
        board.put("extraction_rate", extraction["extraction_rate"])
    table = output.row_table(subject, errors, rank_N)
    output.write(folder, table, frontier, board.notes)
    shown = output.unselected(table, TABLE_ROWS, subject.settings.sample_seed)
    run.table("explanations", shown.columns, [list(row) for row in shown.rows()])
    run.summary(board.metrics)
    shutil.rmtree(folder / TEXT_FOLDER, ignore_errors=True)
    return dict(board.metrics)


def _headline(subject: Subject, errors: Errors) -> None:
    """`fve`, `fve_greedy`, and the same for early and massive positions; `rows`, `clusters`, `closed_rate`."""
    board, main_N = subject.board, subject.main_N
    if not board.is_fve:
        board.note(
            "no FVE: the checkpoint has no training mean, so cosines are shown; they compare within one model only"
        )
    board.put("rows", int(main_N.sum()))
    board.note_clusters(main_N)
    errors["explanation"] = subject.error_N
    board.add("fve", subject.error_N, main_N)
    for name, keep_N in (("early", ~main_N), ("massive", subject.massive_N)):
        board.put(f"{name}/rows", int(keep_N.sum()))
        if keep_N.any():
            board.add(f"{name}/fve", subject.error_N, keep_N)
    board.put("cosine_mean", float(explained(subject.error_N[main_N].mean(), 2)))
    board.put("closed_rate", _mean([one.closed for one in subject.said], main_N))
    if subject.settings.greedy:
        greedy = [one.text for one in subject.write(subject.rows, "greedy", temperature=0.0)]
        errors["greedy"] = board.error(subject.read(greedy, "greedy"))
        errors.texts["greedy"] = greedy
        board.add("fve_greedy", errors["greedy"], main_N)


def _lengths(subject: Subject, errors: Errors) -> None:
    """`tokens_mean` counts all that the reconstructor reads; `explanation_tokens_mean` what the text adds to it."""
    board, main_N = subject.board, subject.main_N
    board.put("generated_tokens_mean", _mean([one.n_tokens for one in subject.said], main_N))
    lengths = read_lengths(subject.autoencoder, subject.texts)
    if lengths is None:
        board.note("no tokens_mean: this reconstructor does not show what it reads")
        return
    tokens_N, template = lengths
    errors.tokens_N, errors.template = tokens_N, template
    board.put("tokens_mean", float(tokens_N[main_N].mean()))
    board.put("explanation_tokens_mean", float(tokens_N[main_N].mean()) - template)


def _ranks(subject: Subject) -> Tensor:
    """`rank_median`: place of the own activation among others of the measured rows; NaN for early rows."""
    main_N = subject.main_N
    truth_ND = subject.board.truth_ND[main_N]
    other_NM = torch.from_numpy(others(len(truth_ND), subject.settings.rank_others, subject.settings.sample_seed))
    rank_N = torch.full((len(main_N),), float("nan"), dtype=torch.float64)
    places = []
    for start in range(0, len(truth_ND), 256):
        part = slice(start, start + 256)
        places.append(rank(subject.pred_ND[main_N][part], truth_ND[part], truth_ND[other_NM[part]]))
    rank_N[main_N] = torch.cat(places)
    subject.board.put("rank_median", float(rank_N[main_N].quantile(0.5)))
    subject.board.put("rank_others", other_NM.shape[1])
    return rank_N


def _match(subject: Subject, corpus: Contexts | None) -> None:
    """`match/reader`, `match/lm` and the sheet for people."""
    settings, board = subject.settings, subject.board
    if not settings.matching_rows:
        return
    rows, pool = subject.rows, subject.store.split("test", early=False)
    main = rows.select(subject.main_N.numpy())
    items = matching.draw(main, pool, settings.matching_rows, settings.sample_seed)
    board.put("match/rows", len(items))
    if not items:
        board.note("no matching test: no test row has three others that end on the same token in other works")
        return
    texts = [text for text, keep in zip(subject.texts, subject.main_N.tolist(), strict=True) if keep]
    choices = matching.match_reader(items, subject.pred_ND[subject.main_N], pool)
    board.metrics |= matching.score("match/reader", items, choices)
    if settings.matching_lm and hasattr(getattr(subject.autoencoder, "target", None), "model"):
        board.metrics |= matching.score("match/lm", items, matching.match_lm(subject.autoencoder, items, texts, pool))
    tokenizer: Any = getattr(getattr(subject.autoencoder, "target", None), "tokenizer", None)
    context = output.context_reader(tokenizer, corpus, pool)
    matching.write_sheet(subject.folder, items, texts, main, context, pool)


def _mean(values: list[Any], keep_N: Tensor) -> float:
    return float(torch.tensor(values, dtype=torch.float64)[keep_N].mean())
