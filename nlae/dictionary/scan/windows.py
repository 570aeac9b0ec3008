"""The order of the pass: which passages are read together, and which panel rows they hold.

Everything follows from the corpus, the panels and the settings, so that a killed scan finds its place again. Training
passages are read whole; of the others only those with panel rows, and only up to the last of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from nlae.corpus import Corpus
from nlae.corpus.source import stable_hash
from nlae.dictionary.scan.folder import ROLES
from nlae.dictionary.scan.panels import PanelRows, roles
from nlae.dictionary.scan.settings import ScanSettings
from nlae.functional.batching import token_batches

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Window:
    """Passages that share one forward pass, longest first.

    Attributes:
        role: split of all of them.
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


def make_windows(corpus: Corpus, panels: Mapping[str, PanelRows], settings: ScanSettings) -> tuple[Window, ...]:
    """All windows: the training split first, then the panels of the others."""
    role_of = roles(corpus)
    windows: list[Window] = []
    for role in ROLES:
        panel = panels[role]
        if role == "train":
            lengths = {int(d): len(corpus.input_ids(int(d))) for d in np.flatnonzero(role_of == role)}
        else:
            lengths = {}
            for document, position in zip(panel.document.tolist(), panel.position.tolist(), strict=True):
                lengths[document] = max(lengths.get(document, 0), position + 1)
        lengths = {document: n for document, n in lengths.items() if n > settings.min_position}
        windows += [_window(role, batch, lengths, panel) for batch in _batches(lengths, settings.window_tokens)]
    return tuple(windows)


def digest(windows: tuple[Window, ...]) -> str:
    """Identifies passages, order and panel rows."""
    state = hashlib.sha256()
    for window in windows:
        state.update(repr((window.role, window.documents, window.lengths)).encode())
        state.update(window.rows.tobytes() + window.places.tobytes())
    return state.hexdigest()[:32]


def _batches(lengths: Mapping[int, int], window_tokens: int) -> Iterator[list[int]]:
    """Passages in windows of at most `window_tokens` tokens, padding counted; one always fits."""
    # among equals by hash: neighbours in the corpus are of one work, and decoys should come from many
    order = sorted(lengths, key=lambda document: stable_hash("window", document))
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
