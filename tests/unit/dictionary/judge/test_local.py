"""Mechanics of the judge in this process, on tiny random models: what is read, not how well."""

from typing import Any

import pytest

from nlae.dictionary.judge.detection import Question
from nlae.dictionary.judge.local import LocalJudge
from nlae.errors import NlaeError
from nlae.target import TinyTarget


def test_odds_are_those_of_the_next_token_in_the_chat(tmp_path):
    judge = LocalJudge(model=TinyTarget(layers=2, width=32), batch_size=3)
    asked = [Question("names of places", text) for text in ("in Rome", "a hill", "in Rome", "at sea")]
    odds = judge.odds(asked, tmp_path)
    assert odds[0] == pytest.approx(float(odds[2]), abs=1e-5)
    tokenizer: Any = judge.target.tokenizer
    ids = tokenizer.apply_chat_template(asked[1].turns(), add_generation_prompt=True, return_dict=False)
    logits_V = judge.target.next_token_logits([ids])[0].double()
    mass = []
    for option in ("yes", "no"):
        forms = [f"{space}{form}" for space in ("", " ") for form in (option, option.capitalize())]
        firsts = {tokenizer.encode(form, add_special_tokens=False)[0] for form in forms}
        mass.append(sum(logits_V[token].exp() for token in firsts))
    assert float(odds[1]) == pytest.approx(float((mass[0] / mass[1]).log()), abs=1e-4)


def test_without_a_chat_template_the_user_is_told_what_to_choose(tmp_path):
    with pytest.raises(NlaeError, match="no chat template; choose an instruct model"):
        LocalJudge(model=TinyTarget(layers=2, width=32, chat=False)).odds([Question("names", "in Rome")], tmp_path)


def test_a_batch_holds_something():
    with pytest.raises(NlaeError, match="batch_size=0"):
        LocalJudge(model=TinyTarget(layers=2, width=32), batch_size=0)
