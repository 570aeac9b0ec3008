"""The order of the pass: which passages are read together, and which panel rows they hold.

Everything follows from the corpus, the panels and the settings, so that a killed scan finds its place again. Passages
come in the same order however many are read together. Training passages are read whole; of the others only those with
panel rows, and only up to the last of these.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.corpus.base import stable_hash
from nlae.dictionary.scan.exemplars import Reading
from nlae.dictionary.scan.folder import PLACES, ROLES, Ints, Panel
from nlae.dictionary.scan.panels import roles, token_lengths
from nlae.dictionary.scan.scanner import Scanner
from nlae.functional.batching import token_batches
from nlae.target.model import pad_right

_CALIBRATION = 4096  # tokens
_NOWHERE = np.zeros(0, dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class Window:
    """Passages that share one forward pass, longest first.

    Attributes:
        role: of all of them.
        documents: their numbers in the corpus.
        lengths: tokens to read of each.
        rows: panel rows that fall into them, in the order of `places`.
        places: (passage in the window, position) of each of `rows`, int64 [m, 2].
    """

    role: str
    documents: tuple[int, ...]
    lengths: tuple[int, ...]
    rows: Ints
    places: Ints

    def token_ids(self, corpus: Corpus, pad: int) -> Tensor:
        """Its tokens, padded on the right, int64 [B, T]."""
        passages = zip(self.documents, self.lengths, strict=True)
        return pad_right([corpus.input_ids(document)[:length] for document, length in passages], pad)[0]

    def reading(self, first: int, device: torch.device | str = "cpu") -> Reading:
        """Which of its tokens count: those from `first` on that are no padding."""
        length_B = torch.tensor(self.lengths)
        padding_BT = torch.arange(first, int(length_B.max())) >= length_B[:, None]
        return Reading(
            padding_BT=padding_BT.to(device),
            padded=tuple(padding_BT.any(1).tolist()),
            document_B=torch.tensor(self.documents, dtype=torch.int32).to(device),
            first=first,
            tokens=int((~padding_BT).sum()),
        )


def make_windows(corpus: Corpus, panels: Mapping[str, Panel], scanner: Scanner) -> list[Window]:
    """All windows: the training split first, then the panels of the others."""
    windows: list[Window] = []
    for role in ROLES:
        panel = panels[role]
        if role == "train":
            lengths = _training_lengths(corpus, scanner)
        else:  # positions ascend, so the last of a passage stays
            lengths = dict(zip(panel.document.tolist(), (panel.position + 1).tolist(), strict=True))
        windows += _windows(role, lengths, panel.document, panel.position, scanner.window_tokens)
    return windows


def calibration_windows(corpus: Corpus, scanner: Scanner) -> list[Window]:
    """Some training passages, drawn by hash, over which thresholds are set; without panel rows."""
    lengths = _training_lengths(corpus, scanner)
    chosen: dict[int, int] = {}
    for document in _hashed(lengths):
        chosen[document] = lengths[document]
        if sum(chosen.values()) >= _CALIBRATION:
            break
    return _windows("train", chosen, _NOWHERE, _NOWHERE, scanner.window_tokens)


def digest(windows: list[Window], panels: Mapping[str, Panel]) -> str:
    """Identifies passages, their order and panel rows, however many passages are read together."""
    state = hashlib.sha256()
    for window in windows:
        for passage in zip(window.documents, window.lengths, strict=True):
            state.update(repr((window.role, *passage)).encode())
    for role, panel in panels.items():
        state.update(role.encode() + b"".join(getattr(panel, name).tobytes() for name in PLACES))
    return state.hexdigest()[:32]


def _training_lengths(corpus: Corpus, scanner: Scanner) -> dict[int, int]:
    length = token_lengths(corpus)
    documents = np.flatnonzero((roles(corpus) == "train") & (length > scanner.min_position))
    return dict(zip(documents.tolist(), length[documents].tolist(), strict=True))


def _hashed(documents: Mapping[int, int]) -> list[int]:
    # neighbours in the corpus are of one work
    return sorted(documents, key=lambda document: stable_hash("window", document))


def _windows(role: str, lengths: Mapping[int, int], document_M: Ints, position_M: Ints, most: int) -> list[Window]:
    """Passages in windows of at most `most` tokens, padding counted (one always fits), with the panel rows in them."""
    order, windows = _hashed(lengths), []
    for batch in token_batches([lengths[document] for document in order], most):
        documents = tuple(order[place] for place in batch)
        ends = [np.searchsorted(document_M, [document, document + 1]) for document in documents]
        rows = np.concatenate([np.arange(*pair) for pair in ends])
        passage_m = np.repeat(np.arange(len(documents)), np.diff(ends).ravel())
        places = np.stack([passage_m, position_M[rows]], 1)
        windows.append(Window(role, documents, tuple(lengths[document] for document in documents), rows, places))
    return windows
