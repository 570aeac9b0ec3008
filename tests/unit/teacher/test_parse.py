"""What the composer puts into words comes back out of them, whatever the findings and whatever the form."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from findings import drawn
from nlae.teacher.compose import Findings, bullets, sentences, shorten
from nlae.teacher.parse import KINDS, claims_of, parse


@pytest.mark.parametrize("render", [sentences, bullets])
def test_what_is_put_into_words_comes_back_out(render: Any) -> None:
    seen: set[str] = set()
    for seed in range(1500):
        found = drawn(seed)
        if render is sentences and found.quote and found.ending is None and not found.next_items:
            continue  # the teacher always knows one of the two
        parsed = parse(render(found))
        assert parsed.claims == claims_of(found), render(found)
        assert not parsed.rest, render(found)
        seen |= parsed.claims.keys()
    assert seen == set(KINDS), "every kind was tried"


@pytest.mark.parametrize("render", [sentences, bullets])
def test_what_was_left_out_for_length_is_not_claimed(render: Any) -> None:
    for seed in range(100):
        found: Findings | None = drawn(seed)
        while found is not None:
            assert len(parse(render(found)).claims.get("topics", ())) == len(found.topics)
            found = shorten(found)


def test_by_hand() -> None:
    text = (
        "Dialogue about Anna, brother and station. The sentence mentions Anna and London. "
        "Inside quotes, after a noun like train or tram, it ends on the particle of aim akin to towards, "
        "probably before or, a comma or the."
    )
    assert parse(text).claims == {
        "register": ("dialogue",),
        "topics": ("anna", "brother", "station"),
        "local": ("anna", "london"),
        "inside": ("inside quotes",),
        "previous": ("a noun",),
        "near_before": ("train", "tram"),
        "ending": ("the particle of aim",),
        "near": ("towards",),
        "confidence": ("probably",),
        "next_items": ("or", "a comma", "the"),
    }
    assert parse("A comma makes a pause, perhaps before and.").claims["ending"] == ("a comma",)


def test_a_text_that_was_cut_short_is_read_as_far_as_it_goes() -> None:
    parsed = parse("Dialogue about Anna and brother. The sentence brings up station. It ends on a noun akin to ra")
    assert parsed.claims["local"] == ("station",)
    assert parsed.claims["near"] == ("ra",)
    assert parse("Dialogue about Anna. It ends on a noun; the last words are “the old harb").claims["quote"] == (
        "the old harb",
    )


def test_other_prose_claims_nothing() -> None:
    text = "The passage seems to be a long letter home, in which somebody complains. I think it ends soon."
    assert parse(text).claims == {}
    assert len(parse(text).rest) == 2
    assert parse("").claims == {}


def test_one_changed_word_is_another_claim() -> None:
    found = drawn(3)
    other = dataclasses.replace(found, register="biography", topics=("pollen", "bees"))
    assert parse(sentences(found)).claims["register"] != parse(sentences(other)).claims["register"]
    assert parse(sentences(other)).claims["topics"] == ("pollen", "bees")
