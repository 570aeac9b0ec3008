"""Which documents fit, select, set the bar and test, and which token positions each panel keeps: drawn before reading.

A panel takes *runs* of consecutive positions from every source work in turn, so that few works cannot fill it. Left
out: strata by token or activation; whoever scores draws those from the panel.
"""

import numpy as np
import pyarrow.compute as pc

from nlae.corpus import Corpus
from nlae.corpus.base import stable_hash
from nlae.dictionary.scan.folder import ROLES, Ints, Panel, Strings
from nlae.dictionary.scan.scanner import Scanner
from nlae.errors import NlaeError


def roles(corpus: Corpus) -> Strings:
    """The role of each document: `train`, `select` (validation), and the test works halved into `bar` and `test`.

    Halved by a hash of the source work, so that no work both sets the bar and tests.

    Raises:
        NlaeError: the test split has a single work.
    """
    split = np.asarray(corpus.split, dtype=object)
    works = sorted(
        {corpus.source[i] for i in np.flatnonzero(split == "test")}, key=lambda w: (stable_hash("half", w), w)
    )
    if len(works) < 2:
        raise NlaeError(
            "the corpus has one source work in its test split, but the bar is set on some works and entries are tested "
            "on others: give more works, raise corpus.test_share or set corpus.split_by=document"
        )
    # by rank of the hash and not by its last bit, so that neither half is ever empty
    bar = set(works[::2])
    halves = ["bar" if source in bar else "test" for source in corpus.source]
    named = {"train": "train", "val": "select"}
    return np.asarray([named.get(s, half) for s, half in zip(split, halves, strict=True)], dtype=object)


def token_lengths(corpus: Corpus) -> Ints:
    """Tokens of every document, int64 [documents]."""
    lengths: Ints = pc.list_value_length(corpus.documents["input_ids"]).to_numpy().astype(np.int64)
    return lengths


def draw_panels(corpus: Corpus, scanner: Scanner, seed: int) -> dict[str, Panel]:
    """The positions of all four panels.

    Raises:
        NlaeError: a split has no position from `min_position` on.
    """
    role, length = roles(corpus), token_lengths(corpus)
    drawn = {}
    for name in ROLES:
        documents = np.flatnonzero((role == name) & (length > scanner.min_position))
        if not len(documents):
            raise NlaeError(
                f"panel {name}: no passage of its split is longer than dictionary.scan.min_position="
                f"{scanner.min_position} tokens; give longer documents or lower it"
            )
        rng = np.random.default_rng([seed, stable_hash("panel", name)])
        runs = _draw(corpus, documents, length[documents], scanner, name, rng)
        drawn[name] = _panel(corpus, runs)
    return drawn


def _draw(
    corpus: Corpus, documents: Ints, lengths: Ints, scanner: Scanner, role: str, rng: np.random.Generator
) -> Ints:
    """Runs of a panel as (document, first position, length), ascending, int64 [R, 3]."""
    size = min(scanner.run(role), scanner.rows(role))
    times = max(1, scanner.per_passage // size)
    of_passage = [_runs(int(n) - scanner.min_position, size, times, rng) for n in lengths]
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
