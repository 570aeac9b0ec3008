"""Words for all entries of a population: candidates, the reader that is fitted to them, and the best one of each entry.

Candidates are words chosen by counting, words chosen by matching pursuit, and for entries whose contexts fall into
groups one phrase per group. The reader sees descriptions of trained neurons only; what is tried of it is decided by
neurons A on the selection works. Shape suffixes: E entries, K contexts of an entry, M contexts, D width, P candidates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.score.clusters import group_rows, pair_threshold
from nlae.dictionary.score.population import Population, blocks
from nlae.dictionary.score.trials import Readings, Trials
from nlae.dictionary.words.bags import SLOTS, Bags
from nlae.dictionary.words.phrase import render
from nlae.dictionary.words.picking import Picked, leading, within
from nlae.dictionary.words.pursuit import BLOCK, pursue
from nlae.dictionary.words.ridge import Bag, Ridge, features, text_features
from nlae.dictionary.words.space import Space
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.functional.scaling import unit

log = logging.getLogger(__name__)
MOST = {"peaks": 4, "before": 2, "near": 4}
WIDE = {"peaks": 15, "before": 15, "near": 40}  # words that pursuit chooses among
HALF = {"peaks": 2, "before": 1, "near": 2}  # of one of two phrases
TOLL = 0.01  # cosine that one of the commonest words must bring more: such words predict and hardly describe
COUNTED, PURSUED, GROUPED, TAUGHT = "counted", "pursued", "grouped", "taught"


@dataclass(frozen=True)
class Words:
    """What all populations of a dictionary share.

    Attributes:
        vocabulary: words of the corpus.
        bags: words of the training panel's contexts.
        settings: of the dictionary.
    """

    vocabulary: Vocabulary
    bags: Bags
    settings: DictionaryBuilder

    def counted(self, row_EK: Tensor) -> Candidate:
        """The commonest words of each entry's contexts."""
        leading_ones = leading(self.bags, row_EK, MOST)
        return Candidate.of(self.vocabulary, within(leading_ones, self.vocabulary, self.settings.tokens))

    def pursued(self, reader: Bag, row_EK: Tensor, vector_ED: Tensor) -> Candidate:
        """Words of the contexts whose reading comes nearest to each entry's vector."""
        vocabulary, budget = self.vocabulary, self.settings.tokens - self.vocabulary.overhead
        wide = leading(self.bags, row_EK, WIDE)
        nothing = len(vocabulary)  # a row of zeros behind all words
        padded = {slot: torch.nn.functional.pad(reader.words(slot, vocabulary), (0, 0, 0, 1)) for slot in SLOTS}
        cost_W = torch.nn.functional.pad(vocabulary.cost_W, (0, 1))
        toll_W = TOLL * torch.nn.functional.pad(vocabulary.common_W.float(), (0, 1))
        said = []
        for part in blocks(len(row_EK), BLOCK):
            word = {slot: torch.where(w >= 0, w, nothing) for slot, w in wide[part].word.items()}
            reading_ECD = torch.cat([padded[slot][word[slot]] for slot in SLOTS], 1)
            place_EC = torch.cat([word[slot] for slot in SLOTS], 1)
            known_EC = place_EC < nothing
            cost_EC, toll_EC = cost_W[place_EC], toll_W[place_EC]
            said.append(pursue(reading_ECD, known_EC, cost_EC, toll_EC, -reader.mean_D, vector_ED[part], budget))
        by_slot = torch.cat(said).split([WIDE[slot] for slot in SLOTS], 1)
        picked = {s: _packed(torch.where(k, wide.word[s], -1)) for s, k in zip(SLOTS, by_slot, strict=True)}
        return Candidate.of(vocabulary, Picked(picked))

    def grouped(self, train_MD: Tensor, row_EK: Tensor) -> Candidate:
        """One phrase for each of the two largest groups of an entry's contexts, half as long each."""
        unit_MD, settings = unit(train_MD), self.settings
        threshold = pair_threshold(unit_MD, settings.group_quantile, settings.seed)
        row_EGK = torch.cat([group_rows(unit_MD, row_EK[part], threshold) for part in blocks(len(row_EK), BLOCK)])
        half = (settings.tokens - 1) // 2
        parts = [within(leading(self.bags, row_EK, HALF), self.vocabulary, half) for row_EK in row_EGK.unbind(1)]
        return Candidate.of(self.vocabulary, *parts)


@dataclass(frozen=True)
class Candidate:
    """One kind of description for all entries: phrases that are joined, or free texts.

    Attributes:
        feature_EF: what the reader is given.
        known_E: which entries have one.
        parts: words of each phrase; none where the texts were written by somebody.
        texts: place of an entry -> its text, where somebody wrote it.
    """

    feature_EF: Tensor
    known_E: Tensor
    parts: tuple[Picked, ...] = ()
    texts: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, vocabulary: Vocabulary, *parts: Picked) -> Candidate:
        """Of phrases; an entry has the candidate where all of them have words."""
        feature_EF = torch.stack([features(part, vocabulary) for part in parts]).sum(0)
        return cls(feature_EF, ~torch.stack([part.empty_E for part in parts]).any(0), parts)

    @classmethod
    def written(cls, vocabulary: Vocabulary, texts: Mapping[int, str], entries: int) -> Candidate:
        """Of texts that some of the entries have."""
        feature_EF = torch.zeros(entries, len(SLOTS) * vocabulary.width)
        known_E = torch.zeros(entries, dtype=torch.bool)
        if texts:
            places = torch.tensor(list(texts))
            feature_EF[places], known_E[places] = text_features(list(texts.values()), vocabulary), True
        return cls(feature_EF, known_E, (), texts)

    def text(self, entry: int, vocabulary: Vocabulary) -> str:
        """The description of one entry."""
        if not self.parts:
            return self.texts.get(entry, "")
        return "; ".join(render(part.phrase(entry, vocabulary)) for part in self.parts)


