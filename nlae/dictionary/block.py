"""One block from panels to scores: words for its entries and for its nulls, and how well all of them predict.

Words are chosen on `select`; `bar` gives what the bar of all blocks is set on; what is reported comes from `test`.
Everything a block needs is made here and freed with it. Shape suffixes: E entries, M contexts, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nlae.dictionary.describing import (
    MOST,
    Candidate,
    Described,
    Words,
    best,
    describe,
    inner,
    pick,
    pursued_words,
    vectors,
)
from nlae.dictionary.population import TRAINED, A, B, Population, blocks, splits
from nlae.dictionary.score.correlation import linear_r2, r2, spearman
from nlae.dictionary.score.last_token import predictions
from nlae.dictionary.score.nulls import nearest, same_token
from nlae.dictionary.score.trials import FIRING, OTHERS, Predict, Trials
from nlae.dictionary.space import Spectrum
from nlae.dictionary.subjects import Subjects
from nlae.dictionary.words.picking import Picked, as_words, leading, within
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import generator

ROLES = ("train", "select", "bar", "test")
LISTED = 8  # words of a token list, and of the unembedding
TESTED, CHOSEN = (FIRING, OTHERS), (200, 1000)  # contexts in which an entry fires, and others, that it is scored on
SAMPLE = 2000  # contexts that rank correlations are taken over


@dataclass(frozen=True)
class Scores:
    """What was measured of one block; tensors have one place per entry, NaN where it was not scored.

    Attributes:
        population: the block's columns, with all their activations.
        described: their words.
        texts: the chosen words of every entry.
        split_E: split of each entry.
        test: name -> AUROC on test works.
        own_bar, mismatched_bar: AUROC on the bar's works; neurons A alone.
        nearest_E: entry whose words are nearest.
        mismatched_E: entry whose words each one of neurons B was given, −1 for others.
        token_lists: tokens that each entry fires on, as a text.
        spearman, r2, r2_linear: of the activation, on test works.
        resampled: name -> AUROC under resampled works, float32 (entries of neurons B, R).
        rotated: AUROC of the rotated neurons' words on test works, of neurons B; empty where there are none.
        rotated_population: what was rotated, if anything.
    """

    population: Population
    described: Described
    texts: list[str]
    split_E: Tensor
    test: Mapping[str, Tensor]
    own_bar: Tensor
    mismatched_bar: Tensor
    nearest_E: Tensor
    mismatched_E: Tensor
    token_lists: list[str]
    spearman: Tensor
    r2: Tensor
    r2_linear: Tensor
    resampled: Mapping[str, Tensor]
    rotated: Tensor
    rotated_population: Population | None = field(default=None)


def score_block(
    words: Words,
    subjects: Subjects,
    layer: int,
    bootstrap: ClusterBootstrap,
    taught: Callable[[Population], Mapping[int, str]] | None = None,
) -> Scores:
    """Describe and score all entries of one block, and its nulls.

    Args:
        words: what all blocks share.
        subjects: columns and their inputs.
        layer: block.
        bootstrap: over the works of the test panel's contexts.
        taught: descriptions by a teacher, by entry, given the block's population.
    """
    settings = words.settings
    inputs = {role: subjects.inputs(layer, role) for role in ROLES}
    values = {role: subjects.activations(layer, inputs_MD) for role, inputs_MD in inputs.items()}
    document_M = torch.from_numpy(np.ascontiguousarray(subjects.panel("train").document))
    population = Population.of(values, document_M, settings.exemplars, settings.active_quantile)
    split_E = splits(layer, population.n).repeat(2)
    run = _Run(words, subjects, layer, inputs, Spectrum.of(inputs["train"]), split_E, bootstrap)
    everything = torch.arange(len(split_E))
    trials = {
        "select": run.trials(population, "select", everything),
        "test": run.trials(population, "test", everything),
        "bar": run.trials(population, "bar", torch.nonzero(split_E == A)[:, 0]),
    }
    rotated, turned = torch.zeros(0), None
    resampled: dict[str, Tensor] = {}
    if settings.rotated:
        turned = population.rotated(settings.seed, layer, document_M, settings.exemplars, settings.active_quantile)
        rotated, resampled["rotated"] = run.rotated(turned)
    described = run.describe(population, trials["select"], None if taught is None else taught(population))
    return _scored(run, population, described, trials, rotated, turned, resampled)


@dataclass(frozen=True)
class _Run:
    """What the steps of one block share."""

    words: Words
    subjects: Subjects
    layer: int
    inputs: Mapping[str, Tensor]
    spectrum: Spectrum
    split_E: Tensor
    bootstrap: ClusterBootstrap

    def trials(self, population: Population, role: str, entries: Tensor) -> Trials:
        settings = self.words.settings
        return Trials.draw(
            lambda some: population.fires(role, some),
            entries,
            len(self.inputs[role]),
            settings.min_contexts,
            settings.seed,
            TESTED if role == "test" else CHOSEN,
        )

    def describe(self, population: Population, select: Trials, taught: Mapping[int, str] | None = None) -> Described:
        return describe(
            self.words,
            population,
            self.spectrum,
            self.inputs,
            select,
            self.split_E == TRAINED,
            self.split_E == A,
            taught,
        )

    def rotated(self, turned: Population) -> tuple[Tensor, Tensor]:
        """AUROC of rotated neurons B on test works, and under resampled works."""
        held_out = torch.nonzero(self.split_E != TRAINED)[:, 0]
        select = self.trials(turned, "select", held_out).spread(held_out, len(self.split_E))
        described = self.describe(turned, select)
        places = torch.nonzero(self.split_E == B)[:, 0]
        trials = self.trials(turned, "test", places)
        said = inner(described.reading_ED[places], described.space(self.inputs["test"]))
        return trials.auroc(said), self.resampled(trials, said)

    def resampled(self, trials: Trials, predict: Predict) -> Tensor:
        return trials.resampled(predict, self.bootstrap.weight_RC, self.bootstrap.cluster_N)

    def mismatched(
        self, population: Population, described: Described, select: Trials, places: Tensor, name: str
    ) -> tuple[Tensor, Tensor]:
        """Another neuron's entry for each of some entries, and what the best of its words reads as for them."""
        n, source = population.n, generator(self.words.settings.seed, "mismatched", self.layer, name)
        step = torch.randint(1, max(2, n), places.shape, generator=source)
        signs = 2 if self.subjects.signed else 1
        donor = (places % n + step) % n + n * torch.randint(signs, places.shape, generator=source)
        select_MD = described.space(self.inputs["select"])
        kind = best(described.candidates, described.readings, select[places], select_MD, donor)
        return donor, pick(described.readings, kind, donor)


