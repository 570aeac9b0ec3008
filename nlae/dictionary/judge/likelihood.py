"""A judge for small models: how much likelier does reading the text make the description?

log p(description | text) − log p(description | other texts) is the log-odds, at even prior odds, that the description
was written about this text. It asks nothing, so a model that cannot follow a question can still be a judge; but it
hears words better than meanings, and what it calls a match is nearly always a word in common. A text, or what is marked
in it, is shown twice: what reads from left to right finds more in what it has read before. How likely a description
is by itself is known badly from a few other texts, so by default such a judge is told how many of an entry's windows
are active and gives its yes to as many, the likeliest. The positive control decides whether it may judge at all. Left
out: the other direction, log p(text | description), which was worse on the control.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlae.dictionary.judge.continuations import log_likelihood
from nlae.dictionary.judge.local import LocalJudge
from nlae.dictionary.judge.prompts import CLOSE, OPEN
from nlae.dictionary.judge.protocol import Question
from nlae.errors import NlaeError
from nlae.functional.randomness import derive_seed

if TYPE_CHECKING:
    from nlae.target import TargetSource

LEAD = {False: "\nThe text contains", True: "\nThe marked words are"}
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "’": "'", "‘": "'"})
_OPENING = re.compile(r'(?<!\S)"(?=\w)')


class LikelihoodJudge(LocalJudge):
    """Likelihood of the description after the text, against its mean after other texts.

    Args:
        model: where its weights come from.
        device: where it runs.
        dtype: of its weights.
        batch_size: texts read at a time.
        others: number of other texts that stand for "no text in particular"; with `told_half` the texts that a
            description is asked about anyway do, since ranks alone decide then.
        told_half: whether as many windows get a yes as are active; otherwise those with positive log-odds.
    """

    name = "likelihood"

    def __init__(
        self,
        *,
        model: TargetSource,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 32,
        others: int = 8,
        told_half: bool = True,
    ) -> None:
        super().__init__(model=model, device=device, dtype=dtype, batch_size=batch_size, calibrated=False, chat=False)
        if others < 1:
            raise NlaeError(f"dictionary.judge.others={others} must be at least 1")
        self.others, self.told_half = others, told_half

    def identity(self) -> dict[str, Any]:
        """Model, its data type, and what it is compared with."""
        return {**super().identity(), "others": self.others, "told_half": self.told_half}

    def choose(
        self,
        questions: Sequence[Question],
        options: Sequence[str],
        *,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """See `Judge`; the first of two options is that the description fits."""
        if len(options) != 2:
            raise ValueError(f"this judge knows two options, not {len(options)}")
        asked = dict.fromkeys((question.shown, question.description) for question in questions)
        compared: dict[str, list[str]] = {}
        for text, description in asked:
            compared.setdefault(description, []).append(text)
        if not self.told_half:
            # whichever texts these are, they are the same for every description, and the same after a resume
            texts = dict.fromkeys(text for text, _ in asked)
            others = sorted(texts, key=lambda text: derive_seed("other", text))[: self.others]
            compared = dict.fromkeys(compared, others)
        asked |= dict.fromkeys((text, description) for description, texts in compared.items() for text in texts)
        found = dict(zip(asked, self._log_likelihood(list(asked), progress), strict=True))
        prior = {
            description: torch.tensor([found[text, description] for text in texts]).mean().item()
            for description, texts in compared.items()
        }
        odds = torch.tensor([found[q.shown, q.description] - prior[q.description] for q in questions])
        return torch.stack([odds.sigmoid(), (-odds).sigmoid()], dim=1)

    def _log_likelihood(self, pairs: Sequence[tuple[str, str]], progress: Callable[[int], None] | None) -> list[float]:
        """Log-probability of each description as the continuation of its text, nats."""
        tokenizer: Any = self.target.tokenizer
        before = {text: tokenizer.encode(self._prompt(text)) for text, _ in pairs}
        after = {said: tokenizer.encode(f" {_plain(said)}", add_special_tokens=False) for _, said in pairs}
        rows = [(before[text], after[said]) for text, said in pairs]
        return log_likelihood(self.target, rows, self.batch_size, progress)

    @staticmethod
    def _prompt(text: str) -> str:
        marked = re.findall(f"{OPEN}(.*?){CLOSE}", text)
        again = f"Marked: {', '.join(word.strip() for word in marked)}" if marked else f"Text: {text}"
        return f"Text: {text}\n{again}{LEAD[bool(marked)]}"


def _plain(description: str) -> str:
    """One spelling of quotation marks, and behind them the space that makes a word the token it is in a text."""
    return _OPENING.sub('" ', description.translate(_QUOTES))
