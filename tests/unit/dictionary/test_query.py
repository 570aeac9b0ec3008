"""Questions to a dictionary: filters, order, pages, names, and the terminal's table."""

import re

import pytest
from rich.console import Console

from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary.query import Finder, legend, named, table


@pytest.fixture(scope="module")
def finder(tmp_path_factory) -> Finder:
    return Finder(make_up_dictionary(tmp_path_factory.mktemp("dictionary"), layers=3, neurons=40))


def test_pages_follow_each_other_and_add_up(finder):
    whole = finder.find("river", limit=1000)
    parts = [finder.find("river", start=start, limit=7) for start in range(0, whole.total, 7)]
    assert [entry.name for part in parts for entry in part.entries] == [entry.name for entry in whole.entries]
    assert whole.total == len(whole.entries) > 20
    assert whole.passing == sum(entry.passes for entry in whole.entries)


def test_passing_entries_come_first(finder):
    for query in ("", "river"):
        passes = [entry.passes for entry in finder.find(query, limit=1000).entries]
        assert passes == sorted(passes, reverse=True)
        assert 0 < sum(passes) < len(passes)


def test_filters(finder):
    found = finder.find("river", layer=1, passing=True, limit=1000)
    assert {entry.layer for entry in found.entries} == {1}
    assert all(entry.passes for entry in found.entries)
    assert found.total < finder.find("river", layer=1).total < finder.find("river").total


def test_what_matches_counts_before_the_score(finder):
    found = finder.find("river", passing=True, limit=1000).entries
    said = [("river" in entry.description, "river" in entry.writes) for entry in found]
    assert said == sorted(said, reverse=True)
    scores = [entry.auroc for entry in finder.find(passing=True, limit=1000).entries]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("12.345", (12, 345)),
        ("12/345-", (12, 345)),
        (" 12 . 345+ ", (12, 345)),
        ("layer 12 neuron 345", (12, 345)),
        ("Layer 12, neuron 345", (12, 345)),
        ("block 12 neuron 345", (12, 345)),
        ("12345", None),
        ("12.x", None),
        ("rivers of 12.345", None),
        ("", None),
    ],
)
def test_names(query, place):
    assert named(query) == place


def test_the_table_shows_each_score_beside_its_null(finder):
    found = finder.find("river", limit=3)
    best = found.entries[0]
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table(found))
    text = capture.get()
    assert best.name in text
    for score in (best.auroc, best.nearest, best.last_token, best.skyline):
        assert f"{score:.2f}" in text
    assert f"and {found.total - 3:,} more" in text
    assert str(found.total) in " ".join(legend(found))


@pytest.mark.parametrize(
    ("query", "near"), [("goverment", "government"), ("rivr xylophone", "river"), ("hurricanes", "hurricane")]
)
def test_what_finds_nothing_says_what_is_near(finder, query, near):
    found = finder.find(query)
    assert (found.total, near in found.near) == (0, True)
    nothing, said = legend(found)
    assert nothing.startswith("Nothing matches")
    assert near in said


def test_what_is_near_nothing_is_not_made_up(finder):
    assert legend(finder.find("xqz")) == legend(finder.find("xqz"))[:1]
    assert finder.find("!?").near == finder.find("river").near == ()


def test_any_word_of_an_entry_finds_it(finder):
    for entry in map(finder.dictionary.at, (3, 40)):
        for text in (entry.description, entry.writes, *entry.tokens, *entry.promoted):
            for word in text.replace(",", "").split():
                names = [found.name for found in finder.find(word, limit=1000).entries]
                assert entry.name in names, word


def test_every_word_must_match_and_the_description_weighs_most(finder):
    first = finder.find("treaty army", passing=True).entries[0]
    assert {"treaty", "army"} <= set(re.findall(r"\w+", first.description))


def test_brackets_in_a_description_are_no_markup(hostile):
    found = Finder(hostile).find("alert", limit=2)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(found))
    assert "[bold]" in capture.get()
