"""Puts the quote frontier beside the explanations, on rows with a context longer than the longest quote.

`frontier.py` defines the readers; this file runs them and writes the points of the plot.
"""

from __future__ import annotations

import importlib
from typing import Any, cast

import torch
from torch import Tensor

from nlae.activations.store import CONTEXT_TOKENS
from nlae.errors import NlaeError
from nlae.evaluation import round_trip
from nlae.evaluation.base import FitReader, Reader, meta_of
from nlae.evaluation.frontier import ReaderBudget, fit_quote_reader, quote, read_frozen, start_token
from nlae.evaluation.parts import Errors
from nlae.evaluation.subject import Subject

Point = dict[str, Any]
DEFAULT_BATCH, DEFAULT_LR = 32, 5e-4


def quote_frontier(
    subject: Subject, budget: ReaderBudget | None, fit_reader: FitReader | None, errors: Errors
) -> dict[str, Any] | None:
    """Put `frontier/fve`, `frontier/quote_n` and `frontier/quote_n_frozen`; return what `frontier.json` holds."""
    board, settings = subject.board, subject.settings
    longest = max(settings.quote_lengths)
    if longest > CONTEXT_TOKENS:
        raise NlaeError(f"evaluation.quote_lengths goes to {longest}; the store keeps {CONTEXT_TOKENS} context tokens")
    keep_N = subject.main_N & torch.from_numpy(subject.rows.position >= longest)
    board.put("frontier/rows", int(keep_N.sum()))
    if not keep_N.any():
        board.note(f"no frontier: no measured row has a context longer than {longest} tokens")
        return None
    if getattr(getattr(subject.autoencoder, "target", None), "tokenizer", None) is None:
        board.note("no frontier: this checkpoint comes without its target's tokenizer")
        return None
    board.add("frontier/fve", subject.error_N, keep_N)
    tokens = None if errors.tokens_N is None else float(errors.tokens_N[keep_N].mean())
    points = [_point(subject, "explanation", "frontier/fve", tokens, tokens and tokens - errors.template)]
    points += _beside(subject, errors, keep_N)
    budget = budget or reader_budget(subject)
    if budget is None:
        board.note(
            "no frontier/quote_n: the checkpoint does not say how long its reconstructor was trained; "
            "set evaluation.frontier_updates"
        )
    else:
        points += _trained(subject, budget, fit_reader, keep_N, errors)
    points += _frozen(subject, keep_N, errors)
    return {
        "measure": "fve" if board.is_fve else "cosine",
        "rows": int(keep_N.sum()),
        "clusters": int(board.bootstrap.cluster_N[keep_N].unique().numel()),
        "template_tokens": errors.template,
        "reader_updates": None if budget is None else budget.updates,
        "points": points,
    }


def reader_budget(subject: Subject) -> ReaderBudget | None:
    """How long the quote reader trains: what the settings say, else what the checkpoint says of its reconstructor.

    None when neither gives a number of updates; a batch size or rate that is missing takes the package's default.
    """
    settings = subject.settings
    training = meta_of(subject.autoencoder).get("training") or {}
    stages = training.get("updates") or {}
    # the reconstructor learns in every stage
    updates = settings.frontier_updates or sum(int(count) for count in stages.values())
    if not updates:
        return None
    batch = settings.frontier_batch or training.get("batch") or DEFAULT_BATCH
    return ReaderBudget(updates, int(batch), float(settings.frontier_lr or training.get("lr") or DEFAULT_LR))


def _trained(
    subject: Subject, budget: ReaderBudget, fit_reader: FitReader | None, keep_N: Tensor, errors: Errors
) -> list[Point]:
    """Quotes read by a fresh reader of our architecture."""
    settings = subject.settings
    train = subject.store.split("train", early=False)
    longest = max(settings.quote_lengths)
    fit = fit_reader or _own_fit_reader()
    reader = fit_quote_reader(subject.autoencoder, train, longest, budget, fit, subject.seed)
    tokenizer = cast(Any, subject.autoencoder).target.tokenizer
    return [_read_quotes(subject, reader, tokenizer, n, keep_N, errors) for n in settings.quote_lengths]


