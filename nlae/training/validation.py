"""Held-out rows for the curves, and the start-up probe of the injection.

The test split never enters here. The probe trains nothing: it asks whether the untouched verbalizer already reads
anything from the slot, which finds a vector that is injected too quietly; it does not rank injection points.
"""

from __future__ import annotations

import logging

import numpy as np
import torch

from nlae.activations import ActivationRows, Descriptions
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.model.validation import ValidationSet

logger = logging.getLogger(__name__)

QUIET_GAP = 0.1
TAIL_TOKENS = 4
RIVALS = 9


def other_documents(document_N: np.ndarray) -> torch.Tensor:
    """For every row the index of a row of another document, int64 (N,): the shuffled pairing, without randomness.

    Raises:
        ValueError: all rows belong to one document.
    """
    n = len(document_N)
    if len(np.unique(document_N)) < 2:
        raise ValueError("a shuffled pairing needs rows of at least two documents")
    partner = (np.arange(n) + n // 2) % n
    for i in range(n):
        while document_N[partner[i]] == document_N[i]:
            partner[i] = (partner[i] + 1) % n
    return torch.from_numpy(partner)


def validation_set(
    rows: ActivationRows, descriptions: Descriptions | None, pool: ActivationRows | None = None
) -> ValidationSet:
    """All of `rows`, read into memory.

    Args:
        rows: held-out rows.
        descriptions: the teacher's texts.
        pool: training rows, of which nine that share its last token are each row's rivals.
    """
    texts = None if descriptions is None else [descriptions.text(int(row)) for row in rows.row]
    return ValidationSet(
        rows.all(),
        texts,
        other_documents(rows.document),
        [int(row) for row in rows.row],
        [rows.context_ids(i) for i in range(len(rows))],
        {} if pool is None else _rivals(rows, pool),
    )


def _rivals(rows: ActivationRows, pool: ActivationRows) -> dict[int, torch.Tensor]:
    """Of every row with enough training rows that end on its token: nine of them, spread evenly over all."""
    found = {}
    for i, token in enumerate(rows.token_id):
        same = np.flatnonzero(pool.token_id == token)
        if len(same) >= RIVALS:
            places = np.linspace(0, len(same) - 1, RIVALS).astype(np.int64)
            found[i] = pool.activations(same[places])
    return found


@torch.no_grad()
def zero_shot_gap(verbalizer: SiteVerbalizer, rows: ActivationRows, limit: int = 32) -> float:
    """NLL in nats per token of the context's true ending under a shuffled minus under the true activation.

    Before training, on held-out rows. Warns when the gap is small: the vector is too quiet to be learned from soon.
    """
    chosen = rows.select(np.arange(min(limit, len(rows))))
    decode = verbalizer.tokenizer.decode
    texts = [f'The text ends with "{decode(chosen.context_ids(i)[-TAIL_TOKENS:])}".' for i in range(len(chosen))]
    activation_ND, other_N = chosen.all(), other_documents(chosen.document)
    gap = verbalizer.nll(activation_ND[other_N], texts) - verbalizer.nll(activation_ND, texts)
    if gap < QUIET_GAP:
        logger.warning(
            "zero-shot probe: true and shuffled activations differ by %.2f nats at injection scale %.3g; "
            "learning will be slow: raise verbalizer.injection.scale",
            gap,
            verbalizer.scale,
        )
    return gap
