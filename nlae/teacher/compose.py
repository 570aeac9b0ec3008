"""Puts the findings about a prefix into sentences or bullets: always in the same order, the most local last.

Order: register and topics, words of the current sentence, the word before, the kind of ending, the likely next words.
A small reader weighs what stands last most, so the pieces that tell most about the next token stand there. The verbs
follow the findings (how sure the target is, what the prefix ends on) instead of being drawn at random: variety that
carries information costs the verbalizer nothing. `parse.py` takes the texts apart again: change the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nlae.teacher.ending import Ending
from nlae.teacher.lexicon import word_set

TEMPLATE_WORDS = word_set(
    "sentence about brings mentions touches after before inside like akin word lately "
    "closes makes pause stops breaks stands ends surely probably perhaps completed comes"
)
"""What the sentences are built of, so that no key word repeats one."""
ANY_WORD = "a word"


@dataclass(frozen=True)
class Findings:
    """All that is known about one prefix, each list with the most important first (`local` in reading order)."""

    register: str
    topics: tuple[str, ...]
    local: tuple[str, ...]
    inside: str | None
    ending: Ending | None
    near: tuple[str, ...]
    near_before: tuple[str, ...]
    next_items: tuple[str, ...]
    confidence: float
    quote: str | None = None
    glued: tuple[str, ...] = ()
    rich: bool = False


def join(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _opening(found: Findings) -> str:
    if not found.topics:
        return f"{_capital(found.register)}."
    main, more = (found.topics[:4], found.topics[4:]) if found.rich else (found.topics, ())
    also = f" It also touches on {join(more)}." if more else ""
    return f"{_capital(found.register)} about {join(main)}.{also}"


def named_before(found: Findings) -> str:
    """What the word before is called; empty where nothing is said of it."""
    ending = found.ending
    if ending is None or not ending.previous:
        return ""
    if any(word in ending.kind.split() for word in ending.previous.split() if len(word) > 3):
        # one thing is not called by one name twice
        return ANY_WORD if found.near_before and "word" not in ending.kind else ""
    return ending.previous


def _where(found: Findings) -> str:
    """The clause that leads up to the ending, e.g. `After an adjective`."""
    place = f"{found.inside}, " if found.inside else ""
    previous = named_before(found)
    akin = f" like {join(found.near_before, 'or')}" if found.near_before else ""
    return f"{place}after {previous}{akin}, " if previous else place


def _stop(found: Findings) -> str:
    """The clause about the kind of token the prefix ends on."""
    ending = found.ending
    if ending is None:
        return ""
    near = f" akin to {join(found.near, 'or')}" if found.near else ""
    if ending.family == "stop":
        return f"{ending.kind} closes {'it' if found.local else 'a sentence'}"
    if ending.family == "comma":
        return f"{ending.kind} makes a pause"
    if ending.family == "break":
        return f"it stops at {ending.kind}"
    if ending.family == "fragment":
        return f"it breaks off at {ending.kind}"
    if ending.family in ("mark", "number"):
        return f"it stands at {ending.kind}"
    return f"it ends on {ending.kind}{near}"


def confidence_word(probability: float) -> str:
    """How a likely continuation is introduced."""
    return "surely" if probability > 0.6 else "probably" if probability > 0.2 else "perhaps"


def _expectation(found: Findings) -> str:
    """The clause about what the target expects, worded by how sure it is."""
    if found.glued and found.ending is not None:
        return f"perhaps completed by {join(found.glued, 'or')}"
    if not found.next_items:
        return ""
    verb = confidence_word(found.confidence)
    items = join(found.next_items, "or")
    if found.ending is None:
        return f"{items} {verb} comes next"
    return f"{verb} before {items}"


def sentences(found: Findings) -> str:
    """One to three sentences."""
    parts = [_opening(found)]
    if found.local:
        verb = "mentions" if all(word[:1].isupper() for word in found.local) else "brings up"
        parts.append(f"The sentence {verb} {join(found.local)}.")
    stop, expectation = _stop(found), _expectation(found)
    if stop:
        clause = _where(found) + stop
        parts.append(_capital(f"{clause}, {expectation}." if expectation else f"{clause}."))
    elif expectation:
        parts.append(_capital(f"{expectation}."))
    if found.quote:
        parts[-1:] = [f"{parts[-1][:-1]}; the last words are “{found.quote}”."]
    return " ".join(parts)


def bullets(found: Findings) -> str:
    """Up to five short lines, one finding each."""
    lines = [f"{found.register}: {join(found.topics)}" if found.topics else found.register]
    if found.local:
        lines.append(f"lately: {join(found.local)}")
    stop = _stop(found)
    if stop:
        lines.append(_where(found) + stop)
    if _expectation(found):
        lines.append(_expectation(found))
    if found.quote:
        lines.append(f"last words: “{found.quote}”")
    return "\n".join(f"- {line}" for line in lines)


def shorten(found: Findings) -> Findings | None:
    """`found` with the least telling piece left out, or None when nothing more can go."""
    if len(found.topics) > (6 if found.rich else 3):
        return replace(found, topics=found.topics[:-1])
    if len(found.local) > 2:
        return replace(found, local=found.local[1:])
    if len(found.next_items) > 3:
        return replace(found, next_items=found.next_items[:-1])
    if len(found.near) > 1:
        return replace(found, near=found.near[:-1])
    if len(found.topics) > 2:
        return replace(found, topics=found.topics[:-1])
    if len(found.near_before) > 1:
        return replace(found, near_before=found.near_before[:-1])
    if len(found.local) > 1:
        return replace(found, local=found.local[1:])
    if found.ending is not None and found.ending.previous and not found.near_before:
        return replace(found, ending=replace(found.ending, previous=None))
    for name in ("next_items", "near", "topics"):
        if len(getattr(found, name)) > 1:
            return replace(found, **{name: getattr(found, name)[:-1]})
    return _without_a_piece(found)


def _without_a_piece(found: Findings) -> Findings | None:
    """`found` without a whole piece that a quote makes dispensable, or None when nothing more can go."""
    if found.quote is None:
        return None
    if found.local:
        return replace(found, local=())
    if found.next_items:
        return replace(found, next_items=())
    if found.ending is not None:
        return replace(found, ending=None)
    return None
