"""What a dictionary is asked to be, and who builds it.

No torch is imported here before something is built: arguments are checked before any model is loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.dictionary.subjects.neurons import Subjects
    from nlae.target import Target
    from nlae.tracking import Run

READERS = ("bag",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DictionaryBuilder:
    """Describes and scores entries: what is tried for each block, and what an entry must show to pass."""

    layers: Sequence[int] | None = None  # blocks that get entries; None is all of them
    directions: str | None = None  # a SAELens folder or a file of directions that get entries in place of neurons
    reader: str = "bag"  # what turns words into a vector; `bag` is a ridge over their token embeddings
    scan: Any = None  # the `Scanner` that entries come from, which the goal `scan` runs
    exemplars: int = 32  # strongest contexts of the training panel, one per passage, that words and vectors come from
    window: int = 24  # tokens before a context whose words count as near
    tokens: int = 20  # of a description at most
    # tried for each block, and chosen on the selection works: of the whitening, of the ridge,
    shrinkage: Sequence[float] = (0.1, 0.3)
    penalty: Sequence[float] = (30.0, 100.0)
    weights: Sequence[Sequence[float]] = ((1.0, 1.0, 1.0), (1.0, 0.5, 0.5))  # and of words fired on, before, near
    active_quantile: float = 0.99  # an entry fires above this quantile of its own training activations
    min_contexts: int = 20  # entries that fire in fewer contexts of a panel are not scored there
    min_auroc: float = 0.7  # the lowest bar, and
    max_false: float = 0.05  # the share of passes that mismatched descriptions may have; see `score.passing`
    rotated: bool = True  # whether the same is done for a random rotation of the neurons, the null of the headline
    group_top: int = 16  # strongest contexts that are grouped,
    group_quantile: float = 0.99  # and joined when more alike than this share of random pairs
    promoted: int = 8  # tokens shown per entry that its write direction raises and lowers most
    resamples: int = 200  # of the bootstrap over works
    embedding: Any = None  # a sentence-embedding judge of neurons B; None leaves it out
    teacher: Any = None  # a language model whose descriptions of exemplars are candidates too; None asks nobody
    taught: int = 200  # entries that are described by it, drawn at random over all blocks
    judge: Any = None  # who says from descriptions alone where entries fire; None leaves detection out
    judged: int = 300  # entries of neurons B that are judged, whether they pass or not
    steered: int = 0  # of those, how many are steered with; 0 leaves output scores out
    seed: int = 0  # of rotations, mismatches, panels, judging, steering and bootstrap

    def __post_init__(self) -> None:
        """Refuse arguments that do not go together; the range of each number is the config's (`config.ranges`)."""
        if self.reader not in READERS:
            raise NlaeError(f"dictionary.reader={self.reader}: unknown; choose among {', '.join(READERS)}")
        for name in ("shrinkage", "penalty", "weights"):
            if not len(getattr(self, name)):
                raise NlaeError(f"dictionary.{name} is empty: name one value at least to try")
        if not all(len(row) == 3 and min(row) >= 0 and max(row) > 0 for row in self.weights):
            raise NlaeError("dictionary.weights: each is three numbers, of words fired on, before and near, not all 0")
        if self.layers is not None and len(set(self.layers)) != len(self.layers):
            raise NlaeError(f"dictionary.layers={list(self.layers)} names a layer twice")
        if self.directions is None:
            return
        if self.layers is not None:
            raise NlaeError("dictionary.directions and dictionary.layers are both set: directions live at one site")
        if self.judge is not None or self.steered:
            raise NlaeError(
                "dictionary.directions is set, but only neurons are judged and steered with: take dictionary=default, "
                "dictionary.steered=0"
            )

    def build(
        self,
        subjects: Subjects,
        corpus: Corpus,
        target: Target,
        folder: Path,
        facts: Mapping[str, Any] | None = None,
        run: Run | None = None,
    ) -> dict[str, float]:
        """Describe and score every entry of the layers into `folder`, going on where a killed build stopped.

        In `resume` there lie parts of finished blocks, to be deleted in the end. What holds for all entries, `facts`,
        is written down; `run` gets a table of entries. Returns flat metrics.
        """
        from nlae.dictionary.judge.examiner import Examiner
        from nlae.dictionary.parts import Parts
        from nlae.dictionary.words.corpus_view import CorpusView

        view = CorpusView(corpus, target.tokenizer)
        parts = Parts(self, subjects, view, folder, pick_layers(self.layers, subjects.layers))
        examiner = Examiner(self, subjects, view, target, folder)
        parts.make(target, examiner)
        return parts.finish(examiner, facts or {}, run)


def pick_layers(named: Sequence[int] | None, known: Sequence[int]) -> list[int]:
    """Blocks of the dictionary, ascending; all of them where none are named.

    Raises:
        NlaeError: one that the target does not have.
    """
    layers = sorted(known if named is None else (int(layer) for layer in named))
    wrong = [layer for layer in layers if layer not in known]
    if wrong:
        raise NlaeError(f"dictionary.layers holds {wrong[0]}: the target has layers {known[0]} to {known[-1]}")
    return layers
