"""Descriptions of entries by a teacher: the usual auto-interpretation prompt, asked through the teachers' clients.

A teacher sees exemplars with their peak tokens marked, never an activation value, and what it says is a candidate like
any other: it is chosen where it predicts better. Left out: a second question after a first answer, and counterexamples.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from nlae.errors import NlaeError
from nlae.model.prompt import Prompt
from nlae.teacher.base import Material, Teacher, TeacherContext
from nlae.teacher.describe import ask_cached
from nlae.teacher.words import DocumentFrequencies

MOST, BEFORE, AFTER = 16, 200, 80  # exemplars shown, and letters around a peak: a longer question would be clipped
OPEN, CLOSE = "«", "»"
INSTRUCTIONS = f"""Below are numbered excerpts from texts. In each of them one neuron of a language model is most
active on the words between {OPEN} and {CLOSE}. It has read what stands before them, not what follows.
Find what these places have in common: the marked word, a kind of word, a topic, or a setting in which it stands.
Say what the neuron stands for in one plain phrase of at most 20 tokens, as specific as the excerpts allow, such as:
years of wars and battles; the word "like" before a comparison. No quotation of an excerpt, no list of excerpts, no
"this neuron" or "words about" in front, no full stop."""
_QUOTES = "\"'“”„‘’«»`"
_FRAME = re.compile(
    r"(?:(?:this|the) (?:neuron|unit|feature)|it) (?:fires|activates|responds|is active|stands|detects)\b"
    r"(?: (?:mostly|strongly|on|to|for|when|in|at))* ",
    re.IGNORECASE,
)
_DANGLING = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"}


class Exemplar(NamedTuple):
    """A place at which an entry fires strongly: the text before it, the peak token or word, the text behind it."""

    before: str
    peak: str
    after: str


def taught(
    teacher: Teacher, exemplars: Sequence[Sequence[Exemplar]], cache: Path, max_tokens: int, count: Callable[[str], int]
) -> list[str | None]:
    """A description of each entry by a teacher; None where it has no exemplars or the teacher gave up on it.

    The cost is told and agreed to before anything is asked. Exemplars come strongest first; equal lists are asked about
    once, and never what the file `cache` knows. Answers are cut to `max_tokens`, which `count` counts, at whole words.

    Raises:
        NlaeError: the teacher is no language model, nobody agreed to pay, access refused, or too many failures.
    """
    if teacher.name == "context":
        raise NlaeError(
            "dictionary.teacher: the context teacher cannot read exemplars; set teacher=openai, anthropic or local"
        )
    prompt = Prompt("dictionary", "{slot}", "{explanation}.", INSTRUCTIONS)
    teacher.prepare(Material(prompt, _no_target, lambda: DocumentFrequencies(0, {}, {}), min_letters=1))
    contexts = [TeacherContext(row, row, excerpts(own), input_ids=[]) for row, own in enumerate(exemplars) if len(own)]
    answers = ask_cached(teacher, contexts, INSTRUCTIONS, cache, label="entries described")
    return [phrase(answers.get(row, ""), max_tokens, count) or None for row in range(len(exemplars))]


def excerpts(exemplars: Sequence[Exemplar]) -> str:
    """A numbered list, one exemplar a line, its peak marked."""
    lines = []
    for number, exemplar in enumerate(exemplars[:MOST], 1):
        # marks of the text's own would be taken for ours
        before, peak, after = (re.sub(f"[{OPEN}{CLOSE}]", "", text) for text in exemplar)
        space = peak[: len(peak) - len(peak.lstrip())]
        marked = f"{before[-BEFORE:]}{space}{OPEN}{peak.strip() or '↵'}{CLOSE}{after[:AFTER]}"
        lines.append(f"{number}. {' '.join(marked.split())}")
    return "\n".join(lines)


def phrase(answer: str, max_tokens: int, count: Callable[[str], int]) -> str:
    """An answer as one line without frame, quotation marks around it and full stop, cut after a whole word."""
    text = " ".join(answer.split())
    frame = _FRAME.match(text)
    text = _unquoted(text[frame.end() if frame else 0 :].rstrip(" .;,:"))
    if count(text) <= max_tokens:
        return text
    words = text.split()
    while words and (count(" ".join(words)) > max_tokens or words[-1].lower() in _DANGLING):
        words.pop()
    return " ".join(words).rstrip(" .;,:")


def _unquoted(text: str) -> str:
    """`text` without a pair of quotation marks around all of it."""
    inner = text[1:-1]
    around = len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES
    return inner.strip(" .") if around and not any(mark in inner for mark in _QUOTES if mark not in "'’") else text


def _no_target() -> NoReturn:
    raise AssertionError("a teacher of exemplars needs no target")
