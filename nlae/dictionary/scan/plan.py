"""What is read, in which order, and which token positions each panel keeps: all decided before anything is read.

Documents fit, select, set the bar or test. A panel takes *runs* of consecutive positions from every source work in
turn, so that few works cannot fill it. A *window* is what is read together: training passages whole, of the others only
those with panel rows, up to the last of these. Everything follows from corpus and settings, so that a killed scan finds
its place again, and passages come in the same order however many are read together. Left out: strata by token or
activation; whoever scores draws those from the panel.
"""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.corpus.base import stable_hash
from nlae.dictionary.scan.folder import PLACES, ROLES, Ints, Panel, Strings
from nlae.dictionary.scan.scanner import Scanner
from nlae.errors import NlaeError
from nlae.functional.batching import token_batches
from nlae.target.model import pad_right

_CALIBRATION = 4096  # tokens
_NOWHERE = np.zeros(0, dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class Window:
    """Passages that share one forward pass, longest first.

    Attributes:
        role, documents, lengths: of all of them; of each its number in the corpus, and the tokens to read.
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

    def padding(self, first: int) -> Tensor:
        """Which of its positions from `first` on are padding, bool [B, T − first]."""
        return torch.arange(first, max(self.lengths)) >= torch.tensor(self.lengths)[:, None]


def roles(corpus: Corpus) -> Strings:
    """The role of each document: `train`, `select` (validation), and the test works halved into `bar` and `test`.

    Halved by a hash of the source work, so that no work both sets the bar and tests.

    Raises:
        NlaeError: the test split has a single work.
    """
    tested = {source for source, split in zip(corpus.source, corpus.split, strict=True) if split == "test"}
    works = sorted(tested, key=lambda work: (stable_hash("half", work), work))
    if len(works) < 2:
        raise NlaeError(
            "the corpus has one source work in its test split, but the bar is set on some works and entries are tested "
            "on others: give more works, raise corpus.test_share or set corpus.split_by=document"
        )
    # by rank of the hash and not by its last bit, so that neither half is ever empty
    bar = set(works[::2])
    named = {"train": "train", "val": "select"}
    each = zip(corpus.source, corpus.split, strict=True)
    role = [named.get(split, "bar" if source in bar else "test") for source, split in each]
    return np.asarray(role, dtype=object)


def draw_panels(corpus: Corpus, scanner: Scanner, seed: int) -> dict[str, Panel]:
    """The positions of all four panels.

    Raises:
        NlaeError: a split has no position from `min_position` on.
    """
    drawn = {}
    for role in ROLES:
        lengths = _lengths(corpus, scanner, role)
        if not lengths:
            raise NlaeError(
                f"panel {role}: no passage of its split is longer than dictionary.scan.min_position="
                f"{scanner.min_position} tokens; give longer documents or lower it"
            )
        rng = np.random.default_rng([seed, stable_hash("panel", role)])
        drawn[role] = _panel(corpus, _draw(corpus, lengths, scanner, role, rng))
    return drawn


def make_windows(corpus: Corpus, panels: Mapping[str, Panel], scanner: Scanner) -> list[Window]:
    """All windows: the training split first, then the panels of the others."""
    windows: list[Window] = []
    for role in ROLES:
        panel = panels[role]
        if role == "train":
            lengths = _lengths(corpus, scanner, "train")
        else:  # positions ascend, so the last of a passage stays
            lengths = dict(zip(panel.document.tolist(), (panel.position + 1).tolist(), strict=True))
        windows += _windows(role, lengths, panel.document, panel.position, scanner.window_tokens)
    return windows


def calibration_windows(corpus: Corpus, scanner: Scanner) -> list[Window]:
    """Some training passages, drawn by hash, over which thresholds are set; without panel rows."""
    lengths = _lengths(corpus, scanner, "train")
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


def _draw(corpus: Corpus, lengths: Mapping[int, int], scanner: Scanner, role: str, rng: np.random.Generator) -> Ints:
    """Runs of a panel as (document, first position, length), ascending, int64 [R, 3]."""
    size = min(scanner.run(role), scanner.rows(role))
    times = max(1, scanner.per_passage // size)
    documents = np.asarray(list(lengths))
    of_passage = [_runs(length - scanner.min_position, size, times, rng) for length in lengths.values()]
    source = corpus.sources_of(documents)
    taken: dict[str, int] = {}
    turn: list[int] = []
    runs: list[tuple[int, int, int]] = []
    for nth in range(times):  # the first of every passage before the second of any
        for index in rng.permutation(len(documents)):
            if nth < len(of_passage[index]):
                start, length = of_passage[index][nth]
                taken[source[index]] = taken.get(source[index], 0) + 1
                turn.append(taken[source[index]])
                runs.append((int(documents[index]), scanner.min_position + start, length))
    runs_R3 = np.asarray(runs, dtype=np.int64)[np.lexsort((rng.random(len(turn)), np.asarray(turn)))]
    runs_R3 = runs_R3[np.cumsum(runs_R3[:, 2]) <= scanner.rows(role)]
    return runs_R3[np.lexsort((runs_R3[:, 1], runs_R3[:, 0]))]


def _runs(room: int, size: int, times: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Start and length of up to `times` runs that do not overlap, in random order; a short passage is one run."""
    if room <= size:
        return [(0, room)]
    fit = room // size
    offset = int(rng.integers(room - fit * size + 1))
    return [(offset + int(place) * size, size) for place in rng.permutation(fit)[:times]]


def _panel(corpus: Corpus, runs_R3: Ints) -> Panel:
    document_R, start_R, length_R = runs_R3.T
    run_M = np.repeat(np.arange(len(runs_R3)), length_R)
    first_R = np.cumsum(length_R) - length_R
    document_M, position_M = document_R[run_M], start_R[run_M] + np.arange(len(run_M)) - first_R[run_M]
    ids = {document: corpus.token_ids(document) for document in set(document_R.tolist())}
    token_M = np.concatenate([ids[d][start : start + n] for d, start, n in runs_R3.tolist()]).astype(np.int64)
    source_R = np.asarray(corpus.sources_of(document_R), dtype=object)
    return Panel(document_M, position_M, token_M, run_M, source_R[run_M])


def _lengths(corpus: Corpus, scanner: Scanner, role: str) -> dict[int, int]:
    """Tokens of each passage of a role that is longer than `min_position`."""
    length = pc.list_value_length(corpus.documents["input_ids"]).to_numpy()
    documents = np.flatnonzero((roles(corpus) == role) & (length > scanner.min_position))
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
