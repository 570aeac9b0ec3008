"""Synonyms by sense, in the form of the word they stand for, from a table that is made here like the real one."""

from __future__ import annotations

import sqlite3
from importlib import metadata
from pathlib import Path

import pytest

from nlae.errors import NlaeError
from nlae.rewording import Synonyms, thesaurus
from nlae.rewording.synonyms import with_synonyms
from nlae.rewording.thesaurus import PACKAGE, Thesaurus, find_table, forms, inflected

WORDS = [
    # word, synset, how often: a rare sense of "sentence", two common ones of "describe"
    ("sentence", "0170-02978-1-2-0", 10041),
    ("sentence", "0163-02673-1-2-0", 10012),
    ("conviction", "0163-02673-1-2-0", 10012),
    ("describe", "2050-00439-2-1-0", 10087),
    ("depict", "2050-00439-2-1-0", 10030),
    ("draw", "2050-00439-2-1-0", 10020),
    ("narrative", "0151-00938-1-2-0", 10018),
    ("story", "0151-00938-1-2-0", 10015),
    ("quick", "3999-00001-3-1-0", 30),
    ("fast", "3999-00001-3-1-0", 29),
    ("river", "0003-00452-1-0-0", 10065),
    ("organ", "0003-00453-1-0-0", 10065),
    ("keyboard", "0003-00453-1-0-0", 10020),
]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lexicon.db"
    with sqlite3.connect(path) as made:
        made.execute("create table lexicon (word text, code text, priority integer, primary key (word, code))")
        made.executemany("insert into lexicon values (?, ?, ?)", WORDS)
    monkeypatch.setattr(thesaurus, "find_table", lambda: path)
    return path


def test_the_commonest_sense_that_has_another_word_is_taken(table: Path) -> None:
    known = Thesaurus()
    assert known.synonyms("describe") == ("depict", "draw")
    assert known.synonyms("sentence") == (), "its only synonym is of a sense that is hardly meant"
    assert known.synonyms("river") == ()
    assert known.synonyms("unheard") == ()


def test_a_synonym_takes_the_form_of_the_word(table: Path) -> None:
    known = Thesaurus()
    assert known.synonyms("narratives") == ("stories",)
    assert known.synonyms("describing") == ("depicting", "drawing")
    assert known.synonyms("described") == ("depicted",), "draw has a past of its own"
    assert known.synonyms("describes") == ("depicts", "draws")


@pytest.mark.parametrize(
    ("lemma", "form", "wanted"),
    [
        *[("stop", "ing", "stopping"), ("box", "s", "boxes"), ("carry", "ed", "carried"), ("play", "ed", "played")],
        *[("free", "ed", "freed"), ("free", "ing", "freeing"), ("make", "ed", None), ("point out", "s", None)],
        *[("list", "ing", "listing"), ("show", "ing", "showing"), ("city", "s", "cities"), ("use", "ed", "used")],
    ],
)
def test_inflection(lemma: str, form: str, wanted: str | None) -> None:
    assert inflected(lemma, form) == wanted
    if wanted:
        assert lemma in [found for found, as_form, _ in forms(wanted) if as_form == form]


def test_words_are_replaced_alike_and_names_numbers_and_small_words_stay(table: Path) -> None:
    text = "A narrative of the River Quick: it describes an organ, a quick river and another narrative of 1800."
    new, replaced, content = with_synonyms(text, Thesaurus(), seed=0)
    assert new in {
        f"A story of the River Quick: it {verb} a keyboard, a fast river and another story of 1800."
        for verb in ("depicts", "draws")
    }
    assert replaced == 5
    assert content == 8, "names are content too, though nothing is put in their place"
    assert {with_synonyms(text, Thesaurus(), seed)[0] for seed in range(20)} > {new}


def test_the_share_is_told_and_too_small_a_one_gives_no_figure(table: Path, tmp_path: Path) -> None:
    texts = ["quick narratives", "rivers", "the of"]
    made = Synonyms(least=0.5)(texts, [0, 1, 2], tmp_path)
    assert made.texts == ["fast stories", None, None]
    assert made.shares == {"replaced": pytest.approx(2 / 3)}
    assert made.note == ""
    few = Synonyms(least=0.7)(texts, [0, 1, 2], tmp_path)
    assert few.texts == [None] * 3
    assert few.shares == made.shares
    assert "67% of the content words have a synonym, fewer than 70%" in few.note
    with pytest.raises(NlaeError, match="least=2"):
        Synonyms(least=2)


def test_a_missing_table_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", gone)
    with pytest.raises(NlaeError, match=r"oyemi==3\.2\.0, which is not installed.*nlae\[synonyms\]"):
        find_table()


def test_another_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        def locate_file(self, file: str) -> Path:
            return tmp_path / file

    monkeypatch.setattr(metadata, "distribution", lambda name: Other())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lexicon.db").write_bytes(b"SQLite format 3\0")
    with pytest.raises(NlaeError, match="is not the expected file"):
        find_table()


@pytest.mark.skipif(
    PACKAGE not in {found.name for found in metadata.distributions()}, reason=f"the extra with {PACKAGE} is missing"
)
def test_the_real_table_reaches_the_share_that_a_headline_needs(tmp_path: Path) -> None:
    find_table()
    texts = [
        "Descriptive prose about circumstances. The sentence brings up disease. It ends on an adverb, before a verb.",
        "A biography of a painter. The sentence mentions a journey. It stops on a plural noun akin to paintings.",
    ]
    made = Synonyms()(texts, [0, 1], tmp_path)
    assert made.shares["replaced"] > 0.3
    assert all(new not in (None, old) for new, old in zip(made.texts, texts, strict=True))
