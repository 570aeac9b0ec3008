"""One block from panels to scores: words for its entries and for its nulls, and how well all of them predict.

Words are chosen on `select`; `bar` gives what the bar of all blocks is set on; what is reported comes from `test`.
Everything a block needs is made here and freed with it. Shape suffixes: E entries, M contexts, R resamples, P
candidates, X predictions of each entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nlae.dictionary.scan.folder import ROLES
from nlae.dictionary.score.clusters import components, count_groups, pair_threshold
from nlae.dictionary.score.correlation import linear_r2, r2, spearman
from nlae.dictionary.score.nulls import LastToken, nearest, same_token
from nlae.dictionary.score.population import BLOCK, TRAINED, A, B, Population, rotation, splits
from nlae.dictionary.score.trials import FIRING, OTHERS, Readings, Trials
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.describing import Candidate, Described, Words, best, choose, describe, pick
from nlae.dictionary.words.picking import Picked, as_words, leading
from nlae.dictionary.words.space import Space
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import generator

LISTED = 8  # words of a token list, and of the unembedding
TESTED, CHOSEN = (FIRING, OTHERS), (200, 1000)  # contexts in which an entry fires, and others, that it is scored on
SAMPLE = 2000  # contexts that rank correlations are taken over
Teach = Callable[[Population], Mapping[int, str]]  # a block's columns -> descriptions by a teacher, by entry


@dataclass(frozen=True)
class Scores:
    """What was measured of one block.

    Attributes:
        population: the block's columns, with all their activations.
        described: their words.
        columns: number of `dictionary.parquet` -> its value for every entry, NaN where it was not measured.
        nearest_E: entry whose words are nearest.
        others: rival texts about entries of neurons B by their places: `mismatched` words, and `token_lists`.
        tensors: what the bar and the intervals need: `bar/own` and `bar/mismatched`, AUROC of neurons A on the bar's
            works; of neurons B on test works `measured/…`, AUROC, and `resampled/…`, the same under resampled works,
            float16 (entries of B, R).
        specialised_rotated: share of rotated neurons' entries with one group of contexts, if any were rotated.
    """

    population: Population
    described: Described
    columns: Mapping[str, Tensor]
    nearest_E: Tensor
    others: Mapping[str, Mapping[int, str]]
    tensors: Mapping[str, Tensor]
    specialised_rotated: float | None


def score_block(
    words: Words, subjects: Subjects, layer: int, bootstrap: ClusterBootstrap, teach: Teach | None = None
) -> Scores:
    """Describe and score all entries of one block, and its nulls, with resamples of the test panel's works."""
    block = _Block(words, subjects, layer, bootstrap)
    tensors, specialised_rotated = dict[str, Tensor](), None
    if words.settings.rotated:
        turned = block.population(rotation(block.n, words.settings.seed, layer))
        tensors |= block.rotated(turned)
        specialised_rotated = float(block.groups(turned)["specialised"].float().mean())
    return block.scores(block.population(), teach, tensors, specialised_rotated)


