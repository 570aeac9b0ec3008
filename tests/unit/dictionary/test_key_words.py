"""Context-only texts: what they name, what they leave out, and how long they may be."""

import pytest

from nlae.dictionary.describe.key_words import NOTHING, context_only, nearby_words, peak_tokens, shared_phrase
from nlae.teacher.words import DocumentFrequencies, is_key, words

COMMON = ["The committee gave a report about the budget."] * 60
FREQUENCIES = DocumentFrequencies.fit(
    [*COMMON, "A glacier and a fjord.", "The harbour stood empty.", "The lanterns of the harbour."]
)


def windows(*texts: str) -> list[list[str]]:
    """Tokens with their space in front, as a tokenizer cuts them."""
    return [[word if not place else f" {word}" for place, word in enumerate(text.split())] for text in texts]


GIVEN = windows(
    "the committee saw the glacier above the old harbour",
    "a report of ice and glacier near the old harbour",
    "no committee writes of a glacier by an old harbour",
)


def test_peak_phrase_and_nearby_words_are_named():
    assert context_only(GIVEN, FREQUENCIES, 20) == 'The token "harbour" as in "the old harbour" near glacier, committee'


def test_rare_words_are_preferred_to_common_ones():
    # both stand in all windows; the one that is in every document comes last
    given = windows("budget fjord one", "budget fjord two", "fjord budget three")
    assert nearby_words(given, FREQUENCIES) == ["fjord", "budget"]
    # a common word in more windows loses to a rare one in fewer, if it is rare enough
    given = windows("budget fjord one", "budget fjord two", "budget and three")
    assert nearby_words(given, FREQUENCIES)[0] == "fjord"


@pytest.mark.parametrize(
    "given",
    [
        GIVEN,
        windows("harbour lantern of the harbour", "lanterns of the harbour", "lantern at a harbour"),
        windows("glacier glacier glacier", "glacier glacier", "the glaciers and glacier"),
    ],
    ids=["plain", "peak also nearby", "one word only"],
)
def test_no_key_word_is_named_twice_outside_its_phrase(given):
    said = context_only(given, FREQUENCIES, 20)
    phrase = shared_phrase(given)
    keys = [word.lower() for word in words(said.replace(f'as in "{phrase}"', "")) if is_key(word)]
    keys.remove("token")
    assert len(keys) == len({key.rstrip("s") for key in keys})
    nearby = said.partition(" near ")[2]
    assert not set(words(nearby)) & set(words(phrase))


@pytest.mark.parametrize("limit", range(1, 14))
def test_the_word_limit_holds_and_leaves_nothing_open(limit):
    said = context_only(GIVEN, FREQUENCIES, limit)
    assert len(said.split()) == min(limit, 11)
    assert not said.endswith(",")
    assert said.count('"') % 2 == 0


@pytest.mark.parametrize("given", [[], [[]], [[], []]], ids=["none", "one empty", "empty"])
def test_nothing_is_said_about_no_context(given):
    assert context_only(given, FREQUENCIES, 20) == NOTHING


def test_peaks_are_counted_without_case_and_spaces_and_named_where_a_quarter_shares_them():
    assert peak_tokens([" The", "the", " of", "of", " once", " "], 3) == ["the", "of"]
    assert peak_tokens(["one", "two", "three"], 3) == []
    assert peak_tokens([" the", "the", *"abcdefghij"], 3) == []  # two of twelve may share a token by chance
    assert peak_tokens([" the", "the", "the", *"abcdefghi"], 3) == ["the"]
    assert peak_tokens([" ", ""], 3) == []


def test_where_nothing_is_shared_the_strongest_peak_is_named():
    assert context_only(windows("a glacier", "the fjord", "old ice"), FREQUENCIES, 20) == 'The token "glacier"'


def test_a_word_of_two_windows_in_twelve_is_not_named():
    given = windows("glacier one", "glacier two", *(f"harbour {i}" for i in range(10)))
    assert nearby_words(given, FREQUENCIES) == ["harbour"]


def test_the_shared_phrase_is_the_longest_of_several_words():
    assert shared_phrase(windows("seen from the old harbour", "boats in the old harbour")) == "the old harbour"
    assert shared_phrase(windows("an old harbour", "a new harbour")) == ""  # one word is no phrase
    assert shared_phrase([["har", "bour"], ["har", "bour"]]) == ""
    assert shared_phrase([]) == ""


def test_words_of_one_window_only_are_no_key_words():
    assert nearby_words(windows("glacier", "fjord"), FREQUENCIES) == []
