"""The question that is put to a language model, and what counts as an answer.

Shared by the `local` and the HTTP teachers. Judging whether an answer is *true* is evaluation's business.
"""

from __future__ import annotations

import re

_OPEN, _CLOSE = "<explanation>", "</explanation>"
MIN_LETTERS = 12  # of an explanation worth keeping


def instruction(instructions: str, prefix: str) -> str:
    """The user message: instructions, then the prefix between tags, then the form of the answer."""
    # tags of our own in the text would let a document end the quotation
    safe = re.sub(r"</?(text|explanation)>", "", prefix)
    return f"{instructions.strip()}\n\n<text>\n{safe}\n</text>\n\nWrite your answer between {_OPEN} and {_CLOSE}."


def clean_answer(answer: str, *, tags_required: bool = True, min_letters: int = MIN_LETTERS) -> str | None:
    """The explanation in an answer with its white space tidied, or None if there is none worth keeping.

    An answer cut off before the closing tag is no answer: it would teach the verbalizer never to close.
    """
    match = re.search(rf"{_OPEN}(.*?){_CLOSE}", answer, re.DOTALL)
    if match is None and (tags_required or _OPEN in answer):
        return None
    text = match.group(1) if match else answer
    lines = [" ".join(line.split()) for line in text.strip().split("\n")]
    text = "\n".join(line for line in lines if line)
    return text if sum(letter.isalpha() for letter in text) >= min_letters else None
