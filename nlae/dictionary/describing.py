"""Words for all entries of a population: candidates, the reader that is fitted to them, and the best one of each entry.

Candidates are words chosen by counting, words chosen by matching pursuit, and for entries whose contexts fall into
groups one phrase per group. The reader sees descriptions of trained neurons only; what is tried of it is decided by
neurons A on the selection works. Shape suffixes: E entries, K contexts of an entry, M contexts, D width.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nlae.dictionary.population import Population, blocks
from nlae.dictionary.reader.bag import Bag, Ridge, features, text_features
from nlae.dictionary.score.trials import Predict, Trials
from nlae.dictionary.settings import DictionarySettings
from nlae.dictionary.space import Space, Spectrum
from nlae.dictionary.words.bags import SLOTS, Bags
from nlae.dictionary.words.phrase import render
from nlae.dictionary.words.picking import Picked, leading, within
from nlae.dictionary.words.pursuit import BLOCK, pursue
from nlae.dictionary.words.vocabulary import Vocabulary
from nlae.functional.scaling import unit

log = logging.getLogger(__name__)
MOST = {"peaks": 4, "before": 2, "near": 4}
WIDE = {"peaks": 15, "before": 15, "near": 40}  # words that pursuit chooses among
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
    settings: DictionarySettings


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
        space: in which vectors and readings lie.
        reader: fitted to its trained neurons.
        vector_ED: unit vectors of the entries.
        candidates: by kind.
        readings: by kind, float32 (E, D).
        kind_E: place of the chosen kind; −1 where an entry has no words.
        chosen: what was chosen for the block: shrinkage, penalty, weights.
    """

    space: Space
    reader: Bag
    vector_ED: Tensor
    candidates: Mapping[str, Candidate]
    readings: Mapping[str, Tensor]
    kind_E: Tensor
    chosen: Mapping[str, object]

    @property
    def reading_ED(self) -> Tensor:
        """Readings of the chosen words."""
        return pick(self.readings, self.kind_E)

    def text(self, entry: int, vocabulary: Vocabulary) -> str:
        """The chosen words of an entry, as they are shown and read."""
        kind = int(self.kind_E[entry])
        return "" if kind < 0 else list(self.candidates.values())[kind].text(entry, vocabulary)


def describe(
    words: Words,
    population: Population,
    spectrum: Spectrum,
    inputs: Mapping[str, Tensor],
    trials: Trials,
    fitted_E: Tensor,
    deciding_E: Tensor,
    taught: Mapping[int, str] | None = None,
) -> Described:
    """Choose words for every entry, and fit the reader.

    Args:
        words: vocabulary, bags and settings.
        population: columns.
        spectrum: of the block's inputs.
        inputs: raw inputs of the panels `train` and `select`.
        trials: of all entries on `select`.
        fitted_E: entries of trained neurons.
        deciding_E: entries of neurons A.
        taught: descriptions by a teacher, by entry.
    """
    vocabulary, settings, row_EK = words.vocabulary, words.settings, population.row_EK
    counted = Candidate.of(vocabulary, within(leading(words.bags, row_EK, MOST), vocabulary, settings.tokens))
    space, first, chosen = _tuned(words, row_EK, spectrum, inputs, trials, fitted_E, deciding_E, counted)
    train_MD, select_MD = space(inputs["train"]), space(inputs["select"])
    vector_ED = vectors(train_MD, row_EK)
    pursued = Candidate.of(vocabulary, pursued_words(words, first, row_EK, vector_ED))
    known = fitted_E & population_known(row_EK)
    feature_EF = torch.cat([counted.feature_EF[known], pursued.feature_EF[known]])
    weights: Sequence[float] = chosen["weights"]  # type: ignore[assignment]
    reader = Ridge(feature_EF, dict(zip(SLOTS, weights, strict=True))).fit(
        torch.cat([vector_ED[known], vector_ED[known]]),
        float(chosen["penalty"]),  # type: ignore[arg-type]
    )
    candidates = {COUNTED: counted, PURSUED: pursued, GROUPED: grouped(words, train_MD, row_EK)}
    if taught:
        candidates[TAUGHT] = Candidate.written(vocabulary, taught, len(row_EK))
    readings = {kind: reader.read(candidate.feature_EF) for kind, candidate in candidates.items()}
    kind_E = best(candidates, readings, trials, select_MD)
    return Described(space, reader, vector_ED, candidates, readings, kind_E, chosen)


def vectors(train_MD: Tensor, row_EK: Tensor) -> Tensor:
    """Unit mean of each entry's contexts in the whitened space, float32 (E, D); zeros where it has none."""
    out_ED = torch.zeros(len(row_EK), train_MD.shape[1])
    for part in blocks(len(row_EK)):
        row_eK = row_EK[part]
        there_eK1 = (row_eK >= 0).float()[..., None]
        out_ED[part] = (train_MD[row_eK.clamp_min(0)] * there_eK1).sum(1)
    return unit(out_ED)


def population_known(row_EK: Tensor) -> Tensor:
    """Which entries have any contexts."""
    return (row_EK >= 0).any(-1)