class _Block:
    """Inputs and activations of one block, and the steps that its neurons and their rotation share."""

    def __init__(self, words: Words, subjects: Subjects, layer: int, bootstrap: ClusterBootstrap) -> None:
        self._words, self._settings, self._subjects, self._layer = words, words.settings, subjects, layer
        self._bootstrap = bootstrap
        inputs = {role: subjects.inputs(layer, role) for role in ROLES}
        self._values = {role: subjects.activations(layer, x_MD).T.contiguous() for role, x_MD in inputs.items()}
        self._space = Space(inputs)
        self.n = len(self._values["train"])
        self._split_E = splits(layer, self.n).repeat(2)
        self._in_a, self._in_b = (torch.nonzero(self._split_E == split)[:, 0] for split in (A, B))

    def population(self, mix_nn: Tensor | None = None) -> Population:
        """The columns, or a rotation of them."""
        document_M = torch.from_numpy(self._subjects.panel("train").document)
        count, quantile = self._settings.exemplars, self._settings.active_quantile
        return Population.of(self._values, document_M, count, quantile, mix_nn)

    def rotated(self, turned: Population) -> dict[str, Tensor]:
        """AUROC of rotated neurons B on test works, and under resampled works."""
        held_out = torch.nonzero(self._split_E != TRAINED)[:, 0]
        select = self._trials(turned, "select", held_out).spread(held_out, len(self._split_E))
        described = self._describe(turned, select)
        trials = self._trials(turned, "test", self._in_b)
        said = Readings(described.reading_ED[self._in_b], self._contexts(described, "test"))
        resampled = trials.resampled(said, self._bootstrap.weight_RC, self._bootstrap.cluster_N)
        return {"measured/rotated": trials.auroc(said), "resampled/rotated": resampled.half()}

    def groups(self, population: Population) -> dict[str, Tensor]:
        """Groups among each entry's strongest contexts, and whether one alone holds most of them; both (E,)."""
        unit_MD, settings, parts = self._space.directions, self._settings, []
        threshold = pair_threshold(unit_MD, settings.group_quantile, settings.seed)
        for row_eK in population.row_EK[:, : settings.group_top].split(BLOCK):
            parts.append(count_groups(components(unit_MD[row_eK.clamp_min(0)], row_eK >= 0, threshold)))
        found = (torch.cat(side) for side in zip(*parts, strict=True))
        return dict(zip(("groups", "specialised"), found, strict=True))

    def scores(
        self, population: Population, teach: Teach | None, tensors: dict[str, Tensor], specialised_rotated: float | None
    ) -> Scores:
        """Of the columns themselves, beside all nulls but the rotation, whose results are given."""
        in_a, in_b, everything = self._in_a, self._in_b, torch.arange(len(self._split_E))
        select, test = (self._trials(population, role, everything) for role in ("select", "test"))
        described = self._describe(population, select, None if teach is None else teach(population))
        own_ED, missing_E, reader = described.reading_ED, described.kind_E < 0, described.reader
        peaks_EK = leading(self._words.bags, population.row_EK, {"peaks": LISTED}).word["peaks"]
        ids, _ = self._subjects.promoted(self._layer, LISTED)
        promoted_EK = as_words(ids[:, 0].flatten(0, 1), self._words.vocabulary)
        lists, lens = (Candidate.of(self._words.vocabulary, Picked.fired_on(w)) for w in (peaks_EK, promoted_EK))
        nearest_E = nearest(own_ED, population.n, missing_E, self._subjects.signed)
        donor_b, stranger_b = self._mismatched(described, select, in_b, "test")
        _, stranger_a = self._mismatched(described, select, in_a, "bar")
        read_as = {
            "auroc": own_ED,
            "nearest": own_ED[nearest_E],
            "token_list": reader.read(lists.feature_EF),
            "lens": reader.read(lens.feature_EF),
            "skyline": described.vector_ED,
            "permuted": self._permuted(population, described, select),
        }
        columns, resampled = self._tested(population, described, test, read_as, stranger_b)
        columns["lens"] = torch.where(lens.known_E, columns["lens"], torch.nan)
        on_bar = Readings(torch.stack([own_ED[in_a], stranger_a]), self._contexts(described, "bar"))
        own_a, mismatched_a = self._trials(population, "bar", in_a).auroc(on_bar)
        own_a = torch.where(missing_E[in_a], torch.nan, own_a)
        tensors |= {"bar/own": own_a, "bar/mismatched": mismatched_a}
        tensors |= {f"measured/{name}": columns[name][in_b] for name in resampled}
        tensors |= {f"resampled/{name}": area_ER.half() for name, area_ER in resampled.items()}
        texts = described.texts
        return Scores(
            population=population,
            described=described,
            columns={
                **columns,
                "auroc_bar": self._among_all(in_a, own_a),
                **self._strength(population, described),
                **self.groups(population),
            },
            nearest_E=nearest_E,
            others={
                "mismatched": {e: texts[d] for e, d in zip(in_b.tolist(), donor_b.tolist(), strict=True)},
                "token_lists": {entry: lists.texts[entry] for entry in in_b.tolist()},
            },
            tensors=tensors,
            specialised_rotated=specialised_rotated,
        )

    def _tested(
        self,
        population: Population,
        described: Described,
        test: Trials,
        read_as: Mapping[str, Tensor],
        stranger_b: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """AUROC of all readings, mismatched words and a last-token table: of all entries, and of B by resamples."""
        missing_E, in_b, test_MD = described.kind_E < 0, self._in_b, self._contexts(described, "test")
        reading_XED = torch.stack(list(read_as.values()))
        columns = dict(zip(read_as, test.auroc(Readings(reading_XED, test_MD)), strict=True))
        columns["auroc"] = torch.where(missing_E, torch.nan, columns["auroc"])
        table = LastToken(population, *(torch.from_numpy(self._subjects.panel(r).token_id) for r in ("train", "test")))
        columns["last_token"] = test.auroc(table)
        of_b = test[in_b]
        columns["mismatched"] = self._among_all(in_b, of_b.auroc(Readings(stranger_b, test_MD)))
        # without permuted words, of which no interval is told
        names, said_b = [*read_as][:-1], torch.cat([reading_XED[:-1, in_b], stranger_b[None]])
        works = self._bootstrap.weight_RC, self._bootstrap.cluster_N
        area_XER = of_b.resampled(Readings(said_b, test_MD), *works)
        resampled = dict(zip([*names, "mismatched"], area_XER, strict=True))
        resampled["auroc"][missing_E[in_b]] = torch.nan
        resampled["last_token"] = of_b.resampled(lambda places, row_eK: table(in_b[places], row_eK), *works)
        return columns, resampled

    def _trials(self, population: Population, role: str, entries: Tensor) -> Trials:
        settings, rows = self._settings, len(self._subjects.panel(role))
        most = TESTED if role == "test" else CHOSEN
        return Trials.draw(
            lambda some: population.fires(role, some), entries, rows, settings.min_contexts, settings.seed, most
        )

    def _describe(self, population: Population, select: Trials, taught: Mapping[int, str] | None = None) -> Described:
        fitted_E, deciding_E = self._split_E == TRAINED, self._split_E == A
        return describe(self._words, population, self._space, select, fitted_E, deciding_E, taught)

    def _contexts(self, described: Described, role: str) -> Tensor:
        """A panel in the space that was chosen for a population."""
        return self._space.contexts(role, described.chosen["shrinkage"])

    def _among_all(self, places: Tensor, value: Tensor) -> Tensor:
        """Values of some entries in their places among all, NaN for the others."""
        return torch.full((len(self._split_E),), torch.nan).index_copy(0, places, value)

    def _mismatched(self, described: Described, select: Trials, places: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Another neuron's entry for each of some entries, and what the best of its words reads as for them."""
        source = generator(self._settings.seed, "mismatched", self._layer, name)
        step = torch.randint(1, max(2, self.n), places.shape, generator=source)
        sign = torch.randint(2 if self._subjects.signed else 1, places.shape, generator=source)
        donor = (places % self.n + step) % self.n + self.n * sign
        known_PE = torch.stack([candidate.known_E[donor] for candidate in described.candidates])
        given_PED = described.reading_PED[:, donor]
        area_PE = select[places].auroc(Readings(given_PED, self._contexts(described, "select")))
        return donor, pick(given_PED, best(known_PE, area_PE))

    def _permuted(self, population: Population, described: Described, select: Trials) -> Tensor:
        """Readings of what would be said if each exemplar were another context with the same last token, (E, D).

        What is left is what the token tells; words are chosen as the entry's own are, the best on `select`.
        """
        token_M = torch.from_numpy(self._subjects.panel("train").token_id)
        row_EK = same_token(population.row_EK, token_M, self._settings.seed)
        vector_ED = self._space.vectors(self._space.sums(row_EK), described.chosen["shrinkage"])
        pursued = self._words.pursued(described.reader, row_EK, vector_ED)
        candidates = [self._words.counted(row_EK), pursued]
        return pick(*choose(described.reader, candidates, select, self._contexts(described, "select")))

    def _strength(self, population: Population, described: Described) -> dict[str, Tensor]:
        """How far the words, and the best linear reading, tell how strongly entries fire: correlation and R², (E,)."""
        own_ED, values = described.reading_ED, population.values
        found_2E = torch.full((2, len(own_ED)), torch.nan)
        contexts = {role: self._contexts(described, role) for role in ("train", "select", "test")}
        rows = {role: torch.linspace(0, len(x) - 1, min(SAMPLE, len(x))).long() for role, x in contexts.items()}
        sampled = {role: contexts[role][rows[role]] for role in ("select", "test")}
        for entry_e in torch.arange(len(own_ED)).split(BLOCK):
            said = {role: own_ED[entry_e] @ x_mD.T for role, x_mD in sampled.items()}
            true = {role: population.entries(role, entry_e)[:, rows[role]] for role in sampled}
            found_2E[0, entry_e] = spearman(said["test"], true["test"])
            found_2E[1, entry_e] = r2(said["test"], true["test"], said["select"], true["select"])
        linear_n = linear_r2(contexts["train"], values["train"].T, contexts["test"], values["test"].T)
        spearman_E, r2_E = torch.where(described.kind_E < 0, torch.nan, found_2E)
        return {"spearman": spearman_E, "r2": r2_E, "r2_linear": linear_n.repeat(2)}
