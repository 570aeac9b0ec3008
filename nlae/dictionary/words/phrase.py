"""A description as text and back: `of, in or by after part near government, law and court`.

Three lists, each of which may be missing: what an entry fires on, what stands before it, and words nearby. The text
that is shown is the text that is read: `parse` undoes `render`, and takes any other text as a list of words. Several
descriptions of one entry are joined by a semicolon.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_PART = re.compile(r"(?:^| )(after|near) ")


class Phrase(NamedTuple):
    """Words by what they say: fired on, standing before, standing nearby."""

    peaks: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


def render(phrase: Phrase) -> str:
    """The phrase as text; empty where it has no words."""
    parts = [listed(phrase.peaks, "or")]
    parts += [f"after {listed(phrase.before, 'or')}"] if phrase.before else []
    parts += [f"near {listed(phrase.near, 'and')}"] if phrase.near else []
    return " ".join(part for part in parts if part)


def parse(text: str) -> list[Phrase]:
    """The phrases of a description, in order."""
    return [_parsed(part) for part in text.split("; ") if part.strip()]


def _parsed(text: str) -> Phrase:
    found: dict[str, tuple[str, ...]] = {}
    name, start = "", 0
    for match in _PART.finditer(text):
        if match[1] in found or match[1] == name:  # said before: no joint of ours
            continue
        found[name] = _words(text[start : match.start()])
        name, start = match[1], match.end()
    found[name] = _words(text[start:])
    return Phrase(found.get("", ()), found.get("after", ()), found.get("near", ()))


def listed(words: Sequence[str], joint: str) -> str:
    """Words with commas between them and a joint before the last."""
    return ", ".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} {joint} {words[-1]}"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r", | or | and ", text.strip()) if word)
