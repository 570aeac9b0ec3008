"""The columns of `dictionary.parquet`: what each of them holds, once, for writers, readers and pages.

An *entry* is one sign of one neuron of one layer. Scores are null where they were not measured or where the entry has
too few active contexts to be scored; nothing is filled in.
"""

from dataclasses import dataclass

import polars as pl

VERSION = 1
SIGNS = ("+", "-")
BINS = 32
NO_DESCRIPTION = "no description found"
# A context's text shared by all that fire there, and the one nearest to the others of the entry; with and without the
# entry's own contribution; its write direction on top of the mean; key words of its exemplars.
ORIGINS = ("shared", "consensus", "with", "without", "write", "context")
# Fewer active contexts than can be scored; the description predicts too badly; the last token predicts as well; more
# such entries than decoys would be needed to believe it.
REASONS = ("few contexts", "prediction", "last token", "false discovery")

_SCORES = (
    "fdr",
    "prediction",
    "prediction_decide",
    "prediction_quantile",
    "spearman",
    "spearman_quantile",
    "prediction_null",
    "skyline",
    "last_token",
    "token_list",
    "shuffled",
    "context_only",
    "verbalized",
    "share_of_skyline",
    "r2",
    "r2_ceiling",
    "detection",
    "fuzzing",
    "output_score",
)
_SHAPES = ("frequency", "kurtosis", "mean", "std")

SCHEMA: dict[str, pl.DataType] = {
    "layer": pl.Int32(),
    "neuron": pl.Int32(),
    "sign": pl.String(),
    "description": pl.String(),
    "candidate": pl.String(),
    "origin": pl.String(),
    "passes": pl.Boolean(),
    "reason": pl.String(),
    **{name: pl.Float32() for name in _SCORES},
    **{name: pl.Float32() for name in _SHAPES},
    "clusters": pl.Int16(),
    "specialised": pl.Boolean(),
    "sampled": pl.Boolean(),
    "tokens": pl.List(pl.String()),
    "promoted": pl.List(pl.String()),
    "suppressed": pl.List(pl.String()),
    "exemplar_value": pl.List(pl.Float32()),
    "exemplar_document": pl.List(pl.Int32()),
    "exemplar_position": pl.List(pl.Int32()),
    "histogram": pl.List(pl.Int32()),
}


@dataclass(frozen=True)
class Entry:
    """One sign of one neuron.

    Attributes:
        layer, neuron: block and index in the input of its MLP's down-projection (or direction number).
        sign: `+` or `-`; all values of the entry are sign · activation.
        description: what it stands for, or "no description found" when the entry does not pass.
        candidate: the best candidate, passing or not; empty when there was none.
        origin: where that came from, one of `ORIGINS`; empty when there was none.
        passes: q, AUROC and its distance above the last-token table reach the dictionary's thresholds (by default 0.05,
            0.7 and 0.05), all on the split `decide`.
        reason: why it does not pass: empty, or the first of `REASONS` that applies.
        fdr: q-value by target–decoy competition within its layer.
        prediction: AUROC of the description on the split `report`, active against random contexts.
        prediction_decide: the same on the split that decides.
        prediction_quantile: AUROC on `report`, the whole active range (all above the layer's threshold) against the
            rest.
        spearman: rank correlation of prediction and activation on `report`; spearman_quantile: among the contexts of
            the active range alone.
        prediction_null: AUROC of the entry's decoy, which went through the same pipeline.
        skyline: AUROC of the mean exemplar vector in place of words.
        last_token, token_list, shuffled, context_only: AUROC of the other baselines: mean activation per last token,
            count of the token among its exemplars', the best of another entry's candidates, key words of its exemplars,
            the best of several (sample).
        verbalized: AUROC of the best of as many texts that the autoencoder wrote, to be compared with context_only.
        share_of_skyline: (prediction − 0.5) / (skyline − 0.5); null where the skyline itself is at chance.
        r2, r2_ceiling: held-out variance of the neuron that survives the words, and the best linear map from what the
            verbalizer was given, both on the same few contexts of `report`.
        detection, fuzzing: balanced accuracy by a judge; of the sample only.
        output_score: what steering with the write direction does to the promoted tokens; of the sample only.
        frequency: share of tokens above the layer's threshold.
        kurtosis: excess kurtosis of the raw activation; mean and std of it as well.
        clusters, specialised: number of clusters among its strongest contexts; whether there is one, of at least half.
        sampled: whether candidates of its own were generated, not only the layer's shared ones.
        tokens: tokens that it fires on, strongest first; promoted and suppressed: what it writes.
        exemplar_value, exemplar_document, exemplar_position: strongest contexts, one per passage.
        histogram: counts of sign · (a − mean) / std over the bins of the dictionary's facts.
    """

    layer: int
    neuron: int
    sign: str
    description: str
    candidate: str
    origin: str
    passes: bool
    reason: str
    fdr: float | None
    prediction: float | None
    prediction_decide: float | None
    prediction_quantile: float | None
    spearman: float | None
    spearman_quantile: float | None
    prediction_null: float | None
    skyline: float | None
    last_token: float | None
    token_list: float | None
    shuffled: float | None
    context_only: float | None
    verbalized: float | None
    share_of_skyline: float | None
    r2: float | None
    r2_ceiling: float | None
    detection: float | None
    fuzzing: float | None
    output_score: float | None
    frequency: float
    kurtosis: float
    mean: float
    std: float
    clusters: int
    specialised: bool
    sampled: bool
    tokens: list[str]
    promoted: list[str]
    suppressed: list[str]
    exemplar_value: list[float]
    exemplar_document: list[int]
    exemplar_position: list[int]
    histogram: list[int]

    @property
    def name(self) -> str:
        """Short name: `12.345+`."""
        return f"{self.layer}.{self.neuron}{self.sign}"
