"""Questions to a dictionary: filters, order, pages, names, and the terminal's table."""

import pytest
from rich.console import Console

from nlae.dictionary.made_up import make_up_dictionary
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


def test_orders(finder):
    by_score = finder.find(order="prediction", limit=1000).entries
    scores = [entry.prediction for entry in by_score if entry.prediction is not None]
    assert scores == sorted(scores, reverse=True)
    assert [entry.prediction for entry in by_score][: len(scores)] == scores  # those without a score come last
    by_number = finder.find("river", order="number", limit=1000).entries
    places = [(entry.layer, entry.neuron, entry.sign == "-") for entry in by_number]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("12.345", (12, 345)),
        ("12/345-", (12, 345)),
        (" 12 . 345+ ", (12, 345)),
        ("layer 12 neuron 345", (12, 345)),
        ("Layer 12, neuron 345", (12, 345)),
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
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table(found))
    text = capture.get()
    assert best.name in text
    for score in (best.prediction, best.prediction_null, best.last_token, best.skyline):
        assert f"{score:.2f}" in text
    assert f"and {found.total - 3:,} more" in text
    assert str(found.total) in " ".join(legend(found))


def test_no_match_is_said(finder):
    assert legend(finder.find("xylophone"))[0].startswith("Nothing matches")


def test_brackets_in_a_description_are_no_markup(hostile):
    found = Finder(hostile).find("alert", limit=2)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(found))
    assert "[bold]" in capture.get()