def _scored(
    run: _Run,
    population: Population,
    described: Described,
    trials: Mapping[str, Trials],
    rotated: Tensor,
    turned: Population | None,
    resampled: dict[str, Tensor],
) -> Scores:
    words, vocabulary = run.words, run.words.vocabulary
    own_ED = described.reading_ED
    contexts = {role: described.space(run.inputs[role]) for role in ("bar", "test", "select")}
    missing_E = described.kind_E < 0
    lists = _listed(leading(words.bags, population.row_EK, {"peaks": LISTED, "before": 1, "near": 1}), words)
    ids, _ = run.subjects.promoted(run.layer, LISTED)
    lens = _listed(as_words(ids[:, 0].flatten(0, 1), words.vocabulary), words)
    in_a, in_b = (torch.nonzero(run.split_E == split)[:, 0] for split in (A, B))
    donor_b, stranger_b = run.mismatched(population, described, trials["select"], in_b, "test")
    _, stranger_a = run.mismatched(population, described, trials["select"], in_a, "bar")
    nearest_E = nearest(own_ED, population.n, missing_E, run.subjects.signed)
    said = {
        "auroc": inner(own_ED, contexts["test"]),
        "nearest": inner(own_ED[nearest_E], contexts["test"]),
        "permuted": inner(permuted(run, population, described, trials["select"]), contexts["test"]),
        "token_list": inner(described.reader.read(lists.feature_EF), contexts["test"]),
        "lens": inner(described.reader.read(lens.feature_EF), contexts["test"]),
        "skyline": inner(described.vector_ED, contexts["test"]),
        "last_token": predictions(run.subjects, population),
    }
    test = {name: trials["test"].auroc(predict) for name, predict in said.items()}
    test["auroc"] = torch.where(missing_E, torch.nan, test["auroc"])
    test["lens"] = torch.where(lens.known_E, test["lens"], torch.nan)
    of_b = trials["test"][in_b]
    strangers = inner(stranger_b, contexts["test"])
    test["mismatched"] = torch.full_like(test["auroc"], torch.nan).index_copy(0, in_b, of_b.auroc(strangers))
    resampled["mismatched"] = run.resampled(of_b, strangers)
    for name, predict in said.items():
        if name != "permuted":
            resampled[name] = run.resampled(of_b, _of(predict, in_b))
    resampled["auroc"][missing_E[in_b]] = torch.nan
    own_a = trials["bar"].auroc(inner(own_ED[in_a], contexts["bar"]))
    return Scores(
        population=population,
        described=described,
        texts=[described.text(entry, vocabulary) for entry in range(len(missing_E))],
        split_E=run.split_E,
        test=test,
        own_bar=torch.where(missing_E[in_a], torch.nan, own_a),
        mismatched_bar=trials["bar"].auroc(inner(stranger_a, contexts["bar"])),
        nearest_E=nearest_E,
        mismatched_E=torch.full_like(nearest_E, -1).index_copy(0, in_b, donor_b),
        token_lists=[lists.text(entry, vocabulary) for entry in range(len(missing_E))],
        **_strength(population, own_ED, contexts, missing_E),
        r2_linear=_linear(run, population, described),
        resampled=resampled,
        rotated=rotated,
        rotated_population=turned,
    )


