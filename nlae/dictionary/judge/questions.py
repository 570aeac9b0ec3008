"""What a judge is asked: does the text contain what is described?

A judge sees words and a text, never an activation. Worked examples stand before the question, since small models read
the form of the answer off them; none of their words is from a corpus.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

YES, NO = "yes", "no"
_EXAMPLES = (
    ("the word “harbour”", "boats lay in the old harbour while the rain", YES),
    ("the word “harbour”", "he signed the letter and left for good", NO),
    ("names of animals", "the council voted for a budget on Monday", NO),
    ("names of animals", "a dog barked and ran off", YES),
)


class Question(NamedTuple):
    """One description, one text."""

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

    def odds(self, questions: Sequence[Question], cache: Path, progress: Callable[[int], None] | None = None) -> Tensor:
        """Log-odds of yes against no, of which only the order counts, float32 (questions,); NaN without an answer.

        Args:
            questions: what is asked.
            cache: file that keeps answers by content, for a judge that is slow or paid.
            progress: called with the number of questions just answered.
        """
        ...
