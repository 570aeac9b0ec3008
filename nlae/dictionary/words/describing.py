"""Words for all entries of a population: candidates, the reader that is fitted to them, and the best one of each entry.

Candidates are words chosen by counting, words chosen by matching pursuit, and for entries whose contexts fall into
groups one phrase per group. The reader sees descriptions of trained neurons only; what is tried of it is decided by
neurons A on the selection works. Shape suffixes: E entries, K contexts of an entry, M contexts, C words, D width of the
inputs, P candidates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.score.clusters import group_rows, pair_threshold
from nlae.dictionary.score.population import BLOCK, Population, packed
from nlae.dictionary.score.trials import Readings, Trials
from nlae.dictionary.words.phrase import render
from nlae.dictionary.words.picking import SLOTS, Bags, Picked, leading, within
from nlae.dictionary.words.pursuit import pursue
from nlae.dictionary.words.ridge import Bag, Ridge, features, text_features
from nlae.dictionary.words.space import Space
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.functional.scaling import unit

log = logging.getLogger(__name__)
MOST = {"peaks": 4, "before": 2, "near": 4}
WIDE = {"peaks": 15, "before": 15, "near": 40}  # words that pursuit chooses among
HALF = {"peaks": 2, "before": 1, "near": 2}  # of one of two phrases
TOLL = 0.01  # cosine that one of the commonest words must bring more: such words predict and hardly describe


@dataclass(frozen=True)
class Words:
    """What all populations of a dictionary share: words of the corpus, those of the training panel's contexts."""

    vocabulary: Vocabulary
    bags: Bags
    settings: DictionaryBuilder

    def counted(self, row_EK: Tensor) -> Candidate:
        """The commonest words of each entry's contexts."""
        words = leading(self.bags, row_EK, MOST)
        return Candidate.of(self.vocabulary, within(words, self.vocabulary, self.settings.tokens))

    def pursued(self, reader: Bag, row_EK: Tensor, vector_ED: Tensor) -> Candidate:
        """Words of the contexts whose reading comes nearest to each entry's vector."""
        vocabulary, budget = self.vocabulary, self.settings.tokens - self.vocabulary.overhead
        word_EC = torch.cat(list(leading(self.bags, row_EK, WIDE).word.values()), 1)
        slot_C = torch.arange(len(SLOTS)).repeat_interleave(torch.tensor(list(WIDE.values())))
        nothing = len(vocabulary)  # a row of zeros behind all words
        reading_SWD = torch.stack([pad(reader.words(slot, vocabulary), (0, 0, 0, 1)) for slot in SLOTS])
        cost_W, toll_W = pad(vocabulary.cost_W, (0, 1)), TOLL * pad(vocabulary.common_W.float(), (0, 1))
        said = []
        for word_eC, vector_eD in zip(word_EC.split(BLOCK), vector_ED.split(BLOCK), strict=True):
            place_eC = torch.where(word_eC >= 0, word_eC, nothing)
            offered = reading_SWD[slot_C, place_eC], place_eC < nothing, cost_W[place_eC], toll_W[place_eC]
            said.append(pursue(*offered, -reader.mean_D, vector_eD, budget))
        by_slot = torch.where(torch.cat(said), word_EC, -1).split(list(WIDE.values()), 1)
        return Candidate.of(vocabulary, Picked({s: packed(w_EC) for s, w_EC in zip(SLOTS, by_slot, strict=True)}))

    def grouped(self, train_MD: Tensor, row_EK: Tensor) -> Candidate:
        """One phrase for each of the two largest groups of an entry's contexts, half as long each."""
        unit_MD, settings = unit(train_MD), self.settings
        threshold = pair_threshold(unit_MD, settings.group_quantile, settings.seed)
        row_EGK = torch.cat([group_rows(unit_MD, row_eK, threshold) for row_eK in row_EK.split(BLOCK)])
        half = (settings.tokens - 1) // 2
        parts = [within(leading(self.bags, row_EK, HALF), self.vocabulary, half) for row_EK in row_EGK.unbind(1)]
        return Candidate.of(self.vocabulary, *parts)


class Candidate(NamedTuple):
    """One kind of description for all entries.

    Attributes:
        feature_EF: what the reader is given.
        known_E: which entries have one, bool.
        texts: of every entry, letter for letter what is read; anything where there is none.
    """

    feature_EF: Tensor
    known_E: Tensor
    texts: list[str]

    @classmethod
    def of(cls, vocabulary: Vocabulary, *parts: Picked) -> Candidate:
        """Of phrases that are joined; an entry has the candidate where all of them have words."""
        feature_EF = torch.stack([features(part, vocabulary) for part in parts]).sum(0)
        known_E = ~torch.stack([part.empty_E for part in parts]).any(0)
        phrases = zip(*(part.phrases(vocabulary) for part in parts), strict=True)
        return cls(feature_EF, known_E, ["; ".join(map(render, said)) for said in phrases])

    @classmethod
    def written(cls, vocabulary: Vocabulary, texts: Mapping[int, str], entries: int) -> Candidate:
        """Of texts that somebody wrote for some of the entries, by their places."""
        said = [texts.get(entry, "") for entry in range(entries)]
        return cls(text_features(said, vocabulary), torch.tensor([entry in texts for entry in range(entries)]), said)


