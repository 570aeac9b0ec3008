"""The positive control: planted detectors whose descriptions are true by construction.

A judge that cannot tell where "the word river" occurs says nothing about neurons. The same descriptions dealt to the
wrong detectors are the negative control: what they score above one half is the judge's bias. Rules are found in the
windows themselves, so that they fit any corpus; the rarer a rule, the fewer windows it is shown with.
"""

from __future__ import annotations

import re
from collections import Counter

import torch
from torch import Tensor

from nlae.dictionary.judge.windows import Subject, Windows
from nlae.functional.randomness import generator

PLANTED, SHUFFLED = "control", "control_shuffled"
MIN_LETTERS = 4
RULES = {
    "digits": r"\d",
    "quotation marks": r"[\"“”]",
    "question marks": r"\?",
    "exclamation marks": r"!",
    "brackets": r"[()\[\]]",
    "semicolons or colons": r"[;:]",
    "words written in capital letters only": r"\b[A-Z]{3,}\b",
}


def planted(windows: Windows, *, count: int = 24, least: int = 10, seed: int = 0) -> list[Subject]:
    """True and shuffled planted detectors, in the groups `control` and `control_shuffled`.

    Args:
        windows: what the judge will be shown.
        count: number of detectors; at most a third of them are rules about signs, the rest are single words.
        least: windows in which a rule must fire, and in which it must not.
        seed: of the choice among words and of the shuffling.
    """
    found = [(text, _fires(windows, pattern)) for text, pattern in sorted(RULES.items())]
    usable = [(text, fires) for text, fires in found if _enough(fires, least)][: count // 3]
    for word in _words(windows, least, seed):
        if len(usable) >= count:
            break
        fires = _fires(windows, rf"(?i)\b{re.escape(word)}\b")
        if _enough(fires, least):
            usable.append((f"the word “{word}”", fires))
    true = [Subject(text, PLANTED, text, fires, 0.5) for text, fires in usable]
    # dealt on by one: nobody keeps the own description
    dealt = [subject.description for subject in true[1:] + true[:1]]
    if len(true) < 2:
        return true
    shuffled = [Subject(s.key, SHUFFLED, text, s.activation_WT, 0.5) for s, text in zip(true, dealt, strict=True)]
    return true + shuffled


def _fires(windows: Windows, pattern: str) -> Tensor:
    """1 at every token that a match touches, (W, T)."""
    fires_WT = torch.zeros(windows.token_WT.shape)
    compiled = re.compile(pattern)
    for number, tokens in enumerate(windows.tokens):
        ends = torch.tensor([len(token) for token in tokens]).cumsum(0)
        starts = ends - torch.tensor([len(token) for token in tokens])
        for match in compiled.finditer("".join(tokens)):
            fires_WT[number, (starts < match.end()) & (ends > match.start())] = 1.0
    return fires_WT


def _enough(fires_WT: Tensor, least: int) -> bool:
    firing = int(fires_WT.amax(-1).sum())
    return least <= firing <= len(fires_WT) - least


def _words(windows: Windows, least: int, seed: int) -> list[str]:
    """Words of four letters or more that occur in enough windows, in random order."""
    counts: Counter[str] = Counter()
    for tokens in windows.tokens:
        counts.update(set(re.findall(rf"\b[a-z]{{{MIN_LETTERS},}}\b", "".join(tokens))))
    common = sorted(word for word, times in counts.items() if times >= least)
    return [common[place] for place in torch.randperm(len(common), generator=generator(seed, "words")).tolist()]
