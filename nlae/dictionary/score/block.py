"""One block from panels to scores: words for its entries and for its nulls, and how well all of them predict.

Words are chosen on `select`; `bar` gives what the bar of all blocks is set on; what is reported comes from `test`.
Everything a block needs is made here and freed with it. Shape suffixes: E entries, M contexts, R resamples, P
candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nlae.dictionary.score.clusters import components, count_groups, pair_threshold
from nlae.dictionary.score.correlation import linear_r2, r2, spearman
from nlae.dictionary.score.nulls import LastToken, nearest, same_token
from nlae.dictionary.score.population import TRAINED, A, B, Population, blocks, splits
from nlae.dictionary.score.trials import FIRING, OTHERS, Predict, Readings, Trials
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.describing import COUNTED, PURSUED, Candidate, Described, Words, best, describe, pick, read
from nlae.dictionary.words.picking import Picked, as_words, leading
from nlae.dictionary.words.space import Space
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
        groups_E: groups among each entry's strongest contexts, specialised_E: whether one holds most of them.
        specialised_rotated: share of rotated neurons' entries of which that is so, if any were rotated.
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
    groups_E: Tensor
    specialised_E: Tensor
    specialised_rotated: float | None

    def tensors(self) -> dict[str, Tensor]:
        """What the bar and the intervals need of a block, neurons A and B."""
        in_b = self.split_E == B
        found = {f"measured/{name}": area_E[in_b] for name, area_E in self.test.items() if name != "permuted"}
        found |= {"measured/rotated": self.rotated} if len(self.rotated) else {}
        found |= {f"resampled/{name}": area_ER.half() for name, area_ER in self.resampled.items()}
        found |= {"bar/own": self.own_bar, "bar/mismatched": self.mismatched_bar}
        return {name: value.contiguous() for name, value in found.items()}


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
    values = {role: subjects.activations(layer, inputs_MD).T.contiguous() for role, inputs_MD in inputs.items()}
    document_M = torch.from_numpy(np.ascontiguousarray(subjects.panel("train").document))
    population = Population.of(values, document_M, settings.exemplars, settings.active_quantile)
    run = _Run(words, subjects, layer, Space(inputs), splits(layer, population.n).repeat(2), bootstrap)
    rotated, turned = torch.zeros(0), None
    resampled: dict[str, Tensor] = {}
    if settings.rotated:
        turned = population.rotated(settings.seed, layer, document_M, settings.exemplars, settings.active_quantile)
        rotated, resampled["rotated"] = run.rotated(turned)
    everything = torch.arange(len(run.split_E))
    trials = {role: run.trials(population, role, everything) for role in ("select", "test")}
    trials["bar"] = run.trials(population, "bar", run.entries(A))
    described = run.describe(population, trials["select"], None if taught is None else taught(population))
    return _scored(run, population, described, trials, rotated, turned, resampled)


@dataclass(frozen=True)
class _Run:
    """What the steps of one block share."""

    words: Words
    subjects: Subjects
    layer: int
    space: Space
    split_E: Tensor
    bootstrap: ClusterBootstrap

    def entries(self, split: int) -> Tensor:
        """Places of the entries of one split."""
        return torch.nonzero(self.split_E == split)[:, 0]

    def trials(self, population: Population, role: str, entries: Tensor) -> Trials:
        settings, rows = self.words.settings, len(self.subjects.panel(role))
        most = TESTED if role == "test" else CHOSEN
        return Trials.draw(
            lambda some: population.fires(role, some), entries, rows, settings.min_contexts, settings.seed, most
        )

    def describe(self, population: Population, select: Trials, taught: Mapping[int, str] | None = None) -> Described:
        fitted_E, deciding_E = self.split_E == TRAINED, self.split_E == A
        return describe(self.words, population, self.space, select, fitted_E, deciding_E, taught)

    def contexts(self, described: Described, role: str) -> Tensor:
        """A panel in the space that was chosen for a population."""
        return self.space.contexts(role, float(described.chosen["shrinkage"]))  # type: ignore[arg-type]

    def rotated(self, turned: Population) -> tuple[Tensor, Tensor]:
        """AUROC of rotated neurons B on test works, and under resampled works."""
        held_out = torch.nonzero(self.split_E != TRAINED)[:, 0]
        select = self.trials(turned, "select", held_out).spread(held_out, len(self.split_E))
        described = self.describe(turned, select)
        places = self.entries(B)
        trials = self.trials(turned, "test", places)
        said = Readings(described.reading_ED[places], self.contexts(described, "test"))
        return trials.auroc(said), self.resampled(trials, said)

    def resampled(self, trials: Trials, predict: Predict) -> Tensor:
        return trials.resampled(predict, self.bootstrap.weight_RC, self.bootstrap.cluster_N)

    def mismatched(self, described: Described, select: Trials, places: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Another neuron's entry for each of some entries, and what the best of its words reads as for them."""
        n, source = len(self.split_E) // 2, generator(self.words.settings.seed, "mismatched", self.layer, name)
        step = torch.randint(1, max(2, n), places.shape, generator=source)
        signs = 2 if self.subjects.signed else 1
        donor = (places % n + step) % n + n * torch.randint(signs, places.shape, generator=source)
        known_PE = torch.stack([candidate.known_E[donor] for candidate in described.candidates.values()])
        given_PED = described.reading_PED[:, donor]
        kind = best(known_PE, select[places].auroc(Readings(given_PED, self.contexts(described, "select"))))
        return donor, pick(given_PED, kind)

    def specialised(self, population: Population) -> tuple[Tensor, Tensor]:
        """Groups among each entry's strongest contexts, and whether one alone holds most of them; both (E,)."""
        unit_MD, settings, parts = self.space.directions, self.words.settings, []
        threshold = pair_threshold(unit_MD, settings.group_quantile, settings.seed)
        for part in blocks(len(population.row_EK)):
            row_eK = population.row_EK[part, : settings.group_top]
            parts.append(count_groups(components(unit_MD[row_eK.clamp_min(0)], row_eK >= 0, threshold)))
        count_E, single_E = (torch.cat(found) for found in zip(*parts, strict=True))
        return count_E, single_E

    def permuted(self, population: Population, described: Described, select: Trials) -> Tensor:
        """Readings of what would be said if each exemplar were another context with the same last token, (E, D).

        What is left is what the token tells; words are chosen as the entry's own are, the best on `select`.
        """
        token_M = torch.from_numpy(self.subjects.panel("train").token_id)
        row_EK = same_token(population.row_EK, token_M, self.words.settings.seed)
        shrinkage = float(described.chosen["shrinkage"])  # type: ignore[arg-type]
        vector_ED = self.space.vectors(self.space.sums(row_EK), shrinkage)
        pursued = self.words.pursued(described.reader, row_EK, vector_ED)
        candidates = {COUNTED: self.words.counted(row_EK), PURSUED: pursued}
        reading_PED = read(described.reader, candidates)
        known_PE = torch.stack([candidate.known_E for candidate in candidates.values()])
        kind_E = best(known_PE, select.auroc(Readings(reading_PED, self.contexts(described, "select"))))
        return pick(reading_PED, kind_E)


