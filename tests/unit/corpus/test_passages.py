"""Passages fit the budget and lose nothing; positions repeat and reach short contexts."""

import time

import numpy as np
import pytest

from nlae.corpus.base import Document
from nlae.corpus.passages import Cutter, RefusedError, draw_positions, special_prefix
from nlae.target import TinyTarget

TEXT = (
    "The river runs to the sea. It carries sand and silt! Does it stop? No.\n\nA delta forms where it slows down. " * 6
)


@pytest.fixture(scope="module")
def tokenizer():
    return TinyTarget().load_tokenizer()


def test_passages_fit_and_join_to_the_text(tokenizer):
    passages = Cutter(tokenizer, 40).cut(Document("d", TEXT, "w"))
    assert len(passages) > 3
    assert [p.id for p in passages] == [f"d#{k}" for k in range(len(passages))]
    assert all(len(p.ids) <= 40 and p.origin == "d" and p.source == "w" for p in passages)
    assert " ".join(" ".join(p.text for p in passages).split()) == " ".join(TEXT.split())
    assert all(p.text[-1] in ".!?" for p in passages)


def test_bos_stands_once_in_front_of_each_passage(tokenizer):
    bos = tokenizer.bos_token_id
    assert special_prefix(tokenizer) == [bos]
    for passage in Cutter(tokenizer, 40).cut(Document("d", TEXT, "w")):
        assert passage.ids[0] == bos
        assert passage.ids.count(bos) == 1
        assert passage.ids == tokenizer(passage.text)["input_ids"]


def test_short_document_keeps_its_id_and_a_long_sentence_loses_its_end(tokenizer):
    assert [p.id for p in Cutter(tokenizer, 40).cut(Document("d", "One sentence.", "w"))] == ["d"]
    (passage,) = Cutter(tokenizer, 16).cut(Document("d", "word " * 60, "w"))
    assert len(passage.ids) == 16
    assert Cutter(tokenizer, 16).cut(Document("d", " \n", "w")) == []


@pytest.mark.parametrize(
    "text", ["word " * 3000, "x" * 20_000, "日本語" * 3000, "東京は大きい。" * 300, "a" + " " * 20_000 + "b"]
)
def test_a_text_without_end_is_cut_into_passages_that_fit(tokenizer, text):
    passages = Cutter(tokenizer, 64).cut(Document("d", text, "w"))
    assert len(passages) > 20 or " " * 100 in text
    assert all(len(passage.ids) <= 64 for passage in passages)
    assert "".join("".join(passage.text.split()) for passage in passages) == "".join(text.split())


def test_megabytes_without_a_space_take_seconds(tokenizer):
    """Ten of them take five times as long: 14 s and 1.3 GB on one core."""
    text = "abcdefghij" * 200_000
    started = time.perf_counter()
    passages = Cutter(tokenizer, 128).cut(Document("d", text, "w"))
    chat = Cutter(tokenizer, 128).cut(Document("d", "", "w", [{"role": "user", "content": text}]))
    assert time.perf_counter() - started < 60
    assert sum(len(passage.text) for passage in passages) == len(text)
    assert len(chat[0].ids) == 128


def test_a_text_that_begins_with_the_start_token_has_it_once(tokenizer):
    plain = Cutter(tokenizer, 40).cut(Document("d", "One sentence here.", "w"))[0]
    begun = Cutter(tokenizer, 40).cut(Document("d", f"{tokenizer.bos_token}One sentence here.", "w"))[0]
    assert begun.ids == plain.ids
    assert begun.ids.count(tokenizer.bos_token_id) == 1


def test_the_name_of_a_special_token_is_that_token(tokenizer):
    """As the target reads it: people keep conversations that a template has rendered."""
    text = f"One sentence.{tokenizer.eos_token}Another one."
    (passage,) = Cutter(tokenizer, 40).cut(Document("d", text, "w"))
    assert passage.ids.count(tokenizer.eos_token_id) == 1
    assert passage.text == text


def test_a_template_that_refuses_says_so():
    tokenizer = TinyTarget().load_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system role here') }}"
    with pytest.raises(RefusedError, match="the chat template refuses these messages .no system role here"):
        Cutter(tokenizer, 40).cut(Document("d", "", "w", [{"role": "system", "content": "Be brief."}]))


def test_conversations_go_through_the_template_in_whole_turns(tokenizer):
    messages = [{"role": "system", "content": "Be kind."}]
    for turn in range(6):
        messages += [
            {"role": "user", "content": f"Question {turn}?"},
            {"role": "assistant", "content": f"Answer {turn}."},
        ]
    passages = Cutter(tokenizer, 90).cut(Document("c", "", "c", messages))
    assert len(passages) > 1
    assert all(len(p.ids) <= 90 and p.ids.count(tokenizer.bos_token_id) == 1 for p in passages)
    joined = " ".join(p.text for p in passages)
    assert all(f"Question {turn}" in joined for turn in range(6))
    assert all("Question" in p.text for p in passages)
    plain = TinyTarget(chat=False).load_tokenizer()
    (passage, *_) = Cutter(plain, 400).cut(Document("c", "", "c", messages))
    assert passage.text.startswith("system: Be kind.\nuser: Question 0?")


def draw(identity="d", n=100, **settings):
    return draw_positions(identity, n, **{"count": 4, "first": 1, "short_share": 0.2, "seed": 0, **settings})


def test_positions_depend_on_document_and_seed_only():
    assert draw() == draw()
    assert draw() != draw("e")
    assert draw() != draw(seed=1)


def test_positions_are_distinct_ordered_and_in_range():
    for n in (1, 2, 3, 20, 100):
        for seed in range(20):
            positions = draw(n=n, seed=seed)
            assert positions == sorted(set(positions))
            assert len(positions) == min(4, n - 1)
            assert all(1 <= position < n for position in positions)
    assert draw(n=5, first=5) == []


def test_short_contexts_are_common():
    positions = np.array([p for k in range(500) for p in draw(str(k), 512)])
    assert 0.2 < (positions < 32).mean() < 0.32
    uniform = np.array([p for k in range(500) for p in draw(str(k), 512, short_share=0.0)])
    assert (uniform < 32).mean() < 0.1
