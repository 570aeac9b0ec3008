"""The same said in other words by a language model: the rewording that a reader of meaning should survive.

Any teacher that follows instructions writes it (`nlae.teacher`: a model on this machine, or a server); what it answers
is kept by content. A draft that repeats more than half of the text's word 4-grams is no paraphrase, and one that a
sentence embedding (if one is given) finds too far from the text is no longer the same: both are drawn again under a
sharper instruction, and what is still no paraphrase after the last draft is left out. How often, stands beside the
figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn, Protocol

from torch import Tensor

from nlae.errors import NlaeError
from nlae.model.prompt import Prompt
from nlae.rewording.base import Reworded
from nlae.teacher.base import Material, Teacher, TeacherContext
from nlae.teacher.describe import ask_cached

FILE, GRAM = "paraphrases.jsonl", 4
INSTRUCTIONS = (
    "Say the following text again in other words. Keep everything that it claims, every name and every number, add "
    "nothing, and write about as much. Change the wording and the order of its sentences; do not repeat its phrases."
)
AGAIN = (
    "",
    " A first draft stayed too close to the text or lost its meaning: let hardly three words in a row be the same.",
    " Two drafts failed: restate each claim in a new sentence of your own, and leave no claim out.",
)


class Embedder(Protocol):
    """Says how near in meaning two texts are."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of length one, float32 (N, D)."""
        ...


class Paraphrase:
    """Texts in a model's words; `copied`, `far` and `unanswered` are the shares of texts that were left out for it.

    `overlap` and `cosine` are means over those that were not.

    Args:
        model: writes: any of `nlae.teacher` that follows instructions.
        embedding: judges the meaning, e.g. `nlae.rewording.SentenceEmbedder`; None does not ask.
        drafts: of a text at most.
        copied: share of word 4-grams of the text above which a draft is none.
        least_cosine: below it a draft has lost the meaning.
        cache_dir: folder that keeps the answers; None keeps them in the evaluation's own.
    """

    headline = True

    def __init__(
        self,
        model: Teacher,
        embedding: Embedder | None = None,
        drafts: int = 2,
        copied: float = 0.5,
        least_cosine: float = 0.7,
        cache_dir: str | None = None,
    ) -> None:
        if not 1 <= drafts <= len(AGAIN):
            raise NlaeError(f"a paraphrase's drafts={drafts} must be at least 1 and at most {len(AGAIN)}")
        self.model, self.embedding, self.drafts, self.cache_dir = model, embedding, drafts, cache_dir
        self.copied, self.least_cosine = copied, least_cosine

    def __call__(self, texts: Sequence[str], seeds: Sequence[int], folder: Path) -> Reworded:
        """See `Rewording`; the seeds are not used, since a model's answers are kept by content."""
        path = (folder if self.cache_dir is None else Path(self.cache_dir).expanduser()) / FILE
        open_texts = [text for text in dict.fromkeys(texts) if text.strip()]
        asked, said, why = len(open_texts), {}, dict.fromkeys(open_texts, "unanswered")
        overlaps, cosines = [], []
        for draft in range(self.drafts):
            answers = self._ask(open_texts, draft, path)
            near = self._cosines(answers)
            for text, answer in answers.items():
                overlap = repeated(answer, text)
                if overlap > self.copied:
                    why[text] = "copied"
                elif near[text] < self.least_cosine:
                    why[text] = "far"
                else:
                    said[text] = answer
                    overlaps.append(overlap)
                    cosines.append(near[text])
            open_texts = [text for text in open_texts if text not in said]
        shares = {
            reason: sum(why[text] == reason for text in open_texts) / max(asked, 1)
            for reason in ("copied", "far", "unanswered")
        }
        if said:
            shares["overlap"] = fmean(overlaps)
            shares |= {} if self.embedding is None else {"cosine": fmean(cosines)}
        return Reworded([said.get(text) for text in texts], shares)

    def _ask(self, texts: Sequence[str], draft: int, path: Path) -> dict[str, str]:
        """What the model makes of each text, where it makes anything."""
        instructions = INSTRUCTIONS + AGAIN[draft]
        prompt = Prompt("paraphrase", "{slot}", "{explanation}.", instructions)
        self.model.prepare(Material(prompt=prompt, load_target=_none, frequencies=_none))
        contexts = [TeacherContext(row, row, text, []) for row, text in enumerate(texts)]
        answers = ask_cached(self.model, contexts, instructions, path, label="paraphrasing")
        return {texts[row]: answer for row, answer in answers.items()}

    def _cosines(self, answers: dict[str, str]) -> dict[str, float]:
        """How near each answer is to its text; 1 where nobody judges."""
        if self.embedding is None or not answers:
            return dict.fromkeys(answers, 1.0)
        text_ND, answer_ND = self.embedding.embed(list(answers)), self.embedding.embed(list(answers.values()))
        return dict(zip(answers, (text_ND * answer_ND).sum(-1).tolist(), strict=True))


def repeated(paraphrase: str, text: str) -> float:
    """Share of the word 4-grams of `paraphrase` (of all its words, where it has fewer) that `text` holds too."""
    words, own = (re.findall(r"\w+", said.lower()) for said in (paraphrase, text))
    size = min(GRAM, len(words), len(own))
    if not size:
        return 0.0
    known = {tuple(own[i : i + size]) for i in range(len(own) - size + 1)}
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return sum(gram in known for gram in grams) / len(grams)


def _none(*given: Any) -> NoReturn:
    raise NlaeError("a paraphrase is written by a model that follows instructions, e.g. nlae.teacher.LocalTeacher")
