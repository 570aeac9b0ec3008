"""All scores of one layer: candidates compete on `select`, entries pass on `decide`, numbers come from `report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from nlae.dictionary.columns import DECOY, REAL, ROTATED, ROTATED_DECOY, LayerData, last_tokens
from nlae.dictionary.score.baselines import LastToken, skyline, token_list
from nlae.dictionary.score.passing import Rules, Verdict, decide, null_passes
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
    min_active: int,
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
        min_active: entries with fewer active contexts on a panel are not scored there.
        active_from: lower end of the layer's active range, for the quantile stratum.
        exemplar_token_2nK: tokens at the neurons' exemplars, −1 where there are fewer.
        vocabulary: number of token ids.
        generator: pairs entries for `shuffled`.
    """
    mean_D = torch.nn.functional.normalize(data.inputs["train"], dim=-1).mean(0)
    contexts = {role: centred(inputs_MD, mean_D) for role, inputs_MD in data.inputs.items()}
    said = {role: predictions(texts.reading_CD, texts.neutral_D, contexts[role]) for role in SCORED}
    ranks = {role: average_ranks(said_CM) for role, said_CM in said.items()}
    found: dict[str, Areas] = {}
    chosen: dict[str, Tensor] = {}
    for name, columns in data.groups.items():
        found[name] = areas(ranks, columns.values, columns.threshold_2n, min_active)
        candidate_2nK = texts.candidates[name]
        best_2n = found[name].best("select", candidate_2nK)
        chosen[name] = candidate_2nK.gather(-1, best_2n[..., None])[..., 0]
        if name == REAL:
            column_2n = best_2n
    table = LastToken(last_tokens(data.panels["train"]), vocabulary)

    def last(name: str, role: str) -> Tensor:
        columns = data.groups[name]
        tokens = last_tokens(data.panels[role])
        return table.auroc(columns.values["train"], tokens, columns.values[role], columns.threshold_2n, min_active)

    decided = {name: (found[name].of("decide", chosen[name]), last(name, "decide")) for name in data.groups}
    flat = {name: (area.flatten(), last_token.flatten()) for name, (area, last_token) in decided.items()}
    verdict = decide(rules, *flat[REAL], *flat[DECOY])
    other_2n = _shuffled(chosen[REAL], generator)
    shuffled_E = found[REAL].of("decide", other_2n).flatten()
    nulls = {
        DECOY: null_passes(rules, verdict.bar, *flat[DECOY], *flat[REAL]),
        "shuffled": null_passes(rules, verdict.bar, shuffled_E, flat[REAL][1], *flat[DECOY]),
    }
    if ROTATED in flat:
        nulls[ROTATED] = null_passes(rules, verdict.bar, *flat[ROTATED], *flat[ROTATED_DECOY])
    real, area = data.real, found[REAL]
    values, threshold = real.values["report"], real.threshold_2n
    tokens = last_tokens(data.panels["report"])
    own = texts.candidates[REAL]
    baselines = {
        "skyline": skyline(contexts["train"], real.row_2nK, contexts["report"], values, threshold, min_active),
        "last_token": last(REAL, "report"),
        "token_list": token_list(exemplar_token_2nK, tokens, vocabulary, values, threshold, min_active),
        "shuffled": area.of("report", other_2n),
        "context_only": area.of("report", own[..., texts.context]),
        "verbalized": _best_of(area, own, texts.written),
    }
    return LayerScores(
        text=chosen,
        column=column_2n,
        verdict=verdict,
        report=area.of("report", chosen[REAL]),
        decide=decided[REAL][0],
        decoy=found[DECOY].of("report", chosen[DECOY]),
        baselines=baselines,
        correlations=correlations(said["report"], values, chosen[REAL], active_from, min_active),
        null_passes=nulls,
    )


def _best_of(area: Areas, candidate_2nK: Tensor, columns: list[int]) -> Tensor:
    """AUROC on `report` of the best candidate among some columns, chosen on `select`."""
    few_2nK = candidate_2nK[..., columns]
    best_2n = area.best("select", few_2nK)
    return area.of("report", few_2nK.gather(-1, best_2n[..., None])[..., 0])


def _shuffled(text_2n: Tensor, generator: torch.Generator) -> Tensor:
    """For each entry the text of another one: all entries in a random circle, each takes its neighbour's."""
    text_E = text_2n.flatten()
    order_E = torch.randperm(len(text_E), generator=generator)
    other_E = torch.empty_like(text_E)
    other_E[order_E] = text_E[order_E.roll(1)]
    return other_E.view_as(text_2n)
