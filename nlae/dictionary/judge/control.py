"""The positive control: planted detectors whose descriptions are true by construction.

A judge that cannot tell where "the word river" occurs says nothing about neurons. The same descriptions dealt to the
wrong detectors are its null. Rules are found in the windows themselves, so that they fit any corpus.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from nlae.dictionary.judge.trials import Subject, Windows
from nlae.functional.randomness import generator

PLANTED, SHUFFLED = "control", "control_shuffled"
RULES = {
    "brackets": r"[()\[\]]",
    "digits": r"\d",
    "exclamation marks": r"!",
    "question marks": r"\?",
    "quotation marks": r"[\"“”]",
    "semicolons or colons": r"[;:]",
    "words written in capital letters only": r"\b[A-Z]{3,}\b",
}


def planted(windows: Windows, *, count: int = 32, least: int = 10, seed: int = 0) -> list[Subject]:
    """True and shuffled planted detectors, in the groups `control` and `control_shuffled`; none if two cannot be made.

    Args:
        windows: what the judge will be shown.
        count: number of detectors; at most a third of them are rules about signs, the rest are single words.
        least: windows in which a rule must fire, and in which it must not.
        seed: of the choice among words.
    """
    signs = _detectors(windows, RULES, count // 3, least)
    words = {f"the word “{word}”": rf"(?i)\b{re.escape(word)}\b" for word in _words(windows, least, seed)}
    true = signs + _detectors(windows, words, count - len(signs), least)
    # dealt on by one: nobody keeps the own description
    dealt = [subject.description for subject in true[1:] + true[:1]]
    shuffled = [replace(s, group=SHUFFLED, description=said) for s, said in zip(true, dealt, strict=True)]
    return true + shuffled if len(true) > 1 else []


def _detectors(windows: Windows, rules: dict[str, str], count: int, least: int) -> list[Subject]:
    found: list[Subject] = []
    for said, pattern in rules.items():
        if len(found) < count:
            fires_WT = _fires(windows, pattern)
            if least <= int(fires_WT.amax(-1).sum()) <= len(fires_WT) - least:
                found.append(Subject(said, PLANTED, said, fires_WT, 0.5))
    return found


def _fires(windows: Windows, pattern: str) -> Tensor:
    """1 at every token that a match touches, (W, T)."""
    fires_WT = torch.zeros(windows.ids_WT.shape)
    for number, tokens in enumerate(windows.tokens):
        length = torch.tensor([len(token) for token in tokens])
        ends = length.cumsum(0)
        for match in re.finditer(pattern, "".join(tokens)):
            fires_WT[number, (ends - length < match.end()) & (ends > match.start())] = 1.0
    return fires_WT


def _words(windows: Windows, least: int, seed: int) -> list[str]:
    """Words of four letters or more that occur in enough windows, in random order."""
    counts: Counter[str] = Counter()
    for tokens in windows.tokens:
        counts.update(set(re.findall(r"\b[a-z]{4,}\b", "".join(tokens))))
    common = sorted(word for word, times in counts.items() if times >= least)
    return [common[place] for place in torch.randperm(len(common), generator=generator(seed, "words")).tolist()]
