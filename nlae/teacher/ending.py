"""What kind of token a prefix ends on, in words that never repeat it.

Function words are named by what they do, content words by part of speech, field and near relatives, numbers and marks
by kind. Heuristics only: a wrong guess costs a little fidelity, a tagger would cost a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nlae.teacher.lexicon import FUNCTION_WORDS, SEMANTIC, word_set
from nlae.teacher.predictions import Prediction, glued_share
from nlae.teacher.words import is_key, words

MARKS: dict[str, str] = {
    ".": "a full stop",
    ",": "a comma",
    ";": "a semicolon",
    ":": "a colon",
    "!": "an exclamation mark",
    "?": "a question mark",
    "(": "an opening bracket",
    "[": "an opening square bracket",
    "{": "an opening brace",
    ")": "a closing bracket",
    "]": "a closing square bracket",
    "}": "a closing brace",
    '"': "a quotation mark",
    "…": "an ellipsis",
    "“": "an opening quotation mark",
    "”": "a closing quotation mark",
    "'": "an apostrophe",
    "’": "an apostrophe",
    "`": "a backtick",
    "-": "a hyphen",
    "–": "a dash",
    "—": "a dash",
    "/": "a slash",
    "\\": "a backslash",
    "=": "an equals sign",
    "<": "an opening angle bracket",
    ">": "a closing angle bracket",
    "_": "an underscore",
    "*": "an asterisk",
    "#": "a hash sign",
    "@": "an at sign",
    "%": "a percent sign",
    "$": "a dollar sign",
    "&": "an ampersand",
    "+": "a plus sign",
    "|": "a vertical bar",
}
_PAST_VERBS = word_set(
    "said went came took made gave found began became wrote won lost led held kept brought built left felt saw "
    "knew thought stood sent spent met ran grew rose fell drew drove broke chose wore sang sold told put set"
)
_SUFFIXES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ly",), "adverb"),
    (("ing",), "present participle"),
    (("ed",), "preterite verb"),
    (("tion", "sion", "ment", "ness", "ity", "ism", "ance", "ence", "ship", "hood", "cy", "ure"), "abstract noun"),
    (("ous", "ful", "ive", "able", "ible", "al", "ic", "less", "ish", "ary", "ant", "ent"), "adjective"),
    (("er", "or", "ist", "ian", "eer"), "agent noun"),
)
_ADJECTIVE_FIELDS = frozenset({"colour", "size", "age", "judging", "nationality", "ordinal"})
_NAME_FIELDS = frozenset({"month", "weekday", "country", "compass direction"})
_VERB_FIELDS = frozenset({"speech", "motion", "thought", "perception"})
_SUBJECTS = word_set("i you he she it we they who which that")
_BEFORE_VERB = word_set("to can could will would shall should may might must do does did not")


@dataclass(frozen=True)
class Ending:
    """What the last token of a prefix is.

    Attributes:
        kind: noun phrase with article.
        family: `word`, `fragment`, `number`, `comma`, `stop`, `mark` or `break`; decides the sentence.
        previous: noun phrase for the word before, or None.
        near: relatives in meaning of the last word.
        near_before: relatives in meaning of the word before.
        forbidden: the last words themselves, which no description may name.
    """

    kind: str
    family: str
    previous: str | None
    near: tuple[str, ...]
    near_before: tuple[str, ...]
    forbidden: tuple[str, ...]


def article(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return f"an {phrase}" if phrase[:1].lower() in "aeiou" and not phrase.startswith(("uni", "one")) else f"a {phrase}"


def part_of_speech(word: str, before: str | None) -> str:
    """A guess without article for a content word, given the lower-cased word before it."""
    low = word.lower()
    field = SEMANTIC.get(low)
    if field in _ADJECTIVE_FIELDS:
        return "adjective"
    if low in _PAST_VERBS:
        return "preterite verb"
    plural = len(low) > 3 and low.endswith("s") and not low.endswith(("ss", "us", "is"))
    if field is not None and field not in _VERB_FIELDS:  # `string` is no participle
        return "plural noun" if plural else "noun"
    for endings, name in _SUFFIXES:
        if len(low) > 4 and low.endswith(endings):
            return name
    if before in _BEFORE_VERB:
        return "bare verb"
    if plural:
        return "third-person verb" if before in _SUBJECTS else "plural noun"
    return "verb" if field in _VERB_FIELDS or before in _SUBJECTS else "noun"


def word_kind(word: str, before: str | None, *, sentence_start: bool = False) -> str:
    """A noun phrase with article for a whole word: its function, or its field and part of speech."""
    low = word.lower()
    if low in FUNCTION_WORDS:
        return FUNCTION_WORDS[low]
    if low == "s":
        return "a possessive mark"
    if "'" in word or "’" in word:
        return "a contraction" if not low.endswith(("'s", "’s")) else "a possessive form"
    field = SEMANTIC.get(low)
    if field in _NAME_FIELDS:
        return article(f"{field} name" if field != "compass direction" else field)
    if word.isupper() and len(word) > 1:
        return "an acronym"
    if word[:1].isupper() and field not in ("nationality", "counting") and not sentence_start:
        return article(f"capitalised {field} name" if field else "proper name")
    if len(word) == 1:
        return "a single letter"
    if not word.isascii() and not is_key(word):
        return "a foreign word"
    speech = part_of_speech(word, before)
    *order, head = speech.split()
    return article(" ".join([*order, *([field] if field else []), head]))


def _number_kind(digits: str, going_on: bool) -> str:
    if going_on:
        return "the first digits of a number"
    plain = digits.replace(",", "")
    if re.fullmatch(r"1\d{3}|20\d{2}", digits):
        century = {"20": "this century"}.get(digits[:2], f"the {int(digits[:2]) + 1}th century")
        return f"a year of {century}"
    if "." in plain.strip("."):
        return "a decimal number"
    return {1: "a one-digit number", 2: "a two-digit number", 3: "a three-digit number"}.get(
        len(plain), "a large number"
    )


def _previous(found: list[str]) -> str | None:
    """Kind of the word before the last of `found`, or None where there is none."""
    if len(found) < 2:
        return None
    return word_kind(found[-2], found[-3].lower() if len(found) > 2 else None)


def describe_ending(text: str, prediction: Prediction) -> Ending:
    """Classify the end of `text`, using the target's `prediction` to see whether a word or number is complete."""
    found = words(text[-240:])
    forbidden = tuple(found[-2:])
    if text.endswith("\n"):
        kind = "a blank line" if text.endswith("\n\n") else "a line break"
        return Ending(kind, "break", None, (), (), forbidden)
    bare = text.rstrip()
    if not bare:
        return Ending("white space", "break", None, (), (), forbidden)
    if "\n" in text[len(bare) :]:
        return Ending("the indentation of a new line", "mark", None, (), (), forbidden)
    last = bare[-1]
    if last.isdigit():
        digits = re.search(r"[\d.,]*\d$", bare)
        going_on = prediction.pieces[:1] != () and prediction.pieces[0][:1].isdigit()
        before = word_kind(found[-1], None) if found else None
        return Ending(
            _number_kind(digits.group() if digits else last, going_on),
            "number",
            before,
            (),
            prediction.before,
            forbidden,
        )
    if not last.isalpha() or not found:
        before = _previous([*found, ""]) if found else None
        family = "stop" if last in ".!?" else "comma" if last in ",;" else "mark"
        return Ending(MARKS.get(last, "an unusual symbol"), family, before, (), prediction.before, forbidden)
    return _word_ending(bare, found, forbidden, prediction)


def _word_ending(bare: str, found: list[str], forbidden: tuple[str, ...], prediction: Prediction) -> Ending:
    word = found[-1]
    previous = _previous(found)
    if glued_share(prediction) > 0.5:
        kind = "the start of a capitalised name" if word[:1].isupper() else "the start of a longer word"
        return Ending(kind, "fragment", previous, (), prediction.before, forbidden)
    opener = bare[: -len(word)].rstrip()
    start = not opener or opener[-1] in '.!?:“"' or bare[: -len(word)].endswith("\n")
    before = found[-2].lower() if len(found) > 1 and not start else None
    kind = word_kind(word, before, sentence_start=start)
    near = prediction.neighbours if is_key(word) else ()
    return Ending(kind, "word", None if start else previous, near, () if start else prediction.before, forbidden)
