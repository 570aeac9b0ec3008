"""Takes a text of the `context` teacher apart into what it claims: `compose.py` read backwards.

A verbalizer learns to write such texts; taken apart, its claims can be compared with the teacher's of the same row, and
no judge is needed. Whatever is in another form is kept as not understood and claims nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nlae.teacher.compose import ANY_WORD, Findings, confidence_word, named_before

KINDS = (
    *("register", "topics", "local", "inside", "previous", "near_before", "ending", "near"),
    *("next_items", "confidence", "glued", "quote"),
)
"""What can be claimed, by the names that `Findings` gives it; `confidence` is the word that says how sure."""
Claims = dict[str, tuple[str, ...]]

_LISTS = {"topics": "and", "local": "and", "near_before": "or", "near": "or", "next_items": "or", "glued": "or"}
_NEXT = r"(?P<confidence>surely|probably|perhaps) before (?P<next_items>.+)|perhaps completed by (?P<glued>.+)"
_QUOTE = re.compile(r"(?:; the last words are|last words:) “(?P<quote>.*?)(?:”\.?|$)\s*$", re.DOTALL | re.IGNORECASE)
_REGISTER = r"(?P<register>[^\s,:]+(?: [^\s,:]+){0,3}?)"  # no kind of text takes more than four words
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        r"the sentence (?:mentions|brings up) (?P<local>.+)",
        r"it also touches on (?P<topics>.+)",
        r"lately: (?P<local>.+)",
        rf"(?:{_NEXT})",
        r"(?P<next_items>.+) (?P<confidence>surely|probably|perhaps) comes next",
        r"(?:(?P<inside>inside brackets|inside quotes), )?"
        r"(?:after (?P<previous>.+?)(?: like (?P<near_before>.+?))?, )?"
        r"(?:it (?:ends on|stops at|breaks off at|stands at) (?P<ending>.+?)(?: akin to (?P<near>.+?))?"
        r"|(?P<mark>[^,]+?) (?:closes it|closes a sentence|makes a pause))"
        rf"(?:, (?:{_NEXT}))?",
    )
)
_OPENING = re.compile(rf"{_REGISTER}(?:(?: about|:) (?P<topics>.+))?", re.IGNORECASE)
_BETWEEN = re.compile(r"(?<=\.)\s+|\n")


@dataclass(frozen=True)
class Parsed:
    """What a text claims.

    Attributes:
        claims: by kind, lower case and in the order of the text; a kind that is not claimed is not there.
        rest: sentences or bullets that are of no known form.
    """

    claims: Claims
    rest: tuple[str, ...]


def parse(text: str) -> Parsed:
    """The claims of a text, in sentences or bullets; a text that was cut short is read as far as it goes."""
    claims: Claims = {}
    quoted = _QUOTE.search(text)
    if quoted is not None:
        claims["quote"] = (quoted["quote"].lower(),)
        text = text[: quoted.start()]
    rest = []
    pieces = [piece.strip().removeprefix("- ").removesuffix(".") for piece in _BETWEEN.split(text)]
    for place, piece in enumerate(piece for piece in pieces if piece.strip(" -")):
        found = next((match for form in _FORMS if (match := form.fullmatch(piece))), None)
        if found is None and place == 0:
            found = _OPENING.fullmatch(piece)
        if found is None:
            rest.append(piece)
            continue
        for kind, said in found.groupdict().items():
            if said is not None:
                _add(claims, kind, said)
    return Parsed(claims, tuple(rest))


def claims_of(found: Findings) -> Claims:
    """What findings claim once they are put into words: what `parse` must make of those."""
    ending, previous = found.ending, named_before(found)
    claims: Claims = {
        "register": (found.register,),
        "topics": found.topics,
        "local": found.local,
        "near_before": found.near_before if previous else (),
        "next_items": found.next_items,
    }
    if found.quote:
        claims["quote"] = (found.quote,)
    if ending is not None:
        claims |= {"ending": (ending.kind,), "near": found.near if ending.family == "word" else ()}
        claims |= {"inside": (found.inside,) if found.inside else ()}
        claims |= {"previous": (previous,) if previous not in ("", ANY_WORD) else ()}
        if found.glued:
            claims |= {"glued": found.glued, "next_items": ()}
    if claims["next_items"]:
        claims["confidence"] = (confidence_word(found.confidence),)
    return {kind: tuple(item.lower() for item in items) for kind, items in claims.items() if items}


def _add(claims: Claims, kind: str, said: str) -> None:
    said = said.lower()
    if kind in _LISTS:
        claims[kind] = (*claims.get(kind, ()), *_items(said, _LISTS[kind]))
    elif not (kind == "previous" and said == ANY_WORD):
        claims["ending" if kind == "mark" else kind] = (said,)


def _items(said: str, last: str) -> list[str]:
    """`join` read backwards. A listed word may be `or` itself, so that only the last one between two words divides."""
    head, _, tail = said.rpartition(f" {last} ")
    return [*(head.split(", ") if head else ()), tail]
