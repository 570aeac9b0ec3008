"""Detection: a judge says from the words alone in which of some windows an entry fires.

Windows in which it fires are drawn evenly over fifths of their strongest activation, since the top alone flatters a
description; the others at random. The score is the AUROC of the judge's odds, ties half; of a judge that says only yes
or no it is the balanced accuracy. A judge that cannot tell where a plain word occurs says nothing about neurons, so
it is tested on such words first. Shape suffixes: S subjects, W windows, Q questions of one subject.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nlae.dictionary.judge.questions import Judge, Question
from nlae.dictionary.score.ranks import auroc_own, average_ranks
from nlae.errors import NlaeError
from nlae.functional.randomness import generator

SHARES, PER_SHARE = 5, 2
FIRING = RESTING = SHARES * PER_SHARE  # windows of either kind that a subject is shown with
PLANTED = 32  # words that a judge is tested on
LEAST, MARGIN = 0.7, 0.15  # what it must score on them, and how much less with the words dealt to the wrong ones
log = logging.getLogger(__name__)


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


def detect(
    judge: Judge,
    subjects: Sequence[Subject],
    windows: Sequence[str],
    seed: int,
    cache: Path,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Score of each description, float32 (S,); NaN for what fires or rests in too few windows.

    Args:
        judge: who answers; what it leaves unanswered counts as undecided.
        subjects: words with the truth about them.
        windows: texts of works that chose nothing.
        seed: of the windows.
        cache: file that keeps answers of a judge that is slow or paid.
        progress: called with the number of questions just answered.
    """
    score_S = torch.full((len(subjects),), torch.nan)
    drawn = {place: found for place, s in enumerate(subjects) if (found := draw_windows(s, seed)) is not None}
    if not drawn:
        return score_S
    texts = [" ".join(text.split()) for text in windows]
    questions = [Question(subjects[place].description, texts[w]) for place, found in drawn.items() for w in found]
    odds_SQ = judge.odds(questions, cache=cache, progress=progress).view(len(drawn), -1)
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


def planted_scores(judge: Judge, windows: Sequence[str], seed: int, cache: Path) -> tuple[float, float]:
    """Mean score on words planted as descriptions of themselves, and on the same words dealt on by one.

    Raises:
        NlaeError: the windows hold no two words to plant.
    """
    counts = Counter(word for text in windows for word in set(re.findall(r"\b[a-z]{4,}\b", text)))
    common = sorted(word for word, times in counts.items() if FIRING <= times <= len(windows) - RESTING)
    order = torch.randperm(len(common), generator=generator(seed, "words"))[:PLANTED]
    words = [common[place] for place in order.tolist()]
    if len(words) < 2:
        raise NlaeError(
            f"dictionary.judge: {len(windows)} windows hold no two words to test a judge on; use a larger corpus"
        )
    occurs = {word: torch.tensor([bool(re.search(rf"\b{word}\b", text)) for text in windows]).float() for word in words}
    dealt = words[1:] + words[:1]  # dealt on by one: nobody keeps its own
    planted = [
        Subject(word, f"the word “{said}”", occurs[word], 0.5)
        for word, said in zip(words * 2, words + dealt, strict=True)
    ]
    true, wrong = detect(judge, planted, windows, seed, cache).view(2, -1).double().mean(1).tolist()
    return true, wrong