def _read_quotes(subject: Subject, reader: Reader, tokenizer: Any, n: int, keep_N: Tensor, errors: Errors) -> Point:
    places = keep_N.nonzero().squeeze(1).tolist()
    texts = [quote(tokenizer, subject.rows.context_ids(place), n) for place in places]
    pred_KD = round_trip.read(reader, texts, subject.constant_D, subject.settings.batch_size, f"quotes of {n}")
    lengths = round_trip.read_lengths(subject.autoencoder, texts)
    tokens = None if lengths is None else float(lengths[0].mean())
    name = f"frontier/quote_{n}"
    _add(subject, name, pred_KD, keep_N, errors)
    return _point(subject, "quote", name, tokens, tokens and tokens - errors.template, n=n)


def _frozen(subject: Subject, keep_N: Tensor, errors: Errors) -> list[Point]:
    """Quotes read by the untrained target."""
    if not hasattr(subject.autoencoder, "activations"):
        subject.board.note("no frontier/quote_n_frozen: this checkpoint does not give access to its target")
        return []
    start_token(cast(Any, subject.autoencoder).target.tokenizer)
    places = keep_N.nonzero().squeeze(1).tolist()
    contexts = [subject.rows.context_ids(place) for place in places]
    points = []
    for n in subject.settings.quote_lengths:
        name = f"frontier/quote_{n}_frozen"
        size = subject.settings.batch_size
        pred_KD = read_frozen(subject.autoencoder, [ids[-n:] for ids in contexts], size, f"{n} tokens")
        _add(subject, name, pred_KD, keep_N, errors)
        points.append(_point(subject, "quote_frozen", name, n + 1.0, float(n), n=n))
    return points


def _beside(subject: Subject, errors: Errors, keep_N: Tensor) -> list[Point]:
    """Controls on the frontier's rows, for the plot alone; PCA's budget is numbers, not tokens."""
    points = []
    for name in ("mean", "last_token", *(f"pca_{k}" for k in subject.settings.components), "teacher"):
        if name not in errors:
            continue
        keep = keep_N & errors[name].isfinite()
        if not keep.any():
            continue
        interval = subject.board.bootstrap.fve(errors[name], subject.board.spread_N, keep)
        point: Point = {"name": name, "n": None, "tokens": None, "text_tokens": None}
        if name == "last_token":
            point |= {"tokens": 1.0, "text_tokens": 1.0}
        if name.startswith("pca_"):
            point["numbers"] = int(name.removeprefix("pca_"))
        if name == "teacher":
            chosen = [text or "" for text, kept in zip(errors.texts["teacher"], keep.tolist(), strict=True) if kept]
            lengths = round_trip.read_lengths(subject.autoencoder, chosen)
            if lengths is not None:
                point["tokens"] = float(lengths[0].mean())
                point["text_tokens"] = point["tokens"] - errors.template
        low, high = interval or (None, None)
        points.append(point | {"fve": subject.board.figure(errors[name], keep), "low": low, "high": high})
    return points


def _add(subject: Subject, name: str, pred_KD: Tensor, keep_N: Tensor, errors: Errors) -> None:
    error_N = torch.full((len(keep_N),), float("nan"), dtype=torch.float64)
    pred_ND = subject.constant_D.expand(len(keep_N), -1).clone()
    pred_ND[keep_N] = pred_KD
    error_N[keep_N] = subject.board.error(pred_ND)[keep_N]
    errors[name.removeprefix("frontier/")] = error_N
    subject.board.add_control(name, error_N, subject.error_N, keep_N)


def _point(
    subject: Subject, name: str, key: str, tokens: float | None, text_tokens: float | None, n: int | None = None
) -> Point:
    metrics, key = subject.board.metrics, subject.board.key(key)
    figure = {"fve": metrics[key], "low": metrics.get(f"{key}_low"), "high": metrics.get(f"{key}_high")}
    return {"name": name, "n": n, "tokens": tokens, "text_tokens": text_tokens, **figure}


def _own_fit_reader() -> FitReader:
    """The package's own trainer of readers, looked up when it is needed: it brings the optimizer along."""
    return cast(FitReader, importlib.import_module("nlae.evaluation.reader").fit_reader)
