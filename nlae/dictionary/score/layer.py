"""All scores of one layer: candidates compete on `select`, entries pass on `decide`, numbers come from `report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from nlae.dictionary.columns import DECOY, DECOY_OF, NULL, REAL, ROTATED, LayerData, last_tokens
from nlae.dictionary.score.baselines import LastToken, skyline, token_list
from nlae.dictionary.score.panels import Labels
from nlae.dictionary.score.passing import Rules, Verdict, decide, null_passes, rivals
from nlae.dictionary.score.prediction import Areas, Correlations, areas, centred, correlations, predictions
from nlae.dictionary.score.ranks import average_ranks

SCORED = ("select", "decide", "report")
Pairs = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class LayerScores:
    """Scores of one layer's entries; tensors are (2, n), NaN where an entry was not scored.

    Attributes:
        text: group -> the chosen text of each entry, −1 for none.
        column: which column of the candidates that was, of the neurons.
        verdict: of the neurons, flattened.
        report, decide: AUROC of the chosen texts on these panels.
        decoy: AUROC of the decoys' texts on `report`.
        baselines: name -> AUROC on `report` (`last_token`, `token_list`, `shuffled`, `skyline`, `context_only`,
            `verbalized`).
        compared: the texts behind the last two of these, the best of equally many; −1 for none.
        correlations: on `report`.
        null_passes: name -> bool, flattened: `shuffled`, and where the layer has them `null`, `rotated`.
    """

    text: Pairs
    column: Tensor
    verdict: Verdict
    report: Tensor
    decide: Tensor
    decoy: Tensor
    baselines: Pairs
    compared: Pairs
    correlations: Correlations
    null_passes: Pairs


@dataclasses.dataclass(frozen=True)
class Texts:
    """Readings of a layer's texts.

    Attributes:
        reading_CD: what each text says at the MLP's input, unit vectors.
        neutral_D: what the neutral text says, or what texts of the layer say on average.
        candidates: group -> texts that each entry may choose among, int64 (2, n, K), −1 for none.
        compared: `verbalized` and `context_only`, as many texts of the neurons' sampled entries in one as in the other,
            int64 (2, n, k), −1 for none; see `describe.comparison`.
    """

    reading_CD: Tensor
    neutral_D: Tensor
    candidates: Pairs
    compared: Pairs


def score_layer(
    data: LayerData,
    texts: Texts,
    rules: Rules,
    *,
    min_passages: int,
    active_from: float,
    exemplar_token_2nK: Tensor,
    vocabulary: int,
    generator: torch.Generator,
) -> LayerScores:
    """Score every entry and every null of a layer.

    Args:
        data: panels and columns.
        texts: candidates and what they say.
        rules: what passing takes.
        min_passages: entries active in fewer passages of a panel are not scored there.
        active_from: lower end of the layer's active range, for the quantile stratum.
        exemplar_token_2nK: tokens at the neurons' exemplars, −1 where there are fewer.
        vocabulary: number of token ids.
        generator: pairs entries for `shuffled`.
    """
    found = _Found(data, texts, rules, min_passages, vocabulary)
    verdict, nulls, other_2n = _judge(found, generator)
    chosen = found.chosen[REAL]
    compared = {name: found.best(REAL, few_2nk) for name, few_2nk in texts.compared.items()}
    in_range = found.label(data.real.values, torch.full_like(data.real.threshold_2n, active_from), "report")
    return LayerScores(
        text=found.chosen,
        column=found.column[REAL],
        verdict=verdict,
        report=found.areas[REAL].of("report", chosen),
        decide=found.areas[REAL].of("decide", chosen),
        decoy=found.areas[DECOY].of("report", found.chosen[DECOY]),
        baselines=_baselines(found, exemplar_token_2nK, vocabulary, {"shuffled": other_2n, **compared}),
        compared=compared,
        correlations=correlations(found.said["report"], in_range, chosen),
        null_passes=nulls,
    )


class _Found:
    """Every text against every column of a layer, and the text that each entry chose.

    Attributes:
        contexts: role -> centred unit inputs.
        said: role -> what every text predicts, (C, M).
        labels: group -> role -> where its entries are active.
        areas: group -> AUROC of every text for each of its entries.
        column, chosen: group -> the best candidate on `select` and its text, (2, n).
    """

    def __init__(self, data: LayerData, texts: Texts, rules: Rules, min_passages: int, vocabulary: int) -> None:
        self.data, self.texts, self._rules, self._min_passages = data, texts, rules, min_passages
        mean_D = torch.nn.functional.normalize(data.inputs["train"], dim=-1).mean(0)
        self.contexts = {role: centred(inputs_MD, mean_D) for role, inputs_MD in data.inputs.items()}
        self.said = {role: predictions(texts.reading_CD, texts.neutral_D, self.contexts[role]) for role in SCORED}
        ranks = {role: average_ranks(said_CM) for role, said_CM in self.said.items()}
        self._documents = {role: torch.from_numpy(panel.document.copy()) for role, panel in data.panels.items()}
        self.labels: dict[str, dict[str, Labels]] = {}
        self.areas: dict[str, Areas] = {}
        self.column: dict[str, Tensor] = {}
        self.chosen: dict[str, Tensor] = {}
        for name, columns in data.groups.items():
            self.labels[name] = {role: self.label(columns.values, columns.threshold_2n, role) for role in SCORED}
            self.areas[name] = areas(ranks, self.labels[name])
            self.column[name] = self.areas[name].best("select", texts.candidates[name])
            self.chosen[name] = texts.candidates[name].gather(-1, self.column[name][..., None])[..., 0]
        self._table = LastToken(last_tokens(data.panels["train"]), vocabulary)
        self._last = {name: self.last_token(name, "decide") for name in data.groups}

    def label(self, values: Pairs, threshold_2n: Tensor, role: str) -> Labels:
        """Where columns exceed a threshold on one panel."""
        return Labels.of(values[role], threshold_2n, self._documents[role], self._min_passages)

    def last_token(self, name: str, role: str) -> Tensor:
        """AUROC of the last-token table for a group on one panel, (2, n)."""
        tokens_M = last_tokens(self.data.panels[role])
        return self._table.auroc(self.data.groups[name].values["train"], tokens_M, self.labels[name][role])

    def headroom(self, name: str, text_2n: Tensor) -> Tensor:
        """Headroom on `decide` of one text per entry of a group, flattened."""
        return self._rules.headroom(self.areas[name].of("decide", text_2n), self._last[name]).flatten()

    def best(self, name: str, text_2nK: Tensor) -> Tensor:
        """The best of some texts for each entry of a group, chosen on `select`; (2, n), −1 where there are none."""
        return text_2nK.gather(-1, self.areas[name].best("select", text_2nK)[..., None])[..., 0]

    def strangers(self, name: str, generator: torch.Generator) -> Tensor:
        """The best of another entry's candidates, chosen as the own ones are; (2, n)."""
        return self.best(name, strangers_candidates(self.texts.candidates[name], generator))

    def verdict(self, rival_E: Tensor) -> Verdict:
        """Which neurons pass against these rivals."""
        area_2n = self.areas[REAL].of("decide", self.chosen[REAL])
        return decide(self._rules, area_2n.flatten(), self._last[REAL].flatten(), rival_E)