def _scored(
    run: _Run,
    population: Population,
    described: Described,
    trials: Mapping[str, Trials],
    rotated: Tensor,
    turned: Population | None,
    resampled: dict[str, Tensor],
) -> Scores:
    words, vocabulary, everything = run.words, run.words.vocabulary, range(len(run.split_E))
    own_ED, missing_E = described.reading_ED, described.kind_E < 0
    lists = _listed(leading(words.bags, population.row_EK, {"peaks": LISTED, "before": 1, "near": 1}), words)
    ids, _ = run.subjects.promoted(run.layer, LISTED)
    lens = _listed(as_words(ids[:, 0].flatten(0, 1), words.vocabulary), words)
    in_a, in_b = run.entries(A), run.entries(B)
    donor_b, stranger_b = run.mismatched(described, trials["select"], in_b, "test")
    _, stranger_a = run.mismatched(described, trials["select"], in_a, "bar")
    nearest_E = nearest(own_ED, population.n, missing_E, run.subjects.signed)
    read_as = {
        "auroc": own_ED,
        "nearest": own_ED[nearest_E],
        "token_list": described.reader.read(lists.feature_EF),
        "lens": described.reader.read(lens.feature_EF),
        "skyline": described.vector_ED,
        "permuted": run.permuted(population, described, trials["select"]),
    }
    test_MD = run.contexts(described, "test")
    reading_XED = torch.stack(list(read_as.values()))
    test = dict(zip(read_as, trials["test"].auroc(Readings(reading_XED, test_MD)), strict=True))
    tokens = (torch.from_numpy(run.subjects.panel(role).token_id) for role in ("train", "test"))
    table = LastToken(population, *tokens)
    test["last_token"] = trials["test"].auroc(table)
    test["auroc"] = torch.where(missing_E, torch.nan, test["auroc"])
    test["lens"] = torch.where(lens.known_E, test["lens"], torch.nan)
    # without permuted words, of which no interval is told
    names, of_b = [*read_as][:-1], trials["test"][in_b]
    said_b = Readings(torch.cat([reading_XED[:-1, in_b], stranger_b[None]]), test_MD)
    resampled |= dict(zip([*names, "mismatched"], run.resampled(of_b, said_b), strict=True))
    resampled["last_token"] = run.resampled(of_b, lambda places, row_eK: table(in_b[places], row_eK))
    resampled["auroc"][missing_E[in_b]] = torch.nan
    mismatched_b = of_b.auroc(Readings(stranger_b, test_MD))
    test["mismatched"] = torch.full_like(test["auroc"], torch.nan).index_copy(0, in_b, mismatched_b)
    on_bar = Readings(torch.stack([own_ED[in_a], stranger_a]), run.contexts(described, "bar"))
    own_bar, mismatched_bar = trials["bar"].auroc(on_bar)
    train_MD, (groups_E, specialised_E) = run.contexts(described, "train"), run.specialised(population)
    return Scores(
        population=population,
        described=described,
        texts=[described.text(entry, vocabulary) for entry in everything],
        split_E=run.split_E,
        test=test,
        own_bar=torch.where(missing_E[in_a], torch.nan, own_bar),
        mismatched_bar=mismatched_bar,
        nearest_E=nearest_E,
        mismatched_E=torch.full_like(nearest_E, -1).index_copy(0, in_b, donor_b),
        token_lists=[lists.text(entry, vocabulary) for entry in everything],
        **_strength(population, own_ED, {"select": run.contexts(described, "select"), "test": test_MD}, missing_E),
        r2_linear=linear_r2(train_MD, population.values["train"].T, test_MD, population.values["test"].T).repeat(2),
        resampled=resampled,
        rotated=rotated,
        groups_E=groups_E,
        specialised_E=specialised_E,
        specialised_rotated=None if turned is None else float(run.specialised(turned)[1].float().mean()),
    )


