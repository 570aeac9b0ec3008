"""Paraphrases by a model: kept, drawn again, left out and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.rewording import Paraphrase
from nlae.rewording.paraphrase import FILE, repeated

CLOSE = "the river runs past the old town and down to the sea"
FREE = "water flows by ancient houses towards an ocean"


class Writer:
    """Answers what it was given for a text, draft by draft."""

    name, paid = "writer", False

    def __init__(self, *drafts: dict[str, str | None]) -> None:
        self.drafts, self.asked, self.instructions = drafts, [], []

    def identity(self) -> dict[str, Any]:
        return {"teacher": "writer"}

    def prepare(self, material: Any) -> None:
        self.instructions.append(material.prompt.text)

    def describe(self, contexts: Any, on_result: Any) -> None:
        self.asked.append([context.text for context in contexts])
        for context in contexts:
            on_result(context.row, self.drafts[len(self.asked) - 1].get(context.text))


class Topics:
    """Two topics: anything with a bank in it, and the rest."""

    def embed(self, texts: list[str]) -> Tensor:
        return torch.stack([torch.tensor([1.0, 0.0] if "bank" in text else [0.0, 1.0]) for text in texts])


def test_repetition_is_a_share_of_word_4_grams() -> None:
    assert repeated(CLOSE, CLOSE) == 1.0
    assert repeated(FREE, CLOSE) == 0.0
    # eight words, five 4-grams, of which "the river runs past" and "river runs past the" are the text's
    assert repeated("The river, runs past the hills and farms", CLOSE) == pytest.approx(2 / 5)
    assert repeated("old", CLOSE) == 1.0
    assert repeated("", CLOSE) == 0.0


def test_a_copy_is_drawn_again_and_what_stays_one_is_left_out(tmp_path: Path) -> None:
    first = {"a": CLOSE.replace("sea", "ocean")} | {CLOSE: CLOSE + " again", FREE: CLOSE, "lost": None}
    second = {CLOSE: FREE, "lost": "hardly a word"}
    writer = Writer(first, second)
    made = Paraphrase(writer, drafts=2)([CLOSE, FREE, CLOSE, "", "lost"], [0] * 5, tmp_path)
    assert writer.asked == [[CLOSE, FREE, "lost"], [CLOSE, "lost"]]
    assert writer.instructions[0] != writer.instructions[1]
    assert made.texts == [FREE, CLOSE, FREE, None, "hardly a word"]
    assert made.shares == {"copied": 0.0, "far": 0.0, "unanswered": 0.0, "overlap": 0.0}
    once = Paraphrase(Writer(first), drafts=1)([CLOSE, FREE, "lost"], [0] * 3, tmp_path / "once")
    assert once.texts == [None, CLOSE, None]
    assert once.shares["copied"] == once.shares["unanswered"] == pytest.approx(1 / 3)


def test_a_draft_that_has_lost_the_meaning_is_none(tmp_path: Path) -> None:
    writer = Writer({CLOSE: "a bank lends money to people", FREE: CLOSE}, {CLOSE: "ships pass a few grey houses"})
    made = Paraphrase(writer, Topics())([CLOSE, FREE], [0, 0], tmp_path)
    assert made.texts == ["ships pass a few grey houses", CLOSE]
    assert made.shares["cosine"] == pytest.approx(1.0)
    one = Paraphrase(Writer({CLOSE: "a bank lends money"}), Topics(), drafts=1)([CLOSE], [0], tmp_path / "one")
    assert one.texts == [None]
    assert one.shares == {"copied": 0.0, "far": 1.0, "unanswered": 0.0}


def test_answers_are_kept_where_it_is_said(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    for folder in ("one", "two"):
        writer = Writer({CLOSE: FREE})
        made = Paraphrase(writer, cache_dir=str(shared))([CLOSE], [0], tmp_path / folder)
        assert made.texts == [FREE]
    assert writer.asked == [], "the second evaluation asks nothing"
    assert (shared / FILE).is_file()


def test_drafts_without_an_instruction_are_refused() -> None:
    with pytest.raises(NlaeError, match="drafts=9"):
        Paraphrase(Writer(), drafts=9)