def _judge(found: _Found, generator: torch.Generator) -> tuple[Verdict, Pairs, Tensor]:
    """What passes, which nulls would have passed in its place, and the strangers' texts that were one of these."""
    headroom = {name: found.headroom(name, text_2n) for name, text_2n in found.chosen.items()}
    rival_E = rivals(headroom[DECOY], found.headroom(REAL, found.strangers(REAL, generator)))
    verdict = found.verdict(rival_E)
    other_2n = found.strangers(REAL, generator)  # anew: what entries had to beat cannot say how often chance passes
    nulls = {"shuffled": null_passes(verdict.bar, found.headroom(REAL, other_2n), rival_E)}
    for name in (ROTATED, NULL):
        if name in headroom:  # each against a decoy and a stranger of its own: the neurons' have set the bar
            stranger_E = found.headroom(name, found.strangers(name, generator))
            nulls[name] = null_passes(verdict.bar, headroom[name], rivals(headroom[DECOY_OF[name]], stranger_E))
    return verdict, nulls, other_2n


def _baselines(found: _Found, exemplar_token_2nK: Tensor, vocabulary: int, rival_texts: Pairs) -> dict[str, Tensor]:
    """AUROC on `report` of what descriptions stand beside; of other texts, given one per entry, under their names."""
    data, on_report = found.data, found.labels[REAL]["report"]
    tokens_M = last_tokens(data.panels["report"])
    return {
        "skyline": skyline(found.contexts["train"], data.real.row_2nK, found.contexts["report"], on_report),
        "last_token": found.last_token(REAL, "report"),
        "token_list": token_list(exemplar_token_2nK, tokens_M, vocabulary, on_report),
        **{name: found.areas[REAL].of("report", text_2n) for name, text_2n in rival_texts.items()},
    }


def strangers_candidates(candidate_2nK: Tensor, generator: torch.Generator) -> Tensor:
    """For each entry the candidates of another one, as many as it has itself; int64 (2, n, K), −1 for none.

    Entries stand in a random circle and take their neighbour's; those with as many candidates in one circle. One that
    stands alone takes as many from several others, never its own.
    """
    candidate_EK = candidate_2nK.flatten(0, 1)
    count_E = (candidate_EK >= 0).sum(-1)
    order_E = torch.randperm(len(candidate_EK), generator=generator)
    other_EK = torch.full_like(candidate_EK, -1)
    for count in count_E.unique().tolist():
        circle = order_E[count_E[order_E] == count]
        if len(circle) > 1:
            other_EK[circle] = candidate_EK[circle.roll(1)]
            continue
        rest_EK = candidate_EK[order_E[order_E != circle]]
        taken = rest_EK[rest_EK >= 0][:count]
        other_EK[circle, : len(taken)] = taken
    return other_EK.view_as(candidate_2nK)