def pursued_words(words: Words, reader: Bag, row_EK: Tensor, vector_ED: Tensor) -> Picked:
    """Words of the exemplars whose reading comes nearest to each entry's vector."""
    vocabulary, budget = words.vocabulary, words.settings.tokens - words.vocabulary.overhead
    wide = leading(words.bags, row_EK, WIDE)
    padded = {slot: _padded(reader.words(slot, vocabulary)) for slot in SLOTS}
    cost_W = torch.cat([vocabulary.cost_W, torch.zeros(1, dtype=torch.long)])
    found: dict[str, list[Tensor]] = {slot: [] for slot in SLOTS}
    for part in blocks(len(row_EK), BLOCK):
        word = {slot: torch.where(w >= 0, w, len(vocabulary)) for slot, w in wide[part].word.items()}
        reading_ECD = torch.cat([padded[slot][word[slot]] for slot in SLOTS], 1)
        place_EC = torch.cat([word[slot] for slot in SLOTS], 1)
        said_EC = pursue(
            reading_ECD, place_EC < len(vocabulary), cost_W[place_EC], -reader.mean_D, vector_ED[part], budget
        )
        for slot, said, own in zip(
            SLOTS, said_EC.split([WIDE[slot] for slot in SLOTS], 1), wide[part].word.values(), strict=True
        ):
            found[slot].append(_packed(torch.where(said, own, -1)))
    return Picked({slot: torch.cat(parts) for slot, parts in found.items()})


def grouped(words: Words, train_MD: Tensor, row_EK: Tensor) -> Candidate:
    """One phrase for each of the two largest groups of an entry's contexts, half as long each."""
    from nlae.dictionary.score.clusters import group_rows, pair_threshold

    settings, vocabulary = words.settings, words.vocabulary
    unit_MD = unit(train_MD)
    threshold = pair_threshold(unit_MD, settings.group_quantile, settings.seed)
    rows = [group_rows(unit_MD, row_EK[part], threshold) for part in blocks(len(row_EK), BLOCK)]
    half = (settings.tokens - 1) // 2
    parts = []
    for group in range(2):
        row_EG = torch.cat([found[:, group] for found in rows])
        parts.append(within(leading(words.bags, row_EG, {"peaks": 2, "before": 1, "near": 2}), vocabulary, half))
    return Candidate.of(vocabulary, *parts)


def best(
    candidates: Mapping[str, Candidate],
    readings: Mapping[str, Tensor],
    trials: Trials,
    select_MD: Tensor,
    donor_E: Tensor | None = None,
) -> Tensor:
    """Place of the kind of words with the highest AUROC on the selection works, int64 (E,); −1 where there are none.

    Args:
        candidates: by kind.
        readings: of them.
        trials: of the entries that receive words.
        select_MD: whitened contexts.
        donor_E: whose words each of them is given; None: its own.
    """
    area, known = [], []
    for kind, candidate in candidates.items():
        given_ED = readings[kind] if donor_E is None else readings[kind][donor_E]
        known.append(candidate.known_E if donor_E is None else candidate.known_E[donor_E])
        area_E = trials.auroc(inner(given_ED, select_MD))
        area.append(torch.where(known[-1], area_E.nan_to_num(0.0), -1.0))  # not scored: the first kind stands
    top_E, kind_E = torch.stack(area).max(0)
    return torch.where(top_E < 0, -1, kind_E)


def pick(readings: Mapping[str, Tensor], kind_E: Tensor, donor_E: Tensor | None = None) -> Tensor:
    """Readings of the kinds that were chosen, float32 (E, D); zeros where there are none."""
    place_E = torch.arange(len(kind_E)) if donor_E is None else donor_E
    stack = torch.stack([reading_ED[place_E] for reading_ED in readings.values()])
    picked_ED = stack[kind_E.clamp_min(0), torch.arange(len(kind_E))]
    return torch.where((kind_E >= 0)[:, None], picked_ED, 0.0)


def inner(reading_ED: Tensor, context_MD: Tensor) -> Predict:
    """Predictions of given readings on given contexts: their inner products."""
    return lambda places: reading_ED[places] @ context_MD.T


def _tuned(
    words: Words,
    row_EK: Tensor,
    spectrum: Spectrum,
    inputs: Mapping[str, Tensor],
    trials: Trials,
    fitted_E: Tensor,
    deciding_E: Tensor,
    counted: Candidate,
) -> tuple[Space, Bag, dict[str, object]]:
    """Shrinkage, penalty and weights by which most entries of neurons A reach the AUROC that passing takes."""
    settings = words.settings
    known, places = fitted_E & population_known(row_EK), torch.nonzero(deciding_E)[:, 0]
    if not bool(known.any()):
        log.warning("no neuron of the four fifths that readers are fitted on has contexts: it is fitted on all of them")
        known, places = population_known(row_EK), torch.arange(len(row_EK))
    few = trials[places]
    ridges = {tuple(w): Ridge(counted.feature_EF[known], dict(zip(SLOTS, w, strict=True))) for w in settings.weights}
    found: list[tuple[float, float, Space, Bag, dict[str, object]]] = []
    for shrinkage in settings.shrinkage:
        space = spectrum.space(shrinkage)
        select_MD = space(inputs["select"])
        vector_ED = vectors(space(inputs["train"]), row_EK)[known]
        for weights, penalty in itertools.product(ridges, settings.penalty):
            reader = ridges[weights].fit(vector_ED, penalty)
            reading_ED = reader.read(counted.feature_EF[places])
            area = few.auroc(inner(reading_ED, select_MD))
            area = area[~area.isnan()]
            share = float((area >= settings.min_auroc).float().mean()) if len(area) else 0.0
            middle = float(area.median()) if len(area) else 0.0
            chosen = {"shrinkage": shrinkage, "penalty": penalty, "weights": weights}
            found.append((share, middle, space, reader, chosen))
    *_, space, reader, chosen = max(found, key=lambda row: row[:2])
    return space, reader, chosen


def _padded(value_WD: Tensor) -> Tensor:
    """With a row of zeros for "no word" behind."""
    return torch.cat([value_WD, torch.zeros(1, value_WD.shape[1])])


def _packed(word_EK: Tensor) -> Tensor:
    """The words of each row moved to its front, in order."""
    order_EK = (word_EK < 0).long().argsort(dim=-1, stable=True)
    return word_EK.gather(-1, order_EK)
