"""Mechanics of judges in this process, on tiny random models of every family: what is read, not how well."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from nlae.corpus import Corpus
from nlae.dictionary.judge import LikelihoodJudge, LocalJudge, Question, read_windows
from nlae.dictionary.judge.likelihood import _plain
from nlae.dictionary.judge.prompts import question
from nlae.dictionary.judge.shared_prefix import common_length, next_token_logits
from nlae.dictionary.judge.windows import stratified_sample
from nlae.errors import NlaeError
from nlae.target import Site, Target, TinyTarget, capture
from nlae.target.tiny import FAMILIES


def rows(target: Target, tails: Sequence[str], head: str = "Once there was a harbour full of boats and ") -> Any:
    return [target.tokenizer.encode(head + tail, add_special_tokens=False) for tail in tails]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_shared_prefix_changes_no_logit(family):
    target = TinyTarget(family=family, layers=2, width=32, vocabulary=400).load()
    given = rows(target, ["a", "many more people", "nothing", "a"])
    assert common_length(given) >= 8  # as long as the sliding windows of the tiny models that have one
    alone = torch.cat([target.next_token_logits([row]) for row in given])
    assert torch.allclose(next_token_logits(target, given), alone, atol=2e-4)


@pytest.mark.parametrize(
    ("given", "shared"), [([[1, 2, 3], [1, 2, 4]], 2), ([[1], [1]], 1), ([[1], [2]], 0), ([[1, 2], [1, 2, 3]], 2)]
)
def test_common_length(given, shared):
    assert common_length(given) == shared


def test_odds_are_those_of_the_next_token_in_the_chat():
    judge = LocalJudge(model=TinyTarget(layers=2, width=32), batch_size=3)
    asked = [question("names of places", text, "detection") for text in ("in Rome", "a hill", "in Rome", "at sea")]
    belief = judge.choose(asked, ("yes", "no"))
    assert torch.allclose(belief.sum(1), torch.ones(4))
    assert torch.equal(belief[0], belief[2])
    tokenizer: Any = judge.target.tokenizer
    ids = tokenizer.apply_chat_template(asked[1].turns(), add_generation_prompt=True, return_dict=False)
    logits_V = judge.target.next_token_logits([ids])[0].double()
    mass = []
    for option in ("yes", "no"):
        forms = [f"{space}{form}" for space in ("", " ") for form in (option, option.capitalize())]
        firsts = {tokenizer.encode(form, add_special_tokens=False)[0] for form in forms}
        mass.append(sum(logits_V[token].exp() for token in firsts))
    assert float(belief[1, 0]) == pytest.approx(float(mass[0] / (mass[0] + mass[1])), abs=1e-5)


def test_options_must_begin_differently():
    judge = LocalJudge(model=TinyTarget(layers=2, width=32))
    with pytest.raises(NlaeError, match="begin with the same token"):
        judge.choose([Question("Is it so?")], ("yes", "yes"))


def test_without_a_chat_template_the_user_is_told_what_to_set():
    with pytest.raises(NlaeError, match=r"no chat template.*chat=false"):
        LocalJudge(model=TinyTarget(layers=2, width=32, chat=False)).choose([Question("So?")], ("yes", "no"))
    judge = LocalJudge(model=TinyTarget(layers=2, width=32, chat=False), chat=False)
    assert judge.choose([Question("So?")], ("yes", "no")).shape == (1, 2)


@pytest.mark.parametrize("told_half", [False, True])
def test_likelihood_is_that_of_the_description_beyond_other_texts(told_half):
    judge = LikelihoodJudge(model=TinyTarget(layers=2, width=32), others=2, batch_size=3, told_half=told_half)
    texts = ["boats in the harbour", "a hill", "rain over the sea", "he signed it"]
    said = ["the word “harbour”", "names of animals"]
    belief = judge.choose([question(d, t, "detection") for d in said for t in texts], ("yes", "no"))
    odds = (belief[:, 0].log() - belief[:, 1].log()).view(2, 4)
    tokenizer: Any = judge.target.tokenizer

    def log_likelihood(text: str, description: str) -> float:
        before = tokenizer.encode(f"Text: {text}\nText: {text}\nThe text contains")
        total = 0.0
        for token in tokenizer.encode(f" {description}".replace("“", '" ').replace("”", '"'), add_special_tokens=False):
            total += float(judge.target.next_token_logits([before]).log_softmax(-1)[0, token])
            before.append(token)
        return total

    for row, description in enumerate(said):
        alone = torch.tensor([log_likelihood(text, description) for text in texts])
        shifts = alone - odds[row]
        assert torch.allclose(shifts, shifts[0].expand(4), atol=1e-3)  # one shift per description,
        pairs = {round(float((alone[a] + alone[b]) / 2), 3) for a in range(4) for b in range(a)}
        if told_half:  # of the texts it is asked about, none beside them
            assert float(shifts[0]) == pytest.approx(float(alone.mean()), abs=2e-3)
        else:  # of two texts
            assert any(abs(float(shifts[0]) - pair) < 2e-3 for pair in pairs)


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("the word “harbour”", 'the word " harbour"'),
        ('"sea" or "ice" as in "the old sea"', '" sea" or " ice" as in " the old sea"'),
        ("; the last words are “of the world’s”.", '; the last words are " of the world\'s".'),
        ('quotes " alone, 5"x7"', 'quotes " alone, 5"x7"'),
    ],
)
def test_quotation_marks_are_spelled_alike(said, plain):
    assert _plain(said) == plain


def test_texts_are_shown_twice_and_marked_words_by_themselves():
    judge = LikelihoodJudge(model=TinyTarget(layers=2, width=32))
    assert judge._prompt("the «old harbour» and the «sea »") == (
        "Text: the «old harbour» and the «sea »\nMarked: old harbour, sea\nThe marked words are"
    )
    assert judge._prompt("the sea") == "Text: the sea\nText: the sea\nThe text contains"


def test_windows_hold_what_the_model_does_there(invented: Corpus, scanned: Any):
    corpus, target = invented, scanned.target
    passages = [corpus.input_ids(document) for document in range(12)]
    windows = read_windows(
        target, passages, [corpus.source[d] for d in range(12)], {0: [5, 2], 1: [7]}, count=20, length=10, skip=4
    )
    assert len(windows) == 20
    again = read_windows(
        target, passages, corpus.source[:12], {0: [5, 2], 1: [7]}, count=20, length=10, skip=4, batch_tokens=64
    )
    assert torch.equal(again.token_WT, windows.token_WT)
    for number in (0, 7, 19):
        ids = windows.token_WT[number].tolist()
        passage, start = next(
            (p, s) for p, row in enumerate(passages) for s in range(4, len(row)) if list(row[s : s + 10]) == ids
        )
        assert windows.tokens[number] == tuple(target.tokenizer.decode([token]) for token in ids)
        for layer, neuron, sign in ((0, 5, 1), (0, 2, -1), (1, 7, 1)):
            with capture(target.model, Site("mlp_neurons", layer)) as seen, torch.no_grad():
                target.model(input_ids=torch.tensor([passages[passage]]))
            wanted_T = sign * seen.value[0, start : start + 10, neuron]
            found = [
                windows.of(layer, neuron, sign)[other] for other in range(20) if windows.token_WT[other].tolist() == ids
            ]
            assert any(torch.allclose(row, wanted_T, atol=1e-4) for row in found)


def test_a_stratified_sample_covers_layers_and_frequencies():
    layer = [row // 100 for row in range(300)]
    frequency = [(row * 37 % 100) / 100 for row in range(300)]
    chosen = stratified_sample(layer, frequency, 60, seed=1)
    assert chosen == sorted(set(chosen))
    assert [sum(layer[row] == number for row in chosen) for number in range(3)] == [20, 20, 20]
    quarters = [sum(int(frequency[row] * 4) == quarter for row in chosen) for quarter in range(4)]
    assert quarters == [15] * 4
    assert stratified_sample(layer, frequency, 60, seed=2) != chosen
    assert stratified_sample(layer, frequency, 999, seed=1) == list(range(300))
