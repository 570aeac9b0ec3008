"""The columns of `dictionary.parquet`: what each of them holds, once, for writers, readers and pages.

An *entry* is one sign of one neuron of one block. Scores are null where they were not measured or where the entry fires
in too few contexts to be scored; nothing is filled in.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_type_hints

import polars as pl

VERSION = 2
SIGNS = ("+", "-")
WINDOW = 32  # tokens of an unseen context, at most
SPLITS = ("train", "A", "B")
LABELS = ("token", "context")
GRADES = {"fair": 0.7, "good": 0.8, "strong": 0.9}  # lowest AUROC of each
MARGIN = (
    0.02  # AUROC that words must have above tokens to be called context: about the standard error of an entry's own
)
# why an entry does not pass: too few contexts to be scored, an AUROC below 0.7, or below the bar of all blocks
REASONS = ("few contexts", "auroc", "bar")


class Column(NamedTuple):
    """One column: its type, its name on a page, and what it says in one sentence."""

    kind: pl.DataType
    label: str
    about: str


Score = float | None
_KINDS: dict[Any, pl.DataType] = {str: pl.String(), float: pl.Float32(), int: pl.Int32(), bool: pl.Boolean()}
_KINDS |= {Score: pl.Float32(), list[str]: pl.List(pl.String())}
_KINDS |= {list[float]: pl.List(pl.Float32()), list[int]: pl.List(pl.Int32())}


@dataclass(frozen=True)
class Entry:
    """One sign of one neuron: of each column of `dictionary.parquet` its name on a page and what it says."""

    layer: Annotated[int, "Block", "The block whose MLP the neuron belongs to, counted from 0."]
    neuron: Annotated[int, "Neuron", "Its place in the input of the block's down-projection, or a direction."]
    sign: Annotated[str, "Sign", "Which half of the activation is described; all values are sign · activation."]
    split: Annotated[str, "Split", "train: readers are fitted on it; A: sets the bar; B: reported."]
    description: Annotated[str, "Description", "The words that were scored, letter for letter; may be empty."]
    writes: Annotated[str, "Writes", "What it makes likelier, as a phrase; empty for inputs that write nothing."]
    label: Annotated[
        str,
        "Label",
        "context: the words tell more, by 0.02 of AUROC, than permuted tokens and a last-token table do; token: it "
        "passes without that.",
    ]
    grade: Annotated[str, "Grade", "fair from an AUROC of 0.7, good from 0.8, strong from 0.9; only where it passes."]
    passes: Annotated[bool, "Passes", "AUROC of at least 0.7, and at least the bar that all blocks share."]
    reason: Annotated[str, "Why not", "few contexts to be scored, an AUROC below 0.7, or one below the bar."]
    reader: Annotated[str, "Reader", "What turns the words into a direction; bag is a ridge over their tokens."]
    auroc: Annotated[
        Score,
        "AUROC",
        "How often the words rank a context in which it fires above one in which it does not, on works that chose "
        "nothing; 0.5 is chance.",
    ]
    auroc_bar: Annotated[Score, "AUROC, bar", "The same on the works that set the bar."]
    mismatched: Annotated[Score, "Mismatched", "AUROC of another entry's words, the best of as many."]
    nearest: Annotated[Score, "Nearest other", "AUROC of the words of the entry whose words are nearest."]
    permuted: Annotated[Score, "Permuted", "AUROC of the words once contexts with equal last tokens trade places."]
    last_token: Annotated[Score, "Last-token table", "AUROC of a table that knows only which token stands there."]
    token_list: Annotated[Score, "Token list", "AUROC of a list of the tokens it fires on, read by the same reader."]
    lens: Annotated[Score, "Unembedding", "AUROC of the words of the unembedding (logit lens), by the same reader."]
    skyline: Annotated[Score, "Skyline", "AUROC of the entry's own vector in place of words: what words aim at."]
    spearman: Annotated[Score, "Spearman", "Rank correlation of what the words predict and the activation."]
    r2: Annotated[Score, "R² through words", "Share of the activation's variance that the words predict."]
    r2_linear: Annotated[Score, "R² linear", "The same for the best linear reading of the MLP's input."]
    embedding: Annotated[Score, "Embedding judge", "Detection by a sentence-embedding model that fitted nothing."]
    detection: Annotated[Score, "Detection", "AUROC of a judge that says which contexts fire."]
    output_score: Annotated[Score, "Output score", "How far steering along it raises the tokens it is said to write."]
    frequency: Annotated[float, "Frequency", "Share of the training tokens on which it fires."]
    kurtosis: Annotated[float, "Kurtosis", "Excess kurtosis of the activation: large where it is mostly silent."]
    mean: Annotated[float, "Mean", "Mean of the raw activation over the training tokens, whichever the sign."]
    std: Annotated[float, "Deviation", "Standard deviation of the raw activation over the training tokens."]
    nearest_entry: Annotated[str, "Nearest entry", "The entry whose words are nearest, such as 12.345+."]
    groups: Annotated[int, "Groups", "Groups that its strongest contexts fall into: meanings, so to say.", pl.Int16()]
    specialised: Annotated[bool, "Specialised", "Whether there is one such group, with at least half of the contexts."]
    tokens: Annotated[list[str], "Fires on", "The tokens at which its strongest contexts peak, strongest first."]
    promoted: Annotated[list[str], "Promotes", "The tokens that its write direction makes likelier."]
    suppressed: Annotated[list[str], "Suppresses", "The tokens that its write direction makes less likely."]
    exemplar_value: Annotated[list[float], "Exemplar values", "Strongest activations of the scan, training works only."]
    exemplar_document: Annotated[list[int], "Exemplar passages", "The passages in which they stand."]
    exemplar_position: Annotated[list[int], "Exemplar positions", "The tokens of those passages at which they stand."]
    unseen_document: Annotated[list[int], "Unseen passages", "Up to three passages of test works in which it fires."]
    unseen_start: Annotated[list[int], "Unseen starts", "First token of the window that is shown of each."]
    unseen_peak: Annotated[list[int], "Unseen peaks", "Offset of the strongest token in each window."]
    unseen_level: Annotated[
        list[int],
        "Unseen levels",
        "Activation at every token of these windows, one after another: 255 is the largest exemplar value.",
        pl.List(pl.UInt8()),
    ]

    @property
    def name(self) -> str:
        """Short name: `12.345+`."""
        return f"{self.layer}.{self.neuron}{self.sign}"


def _column(hint: Any) -> Column:
    label, about, *kind = hint.__metadata__
    return Column(kind[0] if kind else _KINDS[hint.__origin__], label, about)


COLUMNS = {name: _column(hint) for name, hint in get_type_hints(Entry, include_extras=True).items()}
SCHEMA = {name: column.kind for name, column in COLUMNS.items()}
COMPAT = pl.CompatLevel.oldest()
ARROW = pl.DataFrame(schema=SCHEMA).to_arrow(compat_level=COMPAT).schema
