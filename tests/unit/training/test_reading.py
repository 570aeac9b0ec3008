"""Reward and regression see the reworded text, the policy and the terms the text as written, validation the whole."""

from __future__ import annotations

import pytest
import torch

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.rewording import EntitySwap, NoQuotes, PerText, RandomTruncation, WordShuffle
from nlae.training import Reading

TEXT = "one two three four five six seven eight"


class Upper(PerText):
    """A rewording that the tiny reader tells from the text."""

    def one(self, text: str, seed: int) -> str:
        return f"{text} river" if text else text


class Meaning(PerText):
    """A rewording that keeps the meaning."""

    headline = True

    def one(self, text: str, seed: int) -> str:
        return text


def test_a_group_is_cut_at_one_length_and_the_next_at_another() -> None:
    reading = Reading(RandomTruncation(1, 8))
    rows = [row for row in range(30) for _ in range(4)]
    cut = [len(text.split()) for text in reading([TEXT] * len(rows), rows, seed=0, update=3)]
    groups = [cut[start : start + 4] for start in range(0, len(cut), 4)]
    assert all(len(set(group)) == 1 for group in groups)
    assert len({group[0] for group in groups}) == 8
    assert cut == [len(text.split()) for text in reading([TEXT] * len(rows), rows, seed=0, update=3)]
    for other in ({"seed": 1, "update": 3}, {"seed": 0, "update": 4}):
        assert cut != [len(text.split()) for text in reading([TEXT] * len(rows), rows, **other)]


def test_what_is_read_of_a_row_does_not_depend_on_the_others() -> None:
    reading = Reading(WordShuffle())
    whole = reading([TEXT] * 6, [4, 4, 5, 5, 6, 6], seed=0, update=1)
    assert reading([TEXT] * 2, [5, 5], seed=0, update=1) == whole[2:4]


def test_a_share_of_the_activations_is_read_whole() -> None:
    reading = Reading(WordShuffle(), share=0.25)
    rows = [row for row in range(400) for _ in range(2)]
    whole = [text == TEXT for text in reading([TEXT] * len(rows), rows, seed=0, update=0)]
    assert whole[::2] == whole[1::2], "a group is reworded or it is not"
    assert sum(whole) / len(whole) == pytest.approx(0.75, abs=0.06)


def test_texts_that_a_rewording_is_not_about_stay_as_they_are() -> None:
    assert Reading(NoQuotes())(['on "a b"', "on a b"], [1, 2], seed=0, update=0) == ["on", "on a b"]


@pytest.mark.parametrize(
    ("rewording", "said"),
    [(Meaning(), "what survives it is a headline"), (EntitySwap(), "one text at a time"), ({}, "dict")],
)
def test_headlines_and_what_sees_other_texts_are_refused(rewording: object, said: str) -> None:
    with pytest.raises(NlaeError, match=said):
        Reading(rewording)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_of_nothing_is_refused(share: float) -> None:
    with pytest.raises(NlaeError, match=r"objective\.reading\.share"):
        Reading(WordShuffle(), share)


@pytest.mark.parametrize("reading", [None, Reading(Upper())], ids=["whole", "reworded"])
def test_reward_and_gradient_come_from_what_is_read(warm, reinforce, serve, run, reading):
    """One update against the same done by hand on the same rollouts."""
    pair, hand = Autoencoder.load(warm), Autoencoder.load(warm)
    module = reinforce(pair, 1, reading=reading, kl=0.0)
    records = keep_records(module)
    run(module, serve("rollout", 1))
    (record,) = records
    assert sum(bool(text.strip()) for text in record.text) > 8
    assert not any("river river" in text for text in record.text), "terms are given what was written"
    read = [f"{text} river" if reading and text else text for text in record.text]
    filled = [i for i, text in enumerate(read) if text.strip()]
    predicted_BD, _ = hand.at().reconstructor([read[i] for i in filled])
    error_B = (predicted_BD - unit(record.activation_BD[filled])).pow(2).sum(-1)
    assert torch.allclose(record.error_B[filled], error_B, atol=1e-4)
    assert torch.allclose(record.reconstruction_BD[filled], predicted_BD, atol=1e-4)
    error_B.mean().backward()
    norms = [weight.grad.norm() for weight in hand.reconstructor.trainable() if weight.grad is not None]
    assert module.metrics["reconstructor/grad_norm"] == pytest.approx(float(torch.stack(norms).norm()), rel=1e-3)


def test_rewording_changes_neither_the_rollouts_nor_the_validation(warm, reinforce, serve, run, held_out):
    found = []
    for reading in (None, Reading(Upper())):
        module = reinforce(Autoencoder.load(warm), 1, reading=reading, validation=held_out)
        before, records = module.validate(), keep_records(module)
        run(module, serve("rollout", 1))
        found.append((before, records[0]))
    (one, whole), (other, reworded) = found
    assert one == other, "validation reads the whole text"
    assert whole.text == reworded.text
    assert not torch.allclose(whole.error_B, reworded.error_B, atol=1e-3)


def keep_records(module):
    """What the reward is given, update by update."""
    seen, plain = [], module.reward

    class Kept:
        check = plain.check

        def __call__(self, record):
            seen.append(record)
            return plain(record)

    module.reward = Kept()
    return seen
