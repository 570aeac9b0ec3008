"""Findings of any shape, as the `context` teacher puts them into words."""

from __future__ import annotations

import random

from nlae.teacher.compose import Findings
from nlae.teacher.ending import MARKS, Ending
from nlae.teacher.lexicon import FUNCTION_WORDS

WORDS = ["vessel", "harbour", "Copenhagen", "pollen", "method", "orchard", "Anna", "fog", "mutable", "andor", "orlando"]
NEXT = ["the", "a", "or", "and", "of", "a comma", "a full stop", "a line break", "boats"]
KIND_OF = {
    "word": ["a plural noun", "an adjective", "a capitalised proper name", *FUNCTION_WORDS.values()],
    "fragment": ["the start of a longer word"],
    "number": ["a year of the 19th century", "a one-digit number"],
    "comma": ["a comma"],
    "stop": ["a full stop"],
    "mark": sorted(set(MARKS.values())),
    "break": ["a line break", "white space"],
}
REGISTERS = ["dialogue", "prose rich in capitals", "present-tense explanation", "code with remarks"]


def drawn(seed: int) -> Findings:
    """Findings of any shape that the teacher could make, and of some that it could not."""
    rng = random.Random(seed)

    def some(pool: list[str], most: int, least: int = 0) -> tuple[str, ...]:
        return tuple(rng.sample(pool, rng.randint(least, most)))

    family = rng.choice(sorted(KIND_OF))
    previous = rng.choice([None, "a noun", "the definite article", "a plural noun", "a preterite verb"])
    ending = Ending(rng.choice(KIND_OF[family]), family, previous, (), (), ())
    return Findings(
        register=rng.choice(REGISTERS),
        topics=some(WORDS, 8),
        local=some(WORDS, 5),
        inside=rng.choice([None, None, "inside brackets", "inside quotes"]),
        ending=rng.choice([ending, ending, ending, None]),
        near=some(WORDS, 3) if family == "word" else (),
        near_before=some(WORDS, 3),
        next_items=some(NEXT, 6),
        confidence=rng.choice([0.05, 0.4, 0.9]),
        quote=rng.choice([None, None, "he said. It was “so"]),
        glued=some(["ing", "tion"], 2, 1) if family == "fragment" and rng.random() < 0.5 else (),
        rich=rng.random() < 0.5,
    )
