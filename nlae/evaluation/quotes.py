"""The quote frontier: what quoting the last n tokens of the context explains, beside what the explanations do.

Only rows whose context is longer than the longest quote take part, and `frontier/fve` is the autoencoder's own figure
on exactly these rows. Lengths count every token the reader reads, its template and start token included, in the
target's tokenizer. Two readers of the same quotes:

* `frontier/quote_n`: a fresh reader of our reconstructor's architecture, trained for as many updates, on quotes of the
  training rows whose length is drawn uniformly from 1 … 32; one reader for all n.
* `frontier/quote_n_frozen`: the untrained target reads one start token (BOS where the tokenizer has one, else a
  newline) and then the quote; its activation at the quote's last token, made unit, is the reconstruction.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.activations import ActivationRows
from nlae.activations.order import batch_rows
from nlae.errors import NlaeError
from nlae.evaluation.base import FitReader, Reader
from nlae.evaluation.budget import ReaderBudget
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import unit
from nlae.terminal.progress import Bar, track

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class QuoteReader:
    """A reader of quotes once it is trained, for all measures that ask what quoting would do.

    Attributes:
        read: quotes to unit vectors.
        longest: tokens of the longest quotes that it has seen.
        tokenizer: the target's.
    """

    read: Reader
    longest: int
    tokenizer: Any

    def quotes(self, contexts: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[str]:
        """The last tokens of each context as text; none is longer than what the reader has seen."""
        return [
            quote(self.tokenizer, ids, min(n, self.longest)) if n > 0 else ""
            for ids, n in zip(contexts, lengths, strict=True)
        ]


class QuoteBatches:
    """Training batches of quotes; a pure function of the update.

    Args:
        rows: training rows.
        tokenizer: the target's.
        longest: quotes have 1 … longest tokens, uniformly; a short context is quoted whole.
        batch_size: quotes a batch.
        seed: of order and lengths.
    """

    def __init__(self, rows: ActivationRows, tokenizer: Any, longest: int, batch_size: int, seed: int) -> None:
        self.rows, self.tokenizer, self.longest = rows, tokenizer, longest
        self.batch_size, self.seed = batch_size, seed

    def indices(self, update: int) -> Ints:
        """Rows of one update."""
        return batch_rows(len(self.rows), seed=self.seed, stage="quotes", update=update, batch_size=self.batch_size)

    def texts(self, update: int) -> list[str]:
        """Their quotes."""
        rng = np.random.default_rng(derive_seed(self.seed, "quotes", "length", update))
        lengths = rng.integers(1, self.longest + 1, self.batch_size)
        return [
            quote(self.tokenizer, self.rows.context_ids(int(i)), int(n))
            for i, n in zip(self.indices(update), lengths, strict=True)
        ]

    def activations(self, update: int) -> Tensor:
        """Their raw activations [B, D]."""
        return self.rows.activations(self.indices(update))


def quote(tokenizer: Any, context_ids: Sequence[int], n: int) -> str:
    """The last n tokens of a context as text."""
    return str(tokenizer.decode(list(context_ids)[-n:], clean_up_tokenization_spaces=False))


def fit_quote_reader(
    autoencoder: Any, rows: ActivationRows, longest: int, budget: ReaderBudget, fit_reader: FitReader, seed: int
) -> Reader:
    """Train the fresh reader on quotes of the training rows."""
    batches = QuoteBatches(rows, autoencoder.target.tokenizer, longest, budget.batch_size, seed)
    with Bar("train the quote reader", budget.updates) as bar:
        return fit_reader(
            autoencoder,
            batches.texts,
            batches.activations,
            updates=budget.updates,
            batch_size=budget.batch_size,
            lr=budget.lr,
            seed=derive_seed(seed, "quotes", "reader"),
            progress=lambda done: bar.advance(done),
        )


def start_token(tokenizer: Any) -> int:
    """BOS where the tokenizer has one, else the last token of a newline.

    Raises:
        NlaeError: it has neither.
    """
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    newline = tokenizer.encode("\n", add_special_tokens=False)
    if not newline:
        raise NlaeError("the target's tokenizer has neither BOS nor a newline: set evaluation.measures.frontier=null")
    return int(newline[-1])


def read_frozen(autoencoder: Any, quotes: Sequence[Sequence[int]], batch_size: int, name: str) -> Tensor:
    """What the untrained target makes of quotes of one length: unit vectors [N, D].

    Args:
        autoencoder: the one whose target reads, without any adapter.
        quotes: token ids, all of one length.
        batch_size: quotes at a time.
        name: for the bar.
    """
    start = start_token(autoencoder.target.tokenizer)
    parts = []
    for first in track(range(0, len(quotes), batch_size), description=f"frozen target ({name})"):
        ids = [[start, *map(int, ids)] for ids in quotes[first : first + batch_size]]
        parts.append(unit(_last_activations(autoencoder, ids)))
    return torch.cat(parts)


@contextlib.contextmanager
def bare_target(autoencoder: Any) -> Iterator[None]:
    """Run what is inside with the target's own weights, no role's adapter."""
    backbone = getattr(autoencoder, "backbone", None)
    with backbone.use(None) if backbone is not None else contextlib.nullcontext():
        yield


@torch.no_grad()
def _last_activations(autoencoder: Any, ids: list[list[int]]) -> Tensor:
    backbone = getattr(autoencoder, "backbone", None)
    if backbone is None or not hasattr(backbone, "target_trunk"):
        return torch.stack([hidden_TD[-1].float().cpu() for hidden_TD in autoencoder.activations(ids)])
    with bare_target(autoencoder):
        # equal lengths: no padding, so the last index is the last token
        trunk = backbone.trunk(None, getattr(autoencoder, "site", None))
        hidden_BTD = trunk(input_ids=torch.tensor(ids, device=autoencoder.target.device))
    return torch.as_tensor(hidden_BTD[:, -1].float().cpu())
