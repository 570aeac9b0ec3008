"""The columns of `dictionary.parquet`: what each of them holds, once, for writers, readers and pages.

An *entry* is one sign of one neuron of one block. Scores are null where they were not measured or where the entry fires
in too few contexts to be scored; nothing is filled in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

VERSION = 2
SIGNS = ("+", "-")
BINS = 32
WINDOW = 32  # tokens of an unseen context, at most
SPLITS = ("train", "A", "B")
LABELS = ("token", "context")
GRADES = {"fair": 0.7, "good": 0.8, "strong": 0.9}  # lowest AUROC of each
# why an entry does not pass: too few contexts to be scored, an AUROC below 0.7, or below the bar of all blocks
REASONS = ("few contexts", "auroc", "bar")


class Column(NamedTuple):
    """One column: its type, its name on a page, and what it says in one sentence."""

    kind: pl.DataType
    label: str
    about: str


_TEXT, _SCORE, _WHOLE, _FLAG = pl.String(), pl.Float32(), pl.Int32(), pl.Boolean()
_TEXTS, _SCORES, _WHOLES, _BYTES = pl.List(_TEXT), pl.List(_SCORE), pl.List(_WHOLE), pl.List(pl.UInt8())

COLUMNS: dict[str, Column] = {
    "layer": Column(_WHOLE, "Block", "The block whose MLP the neuron belongs to, counted from 0."),
    "neuron": Column(_WHOLE, "Neuron", "Its place in the input of the block's down-projection, or a direction."),
    "sign": Column(_TEXT, "Sign", "Which half of the activation is described; all values are sign · activation."),
    "split": Column(_TEXT, "Split", "train: readers are fitted on it; A: sets the bar; B: reported."),
    "description": Column(_TEXT, "Description", "The words that were scored, letter for letter; may be empty."),
    "writes": Column(_TEXT, "Writes", "What it makes likelier, as a phrase; empty for inputs that write nothing."),
    "label": Column(
        _TEXT,
        "Label",
        "context: the words tell more than permuted tokens and a last-token table do; token: it passes without that.",
    ),
    "grade": Column(_TEXT, "Grade", "fair from an AUROC of 0.7, good from 0.8, strong from 0.9; only where it passes."),
    "passes": Column(_FLAG, "Passes", "AUROC of at least 0.7, and at least the bar that all blocks share."),
    "reason": Column(_TEXT, "Why not", "few contexts to be scored, an AUROC below 0.7, or one below the bar."),
    "reader": Column(_TEXT, "Reader", "What turns the words into a direction; bag is a ridge over their tokens."),
    "auroc": Column(
        _SCORE,
        "AUROC",
        "How often the words rank a context in which it fires above one in which it does not, on works that chose "
        "nothing; 0.5 is chance.",
    ),
    "auroc_bar": Column(_SCORE, "AUROC, bar", "The same on the works that set the bar."),
    "mismatched": Column(_SCORE, "Mismatched", "AUROC of another entry's words, the best of as many."),
    "nearest": Column(_SCORE, "Nearest other", "AUROC of the words of the entry whose words are nearest."),
    "permuted": Column(_SCORE, "Permuted", "AUROC of the words once contexts with equal last tokens trade places."),
    "last_token": Column(_SCORE, "Last-token table", "AUROC of a table that knows only which token stands there."),
    "token_list": Column(_SCORE, "Token list", "AUROC of a list of the tokens it fires on, read by the same reader."),
    "lens": Column(_SCORE, "Unembedding", "AUROC of the words of the unembedding (logit lens), by the same reader."),
    "skyline": Column(_SCORE, "Skyline", "AUROC of the entry's own vector in place of words: what words aim at."),
    "spearman": Column(_SCORE, "Spearman", "Rank correlation of what the words predict and the activation."),
    "r2": Column(_SCORE, "R² through words", "Share of the activation's variance that the words predict."),
    "r2_linear": Column(_SCORE, "R² linear", "The same for the best linear reading of the MLP's input."),
    "embedding": Column(_SCORE, "Embedding judge", "Detection by a sentence-embedding model that fitted nothing."),
    "detection": Column(_SCORE, "Detection", "AUROC of a judge that says which contexts fire."),
    "fuzzing": Column(_SCORE, "Fuzzing", "AUROC of a judge that says whether tokens are marked rightly."),
    "output_score": Column(_SCORE, "Output score", "How far steering along it raises the tokens it is said to write."),
    "frequency": Column(_SCORE, "Frequency", "Share of the training tokens on which it fires."),
    "kurtosis": Column(_SCORE, "Kurtosis", "Excess kurtosis of the activation: large where it is mostly silent."),
    "mean": Column(_SCORE, "Mean", "Mean of the raw activation over the training tokens, whichever the sign."),
    "std": Column(_SCORE, "Deviation", "Standard deviation of the raw activation over the training tokens."),
    "nearest_entry": Column(_TEXT, "Nearest entry", "The entry whose words are nearest, such as 12.345+."),
    "groups": Column(pl.Int16(), "Groups", "Groups that its strongest contexts fall into: meanings, so to say."),
    "specialised": Column(_FLAG, "Specialised", "Whether there is one such group, with at least half of the contexts."),
    "tokens": Column(_TEXTS, "Fires on", "The tokens at which its strongest contexts peak, strongest first."),
    "promoted": Column(_TEXTS, "Promotes", "The tokens that its write direction makes likelier."),
    "suppressed": Column(_TEXTS, "Suppresses", "The tokens that its write direction makes less likely."),
    "exemplar_value": Column(_SCORES, "Exemplar values", "Strongest activations of the scan, training works only."),
    "exemplar_document": Column(_WHOLES, "Exemplar passages", "The passages in which they stand."),
    "exemplar_position": Column(_WHOLES, "Exemplar positions", "The tokens of those passages at which they stand."),
    "unseen_document": Column(_WHOLES, "Unseen passages", "Up to three passages of test works in which it fires."),
    "unseen_start": Column(_WHOLES, "Unseen starts", "First token of the window that is shown of each."),
    "unseen_peak": Column(_WHOLES, "Unseen peaks", "Offset of the strongest token in each window."),
    "unseen_level": Column(
        _BYTES,
        "Unseen levels",
        "Activation at every token of these windows, one after another: 255 is the largest exemplar value.",
    ),
    "histogram": Column(_WHOLES, "Histogram", "Counts of sign · (activation − mean) / deviation over the facts' bins."),
}
SCHEMA: dict[str, pl.DataType] = {name: column.kind for name, column in COLUMNS.items()}


@dataclass(frozen=True)
class Entry:
    """One sign of one neuron; each attribute is the column of that name in `COLUMNS`."""

    layer: int
    neuron: int
    sign: str
    split: str
    description: str
    writes: str
    label: str
    grade: str
    passes: bool
    reason: str
    reader: str
    auroc: float | None
    auroc_bar: float | None
    mismatched: float | None
    nearest: float | None
    permuted: float | None
    last_token: float | None
    token_list: float | None
    lens: float | None
    skyline: float | None
    spearman: float | None
    r2: float | None
    r2_linear: float | None
    embedding: float | None
    detection: float | None
    fuzzing: float | None
    output_score: float | None
    frequency: float
    kurtosis: float
    mean: float
    std: float
    nearest_entry: str
    groups: int
    specialised: bool
    tokens: list[str]
    promoted: list[str]
    suppressed: list[str]
    exemplar_value: list[float]
    exemplar_document: list[int]
    exemplar_position: list[int]
    unseen_document: list[int]
    unseen_start: list[int]
    unseen_peak: list[int]
    unseen_level: list[int]
    histogram: list[int]

    @property
    def name(self) -> str:
        """Short name: `12.345+`."""
        return f"{self.layer}.{self.neuron}{self.sign}"
