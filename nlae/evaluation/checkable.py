"""Claims that can be checked without a judge: those of the `context` teacher's own form, taken apart again.

What that teacher says of a row is true of its text, and is not all of it: what it left out for length counts as false.
"""

from __future__ import annotations

from collections.abc import Mapping

from nlae.evaluation.record import EvaluationRecord
from nlae.teacher.parse import Parsed, parse
from nlae.teacher.words import stem

KINDS = {
    "register": "register",
    "topics": "topics",
    "sentence": "local",
    "ending": "ending",
    "akin": "near",
    "next": "next_items",
}
"""Names of the figures, and what `Findings` calls these claims."""
Claim = tuple[str, str]


def facts_of(record: EvaluationRecord) -> dict[int, Parsed]:
    """What the `context` teacher says of the main rows, by index; empty where the descriptions are not its."""
    if record.descriptions is None:
        return {}
    told = {
        i: parse(record.descriptions.text(number))
        for i, number in enumerate(record.rows.row.tolist())
        if record.main_N[i] and number in record.descriptions
    }
    facts = {i: parsed for i, parsed in told.items() if not parsed.rest and parsed.claims}
    return facts if 2 * len(facts) > len(told) else {}


def claims_in(parsed: Parsed, kinds: Mapping[str, str] = KINDS) -> set[Claim]:
    """Claims of these kinds, each with its kind; single words by their stems."""
    return {
        (name, item if " " in item else stem(item))
        for name, kind in kinds.items()
        for item in parsed.claims.get(kind, ())
    }
