"""How a judge is asked. Two tasks, one question per window.

Detection: does the text contain what is described? Fuzzing: are the marked words the ones that are described? Worked
examples stand before the question, because small models read the form of the answer off them; none of their words is
from a corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlae.dictionary.judge.protocol import Question
from nlae.dictionary.judge.settings import DETECTION, FUZZING
from nlae.dictionary.judge.windows import Trial

OPTIONS = ("yes", "no")
NEUTRAL = "something that may stand in any text"
OPEN, CLOSE = "«", "»"

_ASKED = {
    DETECTION: "Does the text contain what is described? Answer yes or no.",
    FUZZING: f"Are the words between {OPEN} and {CLOSE} what is described? Answer yes or no.",
}
_EXAMPLES = (
    ("the word “harbour”", "boats lay in the old", "harbour", " while the rain", True),
    ("the word “harbour”", "he signed the", "letter", " and left for good", False),
    ("names of animals", "the council voted for a", "budget", " on Monday", False),
    ("names of animals", "a", "dog", " barked and ran off", True),
)


def question(description: str, text: str, task: str) -> Question:
    """The question about one text.

    Args:
        description: what the entry is said to stand for.
        text: a window, its tokens marked if `task` is fuzzing.
        task: one of `settings.TASKS`.
    """
    shots = []
    for said, before, word, after, right in _EXAMPLES:
        shown = f"{before} {OPEN}{word}{CLOSE}{after}" if task == FUZZING else f"{before} {word}{after}"
        shots.append((_ask(said, shown, task), OPTIONS[0] if right else OPTIONS[1]))
    return Question(_ask(description, text, task), tuple(shots), description, text)


def show(tokens: Sequence[str], trial: Trial, task: str) -> str:
    """The text of a window as the judge sees it; neighbouring marked tokens share one pair of marks."""
    # marks of the text's own would be taken for ours
    tokens = [token.replace(OPEN, "").replace(CLOSE, "") for token in tokens]
    if task == DETECTION:
        return " ".join("".join(tokens).split())
    marked = set(trial.marked)
    text = ""
    for place, token in enumerate(tokens):
        if place in marked and place - 1 not in marked:
            space = len(token) - len(token.lstrip())
            token = token[:space] + OPEN + token[space:]
        if place in marked and place + 1 not in marked:
            token += CLOSE
        text += token
    return " ".join(text.split())


def _ask(description: str, text: str, task: str) -> str:
    return f"Description: {' '.join(description.split())}\nText: {text}\n{_ASKED[task]}"
