"""Detection: a judge that reads says from the words alone in which of some windows an entry fires.

It sees words and a text, never an activation. Windows in which the entry fires are drawn evenly over fifths of their
strongest activation, since the top alone flatters a description; the others at random. The score is the AUROC of the
judge's odds, ties half; of a judge that says only yes or no it is the balanced accuracy.

Shape suffixes: S subjects, W windows, Q questions of one subject.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nlae.dictionary.score.correlation import auroc_own, average_ranks
from nlae.functional.randomness import generator

SHARES, PER_SHARE = 5, 2
FIRING = RESTING = SHARES * PER_SHARE  # windows of either kind that a subject is shown with
YES, NO = "yes", "no"
# before every question, since small models read the form of the answer off them; none of their words is from a corpus
_EXAMPLES = (
    ("the word “harbour”", "boats lay in the old harbour while the rain", YES),
    ("the word “harbour”", "he signed the letter and left for good", NO),
    ("names of animals", "the council voted for a budget on Monday", NO),
    ("names of animals", "a dog barked and ran off", YES),
)
log = logging.getLogger(__name__)


class Question(NamedTuple):
    """One description, one text: does the text contain what is described?"""

    description: str
    text: str

    def asked(self) -> str:
        """The question itself."""
        said = f"Description: {' '.join(self.description.split())}\nText: {self.text}"
        return f"{said}\nDoes the text contain what is described? Answer yes or no."

    def turns(self) -> list[dict[str, str]]:
        """As messages of a chat, the examples as its earlier turns."""
        turns = []
        for description, text, answer in _EXAMPLES:
            turns.append({"role": "user", "content": Question(description, text).asked()})
            turns.append({"role": "assistant", "content": answer})
        return [*turns, {"role": "user", "content": self.asked()}]

    def flat(self) -> str:
        """As one message."""
        said = [turn["content"] + ("\n" if turn["role"] == "user" else "\n\n") for turn in self.turns()]
        return "".join(said).rstrip("\n")


class Judge(Protocol):
    """Whoever says yes or no."""

    def odds(self, questions: Sequence[Question], cache: Path) -> Tensor:
        """Log-odds of yes against no, of which only the order counts, float32 (questions,); NaN without an answer.

        Args:
            questions: what is asked.
            cache: file that keeps answers by content, for a judge that is paid.
        """
        ...


class Subject(NamedTuple):
    """Words to be judged, with the truth about them.

    Attributes:
        key: name of an entry, such as `12.345+`; equal keys are shown the same windows.
        description: what the judge is told.
        peak_W: strongest sign · activation in each window.
        threshold: what counts as firing; from works that are not judged here.
    """

    key: str
    description: str
    peak_W: Tensor
    threshold: float


def detect(judge: Judge, subjects: Sequence[Subject], windows: Sequence[str], seed: int, cache: Path) -> Tensor:
    """Score of each description, float32 (S,); NaN for what fires or rests in too few windows.

    Args:
        judge: who answers; what it leaves unanswered counts as undecided.
        subjects: words with the truth about them.
        windows: texts of works that chose nothing.
        seed: of the windows.
        cache: see `Judge`.
    """
    score_S = torch.full((len(subjects),), torch.nan)
    drawn = {place: found for place, s in enumerate(subjects) if (found := draw_windows(s, seed)) is not None}
    if not drawn:
        return score_S
    texts = [" ".join(text.split()) for text in windows]
    questions = [Question(subjects[place].description, texts[w]) for place, found in drawn.items() for w in found]
    odds_SQ = judge.odds(questions, cache).view(len(drawn), -1)
    if silent := int(odds_SQ.isnan().sum()):
        log.warning("dictionary.judge left %d of %d questions unanswered", silent, len(questions))
    fires_SQ = (torch.arange(FIRING + RESTING) < FIRING).expand(len(drawn), -1)
    score_S[list(drawn)] = auroc_own(average_ranks(odds_SQ.nan_to_num(0.0)), fires_SQ)
    return score_S


def draw_windows(subject: Subject, seed: int) -> list[int] | None:
    """`FIRING` windows in which a subject fires, then `RESTING` others; None if there are fewer of either."""
    source = generator(seed, "trials", subject.key)
    # a random order first, so that ties are split at random
    order_W = torch.randperm(len(subject.peak_W), generator=source)
    fires_W = subject.peak_W[order_W] > subject.threshold
    firing, resting = order_W[fires_W], order_W[~fires_W]
    if len(firing) < FIRING or len(resting) < RESTING:
        return None
    ranked = firing[subject.peak_W[firing].argsort(descending=True, stable=True)]
    shares = ranked.tensor_split(SHARES)
    shown = [share[torch.randperm(len(share), generator=source)[:PER_SHARE]] for share in shares]
    return [*torch.cat(shown).tolist(), *resting[:RESTING].tolist()]
