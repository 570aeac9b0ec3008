"""The order of the pass: which passages are read together, and which panel rows they hold.

Everything follows from the corpus, the panels and the settings, so that a killed scan finds its place again. Passages
come in the same order however many are read together. Training passages are read whole; of the others only those with
panel rows, and only up to the last of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from nlae.corpus import Corpus
from nlae.corpus.base import stable_hash
from nlae.dictionary.scan.folder import ROLES
from nlae.dictionary.scan.panels import PanelRows, roles, token_lengths
from nlae.dictionary.scan.scanner import Scanner
from nlae.functional.batching import token_batches

Ints = npt.NDArray[np.int64]
_CALIBRATION = 4096  # tokens


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


def make_windows(corpus: Corpus, panels: Mapping[str, PanelRows], scanner: Scanner) -> tuple[Window, ...]:
    """All windows: the training split first, then the panels of the others."""
    windows: list[Window] = []
    for role in ROLES:
        panel = panels[role]
        if role == "train":
            lengths = _training_lengths(corpus, scanner)
        else:  # positions ascend, so the last of a passage stays
            lengths = dict(zip(panel.document.tolist(), (panel.position + 1).tolist(), strict=True))
        windows += [_window(role, batch, lengths, panel) for batch in _batches(lengths, scanner.window_tokens)]
    return tuple(windows)


def calibration_windows(corpus: Corpus, scanner: Scanner) -> tuple[Window, ...]:
    """Some training passages, drawn by hash, over which thresholds are set; without panel rows."""
    lengths = _training_lengths(corpus, scanner)
    chosen: dict[int, int] = {}
    for document in _hashed(lengths):
        chosen[document] = lengths[document]
        if sum(chosen.values()) >= _CALIBRATION:
            break
    nothing = np.zeros(0, dtype=np.int64)
    empty = PanelRows(nothing, nothing, nothing, nothing)
    return tuple(_window("train", batch, chosen, empty) for batch in _batches(chosen, scanner.window_tokens))


def digest(windows: tuple[Window, ...], panels: Mapping[str, PanelRows]) -> str:
    """Identifies passages, their order and panel rows, however many passages are read together."""
    state = hashlib.sha256()
    for window in windows:
        for passage in zip(window.documents, window.lengths, strict=True):
            state.update(repr((window.role, *passage)).encode())
    for role, panel in panels.items():
        columns = (panel.document, panel.position, panel.token_id, panel.run)
        state.update(role.encode() + b"".join(column.tobytes() for column in columns))
    return state.hexdigest()[:32]


def _training_lengths(corpus: Corpus, scanner: Scanner) -> dict[int, int]:
    length = token_lengths(corpus)
    documents = np.flatnonzero((roles(corpus) == "train") & (length > scanner.min_position))
    return dict(zip(documents.tolist(), length[documents].tolist(), strict=True))


def _hashed(documents: Mapping[int, int]) -> list[int]:
    # neighbours in the corpus are of one work
    return sorted(documents, key=lambda document: stable_hash("window", document))


def _batches(lengths: Mapping[int, int], window_tokens: int) -> Iterator[list[int]]:
    """Passages in windows of at most `window_tokens` tokens, padding counted; one always fits."""
    order = _hashed(lengths)
    for batch in token_batches([lengths[document] for document in order], window_tokens):
        yield [order[place] for place in batch]


def _window(role: str, batch: list[int], lengths: Mapping[int, int], panel: PanelRows) -> Window:
    rows: list[int] = []
    places: list[tuple[int, int]] = []
    for index, document in enumerate(batch):
        first, last = np.searchsorted(panel.document, [document, document + 1])
        rows += range(int(first), int(last))
        places += [(index, int(position)) for position in panel.position[first:last]]
    return Window(
        role,
        tuple(batch),
        tuple(lengths[document] for document in batch),
        np.asarray(rows, dtype=np.int64),
        np.asarray(places, dtype=np.int64).reshape(-1, 2),
    )
