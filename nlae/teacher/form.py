"""What sort of text a prefix is (register) and how its current line and sentence are built, by surface cues.

Cues are read near the end of the prefix, where they say most about the activation. A classifier would need a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nlae.teacher.lexicon import word_set
from nlae.teacher.words import words

_WINDOW = 700
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*\s+|\n\s*\n")
_CODE = re.compile(
    r"^\s*(>>>|\.\.\.|def |class |import |from \w+ import|return\b|[\w.\[\]]+ = |@\w+|[{}]|#include|if .*:$|for .*:$)"
)
_DOCUMENTATION = word_set(
    "returns return argument arguments parameter parameters raises raised method function module attribute "
    "object instance default deprecated callable exception optional keyword expression expressions operator "
    "operators syntax string strings class classes statement literal type types bytes integer value values code "
    "python"
)
_PAST = word_set("was were had did said went came took made gave began became wrote won lost led")


@dataclass(frozen=True)
class Sentence:
    """The sentence that the prefix ends in."""

    words: tuple[str, ...]
    open_bracket: bool
    open_quote: bool


def current_sentence(text: str) -> Sentence:
    """The unfinished (or just finished) last sentence of `text`; a full stop at the very end still belongs to it."""
    tail = text[-_WINDOW:].rstrip()
    start = 0
    for match in _SENTENCE_END.finditer(tail):
        if match.end() < len(tail):
            start = match.end()
    last = tail[start:]
    brackets = sum(last.count(mark) for mark in "([{") - sum(last.count(mark) for mark in ")]}")
    curly = last.count("“") - last.count("”")
    return Sentence(tuple(words(last)), open_bracket=brackets > 0, open_quote=curly > 0 or last.count('"') % 2 == 1)


def where_inside(sentence: Sentence, said: str) -> str | None:
    """`inside brackets` or `inside quotes` if one is open in `sentence`, unless the words `said` tell so anyhow."""
    if sentence.open_bracket and "bracket" not in said:
        return "inside brackets"
    return "inside quotes" if sentence.open_quote and "quotation" not in said else None


def line_kind(text: str) -> str | None:
    """A noun phrase for the kind of the last non-blank line when it is no running prose, else None."""
    lines = [line for line in text[-_WINDOW:].split("\n") if line.strip()]
    if not lines:
        return None
    line = lines[-1]
    bare = line.strip()
    if bare.startswith(">>>"):
        return "interactive session"
    if _CODE.match(line) and len(lines) > 1:
        return "source code"
    if re.match(r"(=+ .*|#{1,6} \S.*)$", bare):
        return "heading"
    if re.match(r"([-*•+]|\(?\d{1,2}[.)])\s+\S", bare):
        return "list"
    if bare.count("|") > 1 or bare.count("\t") > 1:
        return "table"
    if re.match(r"[A-Z][\w ]{0,20}: \S", bare) or re.match(r"<\|?\w+\|?>", bare):
        return "labelled lines"
    return None


def register(text: str) -> str:
    """A noun phrase, lower case and without article, for the register of the last few hundred characters."""
    kind = line_kind(text)
    if kind is not None:
        return kind
    tail = text[-_WINDOW:]
    lines = [line for line in tail.split("\n") if line.strip()]
    if len(lines) > 3 and sum(bool(_CODE.match(line)) for line in lines) * 2 > len(lines):
        return "code with remarks"
    low = [word.lower() for word in words(tail)]
    n = max(len(low), 1)
    if sum(word in _DOCUMENTATION for word in low) / n > 0.06:
        return "technical reference"
    spoken = re.findall(r"[\"“][A-Z][^\"”]{12,}[,.!?][\"”]", tail)
    if len(spoken) >= 2:
        return "dialogue"
    if len(re.findall(r"\bI\b|\b[Mm][ey]\b", tail)) / n > 0.04:
        return "personal account"
    if sum(word in {"you", "your"} for word in low) / n > 0.03:
        return "advice"
    if len(re.findall(r"\b1[0-9]\d\d\b|\b20[0-2]\d\b", tail)) >= 3:
        return "dated history"
    if len(re.findall(r"\d+", tail)) / n > 0.08:
        return "figures and facts"
    past = sum(word in _PAST or (len(word) > 4 and word.endswith("ed")) for word in low) / n
    if sum(word in {"he", "she", "his", "her", "him"} for word in low) / n > 0.04:
        return "biography" if past > 0.06 else "story"
    if past > 0.09:
        return "retrospective narrative"
    names = sum(word[:1].isupper() for word in words(tail)) / n
    if names > 0.22:
        return "prose rich in capitals"
    if sum(word in {"is", "are", "has", "can", "may"} for word in low) / n > 0.05:
        return "present-tense explanation"
    return "narrative prose" if past > 0.05 else "descriptive prose"
