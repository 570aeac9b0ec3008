"""The quote frontier beside the explanations, on rows with a context longer than the longest quote.

`nlae.evaluation.quotes` defines the readers; this file runs them and writes `frontier.json`, the points of the plot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from nlae.activations.store import CONTEXT_TOKENS
from nlae.errors import NlaeError
from nlae.evaluation import round_trip
from nlae.evaluation.base import FitReader, Reader, meta_of
from nlae.evaluation.budget import ReaderBudget, reader_budget
from nlae.evaluation.quotes import QuoteReader, fit_quote_reader, quote, read_frozen, start_token
from nlae.evaluation.reader import fit_reader
from nlae.evaluation.record import EvaluationRecord
from nlae.files.arrow import write_text

Point = dict[str, Any]


class Frontier:
    """`frontier/fve`, `frontier/quote_n` and `frontier/quote_n_frozen`; `frontier.json`.

    Args:
        quote_lengths: tokens quoted; only rows with a longer context than the longest take part.
        updates: of the quote reader; None takes as many as the reconstructor had.
        batch_size: quotes per update; None takes what the reconstructor had, if the checkpoint says so, else 32.
        lr: learning rate of the quote reader; None takes what the reconstructor had, else 5e-4.
        fit_reader: trains the quote reader; None takes the package's own.
    """

    costly = True

    def __init__(
        self,
        quote_lengths: Sequence[int] = (1, 2, 4, 8, 16, 32),
        updates: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        fit_reader: FitReader | None = None,
    ) -> None:
        self.quote_lengths = tuple(sorted(int(n) for n in quote_lengths))
        where = "evaluation.measures.frontier.quote_lengths"
        if not self.quote_lengths or self.quote_lengths[0] < 1:
            raise NlaeError(f"{where} must list numbers of 1 or more, not {list(quote_lengths)}")
        self.longest = max(self.quote_lengths)
        if self.longest > CONTEXT_TOKENS:
            raise NlaeError(f"{where} goes to {self.longest}; the store keeps {CONTEXT_TOKENS} context tokens")
        self.updates, self.batch_size, self.lr, self.fit_reader = updates, batch_size, lr, fit_reader

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        points = self._points(record)
        write_text(record.folder / "frontier.json", json.dumps(points, ensure_ascii=False, indent=1) + "\n")

    def _points(self, record: EvaluationRecord) -> dict[str, Any] | None:
        """Put the figures; return what `frontier.json` holds."""
        board = record.board
        keep_N = record.main_N & torch.from_numpy(record.rows.position >= self.longest)
        board.put("frontier/rows", int(keep_N.sum()))
        if not keep_N.any():
            board.note(f"no frontier: no measured row has a context longer than {self.longest} tokens")
            return None
        if getattr(getattr(record.autoencoder, "target", None), "tokenizer", None) is None:
            board.note("no frontier: this checkpoint comes without its target's tokenizer")
            return None
        board.add("frontier/fve", record.error_N, keep_N)
        tokens = None if record.lengths is None else float(record.lengths[0][keep_N].mean())
        points = [_point(record, "explanation", "frontier/fve", tokens, tokens and tokens - _template(record))]
        points += _beside(record, keep_N)
        budget = reader_budget(meta_of(record.autoencoder), self.updates, self.batch_size, self.lr)
        if budget is None:
            board.note(
                "no frontier/quote_n: the checkpoint does not say how long its reconstructor was trained; "
                "set evaluation.measures.frontier.updates"
            )
        else:
            points += self._trained(record, budget, keep_N)
        points += self._frozen(record, keep_N)
        return {
            "measure": "fve" if board.is_fve else "cosine",
            "rows": int(keep_N.sum()),
            "clusters": int(board.bootstrap.cluster_N[keep_N].unique().numel()),
            "template_tokens": _template(record),
            "reader_updates": None if budget is None else budget.updates,
            "points": points,
        }

    def _trained(self, record: EvaluationRecord, budget: ReaderBudget, keep_N: Tensor) -> list[Point]:
        """Quotes read by a fresh reader of our architecture."""
        fit = self.fit_reader or cast(FitReader, fit_reader)
        reader = fit_quote_reader(record.autoencoder, record.training_rows, self.longest, budget, fit, record.seed)
        tokenizer = cast(Any, record.autoencoder).target.tokenizer
        record.quote_reader = QuoteReader(reader, self.longest, tokenizer)
        return [_read_quotes(record, reader, n, keep_N) for n in self.quote_lengths]

    def _frozen(self, record: EvaluationRecord, keep_N: Tensor) -> list[Point]:
        """Quotes read by the untrained target."""
        if not hasattr(record.autoencoder, "activations"):
            record.board.note("no frontier/quote_n_frozen: this checkpoint does not give access to its target")
            return []
        start_token(cast(Any, record.autoencoder).target.tokenizer)
        places = keep_N.nonzero().squeeze(1).tolist()
        contexts = [record.context_ids[place] for place in places]
        points = []
        for n in self.quote_lengths:
            name = f"frontier/quote_{n}_frozen"
            size = record.batch_size
            pred_KD = read_frozen(record.autoencoder, [ids[-n:] for ids in contexts], size, f"{n} tokens")
            _add(record, name, pred_KD, keep_N)
            points.append(_point(record, "quote_frozen", name, n + 1.0, float(n), n=n))
        return points


def _template(record: EvaluationRecord) -> int:
    """Tokens that the reconstructor reads for no text at all; 0 where it does not show them."""
    return 0 if record.lengths is None else record.lengths[1]


def _read_quotes(record: EvaluationRecord, reader: Reader, n: int, keep_N: Tensor) -> Point:
    tokenizer = cast(Any, record.autoencoder).target.tokenizer
    places = keep_N.nonzero().squeeze(1).tolist()
    texts = [quote(tokenizer, record.context_ids[place], n) for place in places]
    pred_KD = round_trip.read(reader, texts, record.constant_D, record.batch_size, f"quotes of {n}")
    lengths = round_trip.read_lengths(record.autoencoder, texts)
    tokens = None if lengths is None else float(lengths[0].mean())
    name = f"frontier/quote_{n}"
    _add(record, name, pred_KD, keep_N)
    return _point(record, "quote", name, tokens, tokens and tokens - _template(record), n=n)


def _beside(record: EvaluationRecord, keep_N: Tensor) -> list[Point]:
    """Controls on the frontier's rows, for the plot alone; PCA's budget is numbers, not tokens."""
    points = []
    pca = [name for name in record.errors if name.startswith("pca_")]
    for name in ("mean", "last_token", *pca, "teacher"):
        if name not in record.errors:
            continue
        error_N = record.errors[name]
        keep = keep_N & error_N.isfinite()
        if not keep.any():
            continue
        interval = record.board.bootstrap.fve(error_N, record.board.spread_N, keep)
        point: Point = {"name": name, "n": None, "tokens": None, "text_tokens": None}
        if name == "last_token":
            point |= {"tokens": 1.0, "text_tokens": 1.0}
        if name.startswith("pca_"):
            point["numbers"] = int(name.removeprefix("pca_"))
        if name == "teacher":
            chosen = [text or "" for text, kept in zip(record.columns["teacher"], keep.tolist(), strict=True) if kept]
            lengths = round_trip.read_lengths(record.autoencoder, chosen)
            if lengths is not None:
                point["tokens"] = float(lengths[0].mean())
                point["text_tokens"] = point["tokens"] - _template(record)
        low, high = interval or (None, None)
        points.append(point | {"fve": record.board.figure(error_N, keep), "low": low, "high": high})
    return points


def _add(record: EvaluationRecord, name: str, pred_KD: Tensor, keep_N: Tensor) -> None:
    error_N = torch.full((len(keep_N),), float("nan"), dtype=torch.float64)
    pred_ND = record.constant_D.expand(len(keep_N), -1).clone()
    pred_ND[keep_N] = pred_KD
    error_N[keep_N] = record.board.error(pred_ND)[keep_N]
    record.errors[name.removeprefix("frontier/")] = error_N
    record.board.add_control(name, error_N, record.error_N, keep_N)


def _point(
    record: EvaluationRecord, name: str, key: str, tokens: float | None, text_tokens: float | None, n: int | None = None
) -> Point:
    metrics, key = record.board.metrics, record.board.key(key)
    figure = {"fve": metrics[key], "low": metrics.get(f"{key}_low"), "high": metrics.get(f"{key}_high")}
    return {"name": name, "n": n, "tokens": tokens, "text_tokens": text_tokens, **figure}
