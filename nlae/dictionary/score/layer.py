"""All scores of one layer: candidates compete on `select`, entries pass on `decide`, numbers come from `report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from nlae.dictionary.columns import DECOY, REAL, ROTATED, ROTATED_DECOY, LayerData, last_tokens
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
        correlations: on `report`.
        null_passes: name -> bool, flattened: `decoy`, `rotated`, `shuffled`.
    """

    text: Pairs
    column: Tensor
    verdict: Verdict
    report: Tensor
    decide: Tensor
    decoy: Tensor
    baselines: Pairs
    correlations: Correlations
    null_passes: Pairs


@dataclasses.dataclass(frozen=True)
class Texts:
    """Readings of a layer's texts.

    Attributes:
        reading_CD: what each text says at the MLP's input, unit vectors.
        neutral_D: what the neutral text says.
        candidates: group -> texts that each entry may choose among, int64 (2, n, K), −1 for none.
        written: columns of the candidates that the autoencoder wrote.
        context: column of the context-only candidate.
    """

    reading_CD: Tensor
    neutral_D: Tensor
    candidates: Pairs
    written: list[int]
    context: int


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
    mean_D = torch.nn.functional.normalize(data.inputs["train"], dim=-1).mean(0)
    contexts = {role: centred(inputs_MD, mean_D) for role, inputs_MD in data.inputs.items()}
    said = {role: predictions(texts.reading_CD, texts.neutral_D, contexts[role]) for role in SCORED}
    ranks = {role: average_ranks(said_CM) for role, said_CM in said.items()}
    documents = {role: torch.from_numpy(panel.document.copy()) for role, panel in data.panels.items()}

    def label(values: Pairs, threshold_2n: Tensor, role: str) -> Labels:
        return Labels.of(values[role], threshold_2n, documents[role], min_passages)

    labels: dict[str, dict[str, Labels]] = {}
    found: dict[str, Areas] = {}
    chosen: dict[str, Tensor] = {}
    for name, columns in data.groups.items():
        labels[name] = {role: label(columns.values, columns.threshold_2n, role) for role in SCORED}
        found[name] = areas(ranks, labels[name])
        candidate_2nK = texts.candidates[name]
        best_2n = found[name].best("select", candidate_2nK)
        chosen[name] = candidate_2nK.gather(-1, best_2n[..., None])[..., 0]
        if name == REAL:
            column_2n = best_2n
    table = LastToken(last_tokens(data.panels["train"]), vocabulary)

    def last(name: str, role: str) -> Tensor:
        return table.auroc(data.groups[name].values["train"], last_tokens(data.panels[role]), labels[name][role])

    area_of: dict[str, Tensor] = {name: found[name].of("decide", text) for name, text in chosen.items()}
    last_of = {name: last(name, "decide") for name in data.groups}
    headroom = {name: rules.headroom(area_of[name], last_of[name]).flatten() for name in data.groups}

    def strangers(name: str) -> tuple[Tensor, Tensor]:
        """Texts and headroom of another entry's candidates, the best of them chosen as the own ones are."""
        text_2n = _strangers(found[name], texts.candidates[name], generator)
        return text_2n, rules.headroom(found[name].of("decide", text_2n), last_of[name]).flatten()

    rival_E = rivals(headroom[DECOY], strangers(REAL)[1])
    verdict = decide(rules, area_of[REAL].flatten(), last_of[REAL].flatten(), rival_E)
    other_2n, shuffled_E = strangers(REAL)  # drawn anew: what entries had to beat cannot say how often chance passes
    nulls = {
        DECOY: null_passes(verdict.bar, headroom[DECOY], headroom[REAL]),
        "shuffled": null_passes(verdict.bar, shuffled_E, rival_E),
    }
    if ROTATED in headroom:
        rotated_rival_E = rivals(headroom[ROTATED_DECOY], strangers(ROTATED)[1])
        nulls[ROTATED] = null_passes(verdict.bar, headroom[ROTATED], rotated_rival_E)
    real, area = data.real, found[REAL]
    on_report = labels[REAL]["report"]
    in_range = label(real.values, torch.full_like(real.threshold_2n, active_from), "report")
    tokens = last_tokens(data.panels["report"])
    own = texts.candidates[REAL]
    baselines = {
        "skyline": skyline(contexts["train"], real.row_2nK, contexts["report"], on_report),
        "last_token": last(REAL, "report"),
        "token_list": token_list(exemplar_token_2nK, tokens, vocabulary, on_report),
        "shuffled": area.of("report", other_2n),
        "context_only": area.of("report", own[..., texts.context]),
        "verbalized": _best_of(area, own, texts.written),
    }
    return LayerScores(
        text=chosen,
        column=column_2n,
        verdict=verdict,
        report=area.of("report", chosen[REAL]),
        decide=area_of[REAL],
        decoy=found[DECOY].of("report", chosen[DECOY]),
        baselines=baselines,
        correlations=correlations(said["report"], in_range, chosen[REAL]),
        null_passes=nulls,
    )


def _best_of(area: Areas, candidate_2nK: Tensor, columns: list[int]) -> Tensor:
    """AUROC on `report` of the best candidate among some columns, chosen on `select`."""
    few_2nK = candidate_2nK[..., columns]
    best_2n = area.best("select", few_2nK)
    return area.of("report", few_2nK.gather(-1, best_2n[..., None])[..., 0])


def _strangers(area: Areas, candidate_2nK: Tensor, generator: torch.Generator) -> Tensor:
    """For each entry the best of another entry's candidates, chosen on `select`; int64 (2, n).

    Entries stand in a random circle and take their neighbour's; those with candidates of their own in one circle, the
    others in another, so that all choose among as many as before.
    """
    candidate_EK = candidate_2nK.flatten(0, 1)
    count_E = (candidate_EK >= 0).sum(-1)
    order_E = torch.randperm(len(candidate_EK), generator=generator)
    other_EK = torch.empty_like(candidate_EK)
    for count in count_E.unique().tolist():
        circle = order_E[count_E[order_E] == count]
        other_EK[circle] = candidate_EK[circle.roll(1)]
    other_2nK = other_EK.view_as(candidate_2nK)
    return other_2nK.gather(-1, area.best("select", other_2nK)[..., None])[..., 0]