@dataclass(frozen=True)
class Described:
    """A population with its words.

    Attributes:
        reader: fitted to its trained neurons.
        vector_ED: unit vectors of the entries.
        candidates: by kind.
        reading_PED: of all candidates, float32.
        kind_E: place of the chosen candidate; −1 where an entry has no words.
        chosen: what was chosen for the block: shrinkage, penalty, weights.
    """

    reader: Bag
    vector_ED: Tensor
    candidates: Mapping[str, Candidate]
    reading_PED: Tensor
    kind_E: Tensor
    chosen: Mapping[str, object]

    @property
    def reading_ED(self) -> Tensor:
        """Readings of the chosen words."""
        return pick(self.reading_PED, self.kind_E)

    def text(self, entry: int, vocabulary: Vocabulary) -> str:
        """The chosen words of an entry, as they are shown and read."""
        kind = int(self.kind_E[entry])
        return "" if kind < 0 else list(self.candidates.values())[kind].text(entry, vocabulary)


def describe(
    words: Words,
    population: Population,
    space: Space,
    trials: Trials,
    fitted_E: Tensor,
    deciding_E: Tensor,
    taught: Mapping[int, str] | None = None,
) -> Described:
    """Choose words for every entry, and fit the reader.

    Args:
        words: vocabulary, bags and settings.
        population: columns.
        space: contexts of the block.
        trials: of all entries on `select`.
        fitted_E: entries of trained neurons.
        deciding_E: entries of neurons A.
        taught: descriptions by a teacher, by entry.
    """
    row_EK = population.row_EK
    known_E, places = fitted_E & (row_EK >= 0).any(-1), torch.nonzero(deciding_E)[:, 0]
    if not bool(known_E.any()):
        log.warning("no neuron of the four fifths that readers are fitted on has contexts: it is fitted on all of them")
        known_E, places = (row_EK >= 0).any(-1), torch.arange(len(row_EK))
    counted, sum_ED = words.counted(row_EK), space.sums(row_EK)
    first, chosen = _tuned(words.settings, space, sum_ED, counted, known_E, trials[places], places)
    shrinkage, penalty, weights = chosen
    vector_ED = space.vectors(sum_ED, shrinkage)
    pursued = words.pursued(first, row_EK, vector_ED)
    feature_EF = torch.cat([counted.feature_EF[known_E], pursued.feature_EF[known_E]])
    (reader,) = Ridge(feature_EF, vector_ED[known_E].repeat(2, 1)).fit(weights, penalty)
    candidates = {COUNTED: counted, PURSUED: pursued}
    candidates[GROUPED] = words.grouped(space.contexts("train", shrinkage), row_EK)
    if taught:
        candidates[TAUGHT] = Candidate.written(words.vocabulary, taught, len(row_EK))
    reading_PED = read(reader, candidates)
    known_PE = torch.stack([candidate.known_E for candidate in candidates.values()])
    kind_E = best(known_PE, trials.auroc(Readings(reading_PED, space.contexts("select", shrinkage))))
    named = {"shrinkage": shrinkage, "penalty": penalty, "weights": weights}
    return Described(reader, vector_ED, candidates, reading_PED, kind_E, named)


def read(reader: Bag, candidates: Mapping[str, Candidate]) -> Tensor:
    """Readings of all candidates, float32 (P, E, D)."""
    return torch.stack([reader.read(candidate.feature_EF) for candidate in candidates.values()])


def best(known_PE: Tensor, area_PE: Tensor) -> Tensor:
    """Place of the candidate with the highest AUROC, int64 (E,); −1 where there is none.

    Args:
        known_PE: which candidates there are.
        area_PE: AUROC on the selection works; where an entry is not scored, the first one stands.
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
) -> tuple[Bag, tuple[float, float, Sequence[float]]]:
    """Shrinkage, penalty and weights by which most entries of neurons A reach the AUROC that passing takes."""
    vectors = [space.vectors(sum_ED[known_E], shrinkage) for shrinkage in settings.shrinkage]
    ridge = Ridge(counted.feature_EF[known_E], *vectors)
    tried = [(penalty, tuple(weights)) for weights in settings.weights for penalty in settings.penalty]
    readers = [ridge.fit(weights, penalty) for penalty, weights in tried]
    found: list[tuple[float, float, Bag, tuple[float, float, Sequence[float]]]] = []
    for column, shrinkage in enumerate(settings.shrinkage):
        of_this = [fitted[column] for fitted in readers]
        reading_XED = torch.stack([reader.read(counted.feature_EF[places]) for reader in of_this])
        area_XE = few.auroc(Readings(reading_XED, space.contexts("select", shrinkage)))
        for reader, (penalty, weights), area_E in zip(of_this, tried, area_XE, strict=True):
            area = area_E[~area_E.isnan()]
            share = float((area >= settings.min_auroc).float().mean()) if len(area) else 0.0
            middle = float(area.median()) if len(area) else 0.0
            found.append((share, middle, reader, (shrinkage, penalty, weights)))
    *_, reader, chosen = max(found, key=lambda row: row[:2])
    return reader, chosen


def _packed(word_EK: Tensor) -> Tensor:
    """The words of each row moved to its front, in order."""
    order_EK = (word_EK < 0).long().argsort(dim=-1, stable=True)
    return word_EK.gather(-1, order_EK)