def _listed(picked: Picked, words: Words) -> Candidate:
    """The words fired on alone."""
    none = {slot: torch.full_like(word_EK, -1) for slot, word_EK in picked.word.items()}
    return Candidate.of(words.vocabulary, Picked({**none, "peaks": picked.word["peaks"]}))


def _strength(
    population: Population, own_ED: Tensor, contexts: Mapping[str, Tensor], missing_E: Tensor
) -> dict[str, Tensor]:
    """How far the words tell how strongly entries fire."""
    found_2E = torch.full((2, len(own_ED)), torch.nan)
    rows = {role: torch.linspace(0, len(x) - 1, min(SAMPLE, len(x))).long() for role, x in contexts.items()}
    sampled = {role: x[rows[role]] for role, x in contexts.items()}
    for part in blocks(len(own_ED)):
        entries = torch.arange(part.start, part.stop)
        said = {role: own_ED[part] @ x_mD.T for role, x_mD in sampled.items()}
        true = {role: population.entries(role, entries)[:, rows[role]] for role in contexts}
        found_2E[0, part] = spearman(said["test"], true["test"])
        found_2E[1, part] = r2(said["test"], true["test"], said["select"], true["select"])
    return dict(zip(("spearman", "r2"), torch.where(missing_E, torch.nan, found_2E), strict=True))