def permuted(run: _Run, population: Population, described: Described, select: Trials) -> Tensor:
    """Readings of what would be said if each exemplar were another context with the same last token, (E, D).

    What is left is what the token tells; words are chosen as the entry's own are, the best on `select`.
    """
    words, panel = run.words, run.subjects.panel("train")
    row_EK = same_token(population.row_EK, torch.from_numpy(panel.token_id), words.settings.seed)
    vector_ED = vectors(described.space(run.inputs["train"]), row_EK)
    vocabulary = words.vocabulary
    candidates = {
        "counted": Candidate.of(
            vocabulary, within(leading(words.bags, row_EK, MOST), vocabulary, words.settings.tokens)
        ),
        "pursued": Candidate.of(vocabulary, pursued_words(words, described.reader, row_EK, vector_ED)),
    }
    readings = {kind: described.reader.read(candidate.feature_EF) for kind, candidate in candidates.items()}
    kind_E = best(candidates, readings, select, described.space(run.inputs["select"]))
    return pick(readings, kind_E)


def _of(predict: Predict, entries: Tensor) -> Predict:
    """Predictions of some entries alone, which are counted from 0."""
    return lambda places: predict(entries[places])


def _listed(picked: Picked, words: Words) -> Candidate:
    """The words fired on alone."""
    none = {slot: torch.full_like(word_EK, -1) for slot, word_EK in picked.word.items()}
    return Candidate.of(words.vocabulary, Picked({**none, "peaks": picked.word["peaks"]}))


def _strength(
    population: Population, own_ED: Tensor, contexts: Mapping[str, Tensor], missing_E: Tensor
) -> dict[str, Tensor]:
    """How far the words tell how strongly entries fire."""
    rho_E, r2_E = torch.full((len(own_ED),), torch.nan), torch.full((len(own_ED),), torch.nan)
    rows = {role: torch.linspace(0, len(x) - 1, min(SAMPLE, len(x))).long() for role, x in contexts.items()}
    for part in blocks(len(own_ED)):
        entries = torch.arange(part.start, part.stop)
        said, true = (
            {role: own_ED[part] @ contexts[role][rows[role]].T for role in ("select", "test")},
            {role: population.entries(role, entries)[:, rows[role]] for role in ("select", "test")},
        )
        rho_E[part] = spearman(said["test"], true["test"])
        r2_E[part] = r2(said["test"], true["test"], said["select"], true["select"])
    return {name: torch.where(missing_E, torch.nan, value) for name, value in (("spearman", rho_E), ("r2", r2_E))}


def _linear(run: _Run, population: Population, described: Described) -> Tensor:
    """R² of the best linear reading for both signs of every column, (E,)."""
    train_MD, test_MD = (described.space(run.inputs[role]) for role in ("train", "test"))
    return linear_r2(train_MD, population.values["train"], test_MD, population.values["test"]).repeat(2)
