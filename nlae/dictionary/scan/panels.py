"""Which documents choose, decide and report, and which token positions each panel keeps: drawn before anything is read.

A panel takes from every source work in turn, so that few works cannot fill it. Left out: strata by token or activation;
whoever scores draws those from the panel.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nlae.corpus import Corpus
from nlae.corpus.source import stable_hash
from nlae.dictionary.scan.folder import ROLES
from nlae.dictionary.scan.settings import ScanSettings
from nlae.errors import NlaeError

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.object_]


@dataclasses.dataclass(frozen=True)
class PanelRows:
    """Positions of one panel, ascending by document and position.

    Attributes:
        document, position, token_id: int64 [M].
    """

    document: Ints
    position: Ints
    token_id: Ints

    def __len__(self) -> int:
        return len(self.document)

    def table(self, corpus: Corpus) -> pa.Table:
        """As an Arrow table, with the source work of each row."""
        columns = {name: pa.array(getattr(self, name)) for name in ("document", "position", "token_id")}
        source = pa.array([corpus.source[int(document)] for document in self.document], pa.string())
        return pa.table({**columns, "source": source})


def roles(corpus: Corpus) -> Strings:
    """The role of each document: `train`, `select` (validation), and the test works halved into `decide` and `report`.

    Halved by a hash of the source work, so that no work both decides and reports.

    Raises:
        NlaeError: the test split has a single work.
    """
    split = np.asarray(corpus.split, dtype=object)
    works = sorted(
        {corpus.source[i] for i in np.flatnonzero(split == "test")}, key=lambda w: (stable_hash("half", w), w)
    )
    if len(works) < 2:
        raise NlaeError(
            "the corpus has one source work in its test split, but entries pass on one and are reported on another: "
            "give more works, raise corpus.test_share or set corpus.split_by=document"
        )
    # by rank of the hash and not by its last bit, so that neither half is ever empty
    deciding = set(works[::2])
    test = ["decide" if source in deciding else "report" for source in corpus.source]
    named = {"train": "train", "val": "select"}
    return np.asarray([named.get(s, t) for s, t in zip(split, test, strict=True)], dtype=object)


def draw_panels(corpus: Corpus, settings: ScanSettings, seed: int) -> dict[str, PanelRows]:
    """The positions of all four panels.

    Raises:
        NlaeError: a split has no position from `min_position` on.
    """
    role = roles(corpus)
    drawn = {}
    for name in ROLES:
        documents = np.flatnonzero(role == name)
        rng = np.random.default_rng([seed, stable_hash("panel", name)])
        drawn[name] = _draw(corpus, documents, settings, settings.rows(name), rng)
        if not len(drawn[name]):
            raise NlaeError(
                f"panel {name}: no passage of its split is longer than dictionary.scan.min_position="
                f"{settings.min_position} tokens; give longer documents or lower it"
            )
    return drawn


def _draw(corpus: Corpus, documents: Ints, settings: ScanSettings, wanted: int, rng: np.random.Generator) -> PanelRows:
    candidates: list[tuple[int, int]] = []
    turn: list[int] = []
    taken: dict[str, int] = {}
    per_passage: dict[int, Ints] = {}
    for document in documents:
        places = np.arange(settings.min_position, len(corpus.input_ids(document)))
        per_passage[int(document)] = rng.permutation(places)[: settings.per_passage]
    for nth in range(settings.per_passage):  # the first of every passage before the second of any
        for document in rng.permutation(documents):
            chosen = per_passage[int(document)]
            if nth < len(chosen):
                source = corpus.source[int(document)]
                taken[source] = taken.get(source, 0) + 1
                turn.append(taken[source])
                candidates.append((int(document), int(chosen[nth])))
    keep = np.lexsort((rng.random(len(turn)), np.asarray(turn, dtype=np.int64)))[:wanted]
    rows = sorted(candidates[i] for i in keep)
    document_M = np.asarray([d for d, _ in rows], dtype=np.int64)
    position_M = np.asarray([p for _, p in rows], dtype=np.int64)
    ids = {int(d): corpus.input_ids(int(d)) for d in np.unique(document_M)}
    token_M = np.asarray([ids[d][p] for d, p in rows], dtype=np.int64)
    return PanelRows(document_M, position_M, token_M)
