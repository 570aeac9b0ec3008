"""What is seen of the faithfulness of words during a fit: a faithful pair, a parrot, a reader that knows the mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.validation import ValidationSet
from nlae.rewording import NoQuotes, RandomTruncation, Truncation, WordShuffle
from nlae.training.faithfulness import Faithfulness

N, D = 24, 32
WORDS = [f"word{i}" for i in range(N)]
REWORDINGS = {"word_shuffle": WordShuffle(), "no_quotes": NoQuotes(), "half": Truncation(share=0.5)}


@pytest.fixture
def world() -> Any:
    """Activations of which each is named by a word; and a view whose reader knows which words it looks at."""
    generator = torch.Generator().manual_seed(0)
    raw_ND = torch.randn(N, D, generator=generator) + 0.3
    mean_D = unit(raw_ND).mean(0)
    rivals = {i: torch.randn(9, D, generator=generator) for i in range(0, N, 2)}
    held = ValidationSet(raw_ND, None, torch.arange(N).roll(5), list(range(N)), [[i, i + 1] for i in range(N)], rivals)
    return SimpleNamespace(held=held, mean_D=mean_D, constant_D=unit(mean_D))


def view(world: Any, reads: Any, context: str = "") -> Any:
    """`reads(text)` is the number of the activation that a reader takes `text` for, or None for the constant."""

    def reconstruct(texts: list[str]) -> torch.Tensor:
        found = [reads(text) for text in texts]
        return torch.stack([world.constant_D if i is None else unit(world.held.activation_ND[i]) for i in found])

    return SimpleNamespace(
        reconstruct=reconstruct,
        read_empty=lambda: reconstruct([""])[0],
        statistics=SimpleNamespace(mean_D=world.mean_D, constant_D=world.constant_D),
        target=SimpleNamespace(tokenizer=SimpleNamespace(decode=lambda ids: context or f"about {WORDS[ids[0]]}")),
    )


def by_word(text: str) -> int | None:
    return next((int(word.strip('"')[4:]) for word in text.split() if word.strip('"').startswith("word")), None)


def measured(world: Any, reads: Any, texts: list[str], context: str = "") -> dict[str, float]:
    seen = view(world, reads, context)
    return Faithfulness(REWORDINGS)(seen, world.held, texts, seen.reconstruct(texts), 0)


def test_what_is_said_by_a_word_survives_all_that_leaves_it(world):
    found = measured(world, by_word, [f"{word} is what the text goes on about" for word in WORDS])
    assert found["val/kept_word_shuffle"] == pytest.approx(1)
    assert found["val/kept_no_quotes"] == pytest.approx(1)
    assert found["val/kept_half"] == pytest.approx(1)
    assert found["val/retrieval_hard"] == 1
    assert found["val/retrieval_rows"] == N / 2


def test_what_is_said_by_a_quote_goes_with_it(world):
    found = measured(world, by_word, [f'The text ends with "{word}"' for word in WORDS])
    assert found["val/kept_no_quotes"] == pytest.approx(0, abs=1e-6)
    assert found["val/kept_half"] < 0.1, "it stands at the end"
    assert found["val/kept_word_shuffle"] == pytest.approx(1)


def test_a_code_in_the_order_of_words_goes_with_the_order(world):
    def by_order(text: str) -> int | None:
        words = text.split()
        return int(words[0][4:]) if words and words[0].startswith("word") else None

    found = measured(world, by_order, [f"{word} and then much more is said of it here" for word in WORDS])
    assert found["val/kept_word_shuffle"] < 0.5
    assert found["val/kept_half"] == pytest.approx(1)


def test_a_reader_that_says_the_same_of_everything_is_seen_at_empty_text(world):
    found = measured(world, lambda text: None, [f"{word} says nothing" for word in WORDS])
    seen = view(world, by_word)
    own = measured(world, by_word, [f"{word} says it" for word in WORDS])
    assert not any(name.startswith("val/kept") for name in found), "there is nothing of which a share could be kept"
    assert found["val/empty"] == pytest.approx(own["val/empty"])
    assert seen.read_empty().shape == (D,)
    assert found["val/retrieval_hard"] < 1


def test_a_parrot_is_caught_copying_and_another_is_not(world):
    passage = "the quick brown fox jumps over the lazy dog near the river bank"
    copied = measured(world, by_word, ["He says the quick brown fox jumps high"] * N, passage)
    own = measured(world, by_word, ["A fox that is quick and brown, and a dog"] * N, passage)
    assert copied["val/copied"] == pytest.approx(5 / 8)
    assert own["val/copied"] == 0


def test_only_rewordings_of_one_text_are_taken(world):
    with pytest.raises(NlaeError, match=r"objective\.faithfulness\.rewordings\.odd is a str"):
        Faithfulness({"odd": "shuffle"})  # type: ignore[dict-item]
    assert Faithfulness({"left_out": None, "random": RandomTruncation(2, 4)}).rewordings.keys() == {"random"}


def test_the_same_weights_give_the_same_figures(world):
    texts = [f'{word} and "{word}" among other things that are said' for word in WORDS]
    assert measured(world, by_word, texts) == measured(world, by_word, texts)
