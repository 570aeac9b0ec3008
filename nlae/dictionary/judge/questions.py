"""What a judge is asked: detection, does the text contain what is described; fuzzing, are the marked words that?

A judge sees words and a text, never an activation. Worked examples stand before the question, since small models read
the form of the answer off them; none of their words is from a corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from nlae.dictionary.judge.judging import DETECTION, FUZZING

YES, NO = "yes", "no"
OPEN, CLOSE = "«", "»"
_ASKED = {
    DETECTION: "Does the text contain what is described? Answer yes or no.",
    FUZZING: f"Are the words between {OPEN} and {CLOSE} what is described? Answer yes or no.",
}
_EXAMPLES = (
    ("the word “harbour”", "boats lay in the old", "harbour", " while the rain", YES),
    ("the word “harbour”", "he signed the", "letter", " and left for good", NO),
    ("names of animals", "the council voted for a", "budget", " on Monday", NO),
    ("names of animals", "a", "dog", " barked and ran off", YES),
)


class Question(NamedTuple):
    """One description, one text (its tokens marked if the task is fuzzing)."""

    description: str
    text: str
    task: str

    def asked(self) -> str:
        """The question itself."""
        return f"Description: {' '.join(self.description.split())}\nText: {self.text}\n{_ASKED[self.task]}"

    def turns(self) -> list[dict[str, str]]:
        """As messages of a chat, the examples as its earlier turns."""
        said = []
        for description, before, word, after, answer in _EXAMPLES:
            shown = f"{before} {OPEN}{word}{CLOSE}{after}" if self.task == FUZZING else f"{before} {word}{after}"
            said += [Question(description, shown, self.task).asked(), answer]
        roles = ("user", "assistant") * len(_EXAMPLES) + ("user",)
        return [{"role": role, "content": text} for role, text in zip(roles, [*said, self.asked()], strict=True)]

    def flat(self) -> str:
        """As one message."""
        said = [turn["content"] + ("\n" if turn["role"] == "user" else "\n\n") for turn in self.turns()]
        return "".join(said).rstrip("\n")


class Judge(Protocol):
    """Whoever says yes or no."""

    def identity(self) -> dict[str, Any]:
        """What the answers depend on, as plain data; never holds a secret."""
        ...

    def odds(
        self, questions: Sequence[Question], *, cache: Path | None = None, progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """Log-odds of yes against no, of which only the order counts, float32 (questions,); NaN without an answer.

        Args:
            questions: what is asked.
            cache: file that keeps answers by content, for a judge that is slow or paid.
            progress: called with the number of questions just answered.
        """
        ...


def show(tokens: Sequence[str], marked: Sequence[int], task: str) -> str:
    """A window as the judge sees it; neighbouring marked tokens share one pair of marks."""
    # marks of the text's own would be taken for ours
    tokens = [token.replace(OPEN, "").replace(CLOSE, "") for token in tokens]
    if task == FUZZING:
        for place in marked:
            token = tokens[place]
            space = len(token) - len(token.lstrip())
            opens, closes = place - 1 not in marked, place + 1 not in marked
            tokens[place] = token[:space] + OPEN * opens + token[space:] + CLOSE * closes
    return " ".join("".join(tokens).split())