@dataclass(frozen=True)
class Described:
    """A population with its words.

    Attributes:
        reader: fitted to its trained neurons.
        vector_ED: unit vectors of the entries.
        candidates: counted, pursued and grouped words, and a teacher's where there is one.
        reading_PED: of all candidates, float32.
        kind_E: place of the chosen candidate; −1 where an entry has no words.
        chosen: what was chosen for the block: shrinkage, penalty, weights.
    """

    reader: Bag
    vector_ED: Tensor
    candidates: Sequence[Candidate]
    reading_PED: Tensor
    kind_E: Tensor
    chosen: Mapping[str, Any]

    @property
    def reading_ED(self) -> Tensor:
        """Readings of the chosen words."""
        return pick(self.reading_PED, self.kind_E)

    @property
    def texts(self) -> list[str]:
        """The chosen words of every entry, as they are shown and read; empty where it has none."""
        said = [candidate.texts for candidate in self.candidates]
        return ["" if kind < 0 else said[kind][entry] for entry, kind in enumerate(self.kind_E.tolist())]


def describe(
    words: Words,
    population: Population,
    space: Space,
    trials: Trials,
    fitted_E: Tensor,
    deciding_E: Tensor,
    taught: Mapping[int, str] | None = None,
) -> Described:
    """Choose words for every entry by `trials` of all of them on `select`, and fit the reader.

    It is fitted on entries of trained neurons, `fitted_E`, and those of neurons A, `deciding_E`, decide on what is
    tried; `taught` are descriptions by a teacher, by entry.
    """
    row_EK = population.row_EK
    known_E, places = fitted_E & (row_EK >= 0).any(-1), torch.nonzero(deciding_E)[:, 0]
    if not bool(known_E.any()):
        log.warning("no neuron of the four fifths that readers are fitted on has contexts: it is fitted on all of them")
        known_E, places = (row_EK >= 0).any(-1), torch.arange(len(row_EK))
    counted, sum_ED = words.counted(row_EK), space.sums(row_EK)
    first, chosen = _tuned(words.settings, space, sum_ED, counted, known_E, trials[places], places)
    vector_ED = space.vectors(sum_ED, chosen["shrinkage"])
    pursued = words.pursued(first, row_EK, vector_ED)
    feature_EF = torch.cat([counted.feature_EF[known_E], pursued.feature_EF[known_E]])
    (reader,) = Ridge(feature_EF, vector_ED[known_E].repeat(2, 1)).fit(chosen["weights"], chosen["penalty"])
    candidates = [counted, pursued, words.grouped(space.contexts("train", chosen["shrinkage"]), row_EK)]
    candidates += [Candidate.written(words.vocabulary, taught, len(row_EK))] if taught else []
    select_MD = space.contexts("select", chosen["shrinkage"])
    return Described(reader, vector_ED, candidates, *choose(reader, candidates, trials, select_MD), chosen)


def choose(reader: Bag, candidates: Sequence[Candidate], trials: Trials, select_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Readings of all candidates, float32 (P, E, D), and the place of each entry's `best` one, int64 (E,)."""
    reading_PED = torch.stack([reader.read(candidate.feature_EF) for candidate in candidates])
    known_PE = torch.stack([candidate.known_E for candidate in candidates])
    return reading_PED, best(known_PE, trials.auroc(Readings(reading_PED, select_MD)))


def best(known_PE: Tensor, area_PE: Tensor) -> Tensor:
    """Place of the known candidate with the highest AUROC on the selection works, int64 (E,); −1 where there is none.

    Where an entry is not scored, the first one stands.
    """
    top_E, kind_E = torch.where(known_PE, area_PE.nan_to_num(0.0), -1.0).max(0)
    return torch.where(top_E < 0, -1, kind_E)


def pick(reading_PED: Tensor, kind_E: Tensor) -> Tensor:
    """Readings of the candidates that were chosen, float32 (E, D); zeros where there are none."""
    picked_ED = reading_PED[kind_E.clamp_min(0), torch.arange(len(kind_E))]
    return torch.where((kind_E >= 0)[:, None], picked_ED, 0.0)


def _tuned(
    settings: DictionaryBuilder,
    space: Space,
    sum_ED: Tensor,
    counted: Candidate,
    known_E: Tensor,
    few: Trials,
    places: Tensor,
) -> tuple[Bag, dict[str, Any]]:
    """Shrinkage, penalty and weights by which most entries of neurons A reach the AUROC that passing takes."""
    vectors = [space.vectors(sum_ED[known_E], shrinkage) for shrinkage in settings.shrinkage]
    ridge = Ridge(counted.feature_EF[known_E], *vectors)
    pairs = [(tuple(weights), penalty) for weights in settings.weights for penalty in settings.penalty]
    readers = [ridge.fit(weights, penalty) for weights, penalty in pairs]
    found: list[tuple[tuple[float, float], Bag, dict[str, Any]]] = []
    for column, shrinkage in enumerate(settings.shrinkage):
        of_this = [fitted[column] for fitted in readers]
        reading_XED = torch.stack([reader.read(counted.feature_EF[places]) for reader in of_this])
        area_XE = few.auroc(Readings(reading_XED, space.contexts("select", shrinkage)))
        for reader, (weights, penalty), area_E in zip(of_this, pairs, area_XE, strict=True):
            area_e = area_E[~area_E.isnan()]
            share = float((area_e >= settings.min_auroc).float().mean()) if len(area_e) else 0.0
            middle = float(area_e.median()) if len(area_e) else 0.0
            found.append(((share, middle), reader, {"shrinkage": shrinkage, "penalty": penalty, "weights": weights}))
    _, first, chosen = max(found, key=lambda row: row[0])
    return first, chosen
