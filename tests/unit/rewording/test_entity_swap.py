"""Names and numbers found, and exchanged for those of other texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlae.rewording import EntitySwap
from nlae.rewording.entity_swap import entities, swapped_entities


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A biography of Marie Curie in Paris.", ["Marie Curie", "Paris"]),
        ("The town is old. Next comes a list.", []),
        ("Names: London, then 1,204 and 3.5 in June, or May", ["London", "1,204", "3.5", "June"]),
        ('It ends on "The Hague", he said.', ["Hague"]),
        ("- Rivers of France\n- Lakes", ["France"]),
        ("born in Zürich and Ångström's home", ["Zürich", "Ångström's"]),
    ],
)
def test_names_and_numbers_are_found(text: str, found: list[str]) -> None:
    assert [text[start:end] for _, start, end in entities(text)] == found


def test_equal_entities_are_exchanged_alike_and_never_for_their_own() -> None:
    pools = {"name": ["Berlin", "Paris", "Rome"], "number": ["7", "8"]}
    for seed in range(20):
        text = swapped_entities("It is about Paris, and Paris in 7 parts", pools, seed)
        assert text in {f"It is about {name}, and {name} in 8 parts" for name in ("Berlin", "Rome")}
    assert swapped_entities("about Paris", {"name": ["Paris"]}, 0) is None


def test_entities_come_from_the_other_texts(tmp_path: Path) -> None:
    made = EntitySwap()(["seen in Paris", "seen in Rome", "no names"], [0, 1, 2], tmp_path)
    assert made.texts == ["seen in Rome", "seen in Paris", None]
    assert made.shares == {"swapped": pytest.approx(2 / 3)}
