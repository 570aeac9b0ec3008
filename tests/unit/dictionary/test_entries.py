"""Dictionary on disk: what is written is read back, in milliseconds, and refused when it is not whole."""

import dataclasses
import json
import shutil

import polars as pl
import pytest

from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary import Dictionary, Entry, write_dictionary
from nlae.dictionary.schema import COLUMNS, SCHEMA, VERSION, WINDOW
from nlae.errors import NlaeError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_up_dictionary(tmp_path_factory.mktemp("dictionary"), layers=3, neurons=700)


def test_schema_and_entry_agree():
    assert list(SCHEMA) == [field.name for field in dataclasses.fields(Entry)]
    scores = [name for name, kind in SCHEMA.items() if kind == pl.Float32()]
    optional = [field.name for field in dataclasses.fields(Entry) if "None" in str(field.type)]
    assert set(optional) <= set(scores)
    assert all(column.label and column.about.endswith(".") for column in COLUMNS.values())


def test_every_entry_is_found_across_row_groups(made):
    frame = made.frame().collect()
    assert len(made) == len(frame) == 3 * 700 * 2
    for place in (0, 1, 511, 512, 1399, 1400, 1401, 2799, 4199):
        row = frame.row(place, named=True)
        entry = made.entry(row["layer"], row["neuron"], row["sign"])
        assert dataclasses.asdict(entry) == row


def test_both_signs_of_a_neuron(made):
    plus, minus = made.neuron(2, 699)
    assert (plus.sign, minus.sign, plus.neuron, minus.neuron) == ("+", "-", 699, 699)
    assert plus.name == "2.699+"


@pytest.mark.parametrize("place", [(-1, 0, "+"), (0, 700, "+"), (3, 0, "+"), (0, 0, "*"), (0, -1, "-")])
def test_an_entry_that_is_not_there_is_told(made, place):
    with pytest.raises(NlaeError, match="no entry for layer"):
        made.entry(*place)


def test_exemplars_lead_to_their_passages(made):
    entry = made.entry(1, 5, "-")
    context = made.context(entry.exemplar_document[0])
    assert context.document == entry.exemplar_document[0]
    assert entry.exemplar_position[0] < len(context.tokens)
    with pytest.raises(NlaeError, match="no passage"):
        made.context(10_000)


def test_unseen_windows_have_a_level_at_every_token(made):
    entry = made.entry(1, 5, "-")
    found = made.unseen(entry)
    assert [level for item in found for level in item.levels] == entry.unseen_level
    for item, document, start, peak in zip(
        found, entry.unseen_document, entry.unseen_start, entry.unseen_peak, strict=True
    ):
        assert item.tokens == made.context(document).tokens[start : start + WINDOW]
        assert max(item.values) == item.values[peak] == entry.exemplar_value[0] * max(item.levels) / 255


def test_a_window_at_the_end_of_its_passage_is_shorter(made):
    length = len(made.context(0).tokens)
    entry = dataclasses.replace(
        made.entry(0, 0), unseen_document=[0, 1], unseen_start=[length - 3, 0], unseen_level=[9] * (3 + 8)
    )
    assert [len(item.tokens) for item in made.unseen(entry)] == [3, 8]
    with pytest.raises(NlaeError, match="do not fit its unseen passages"):
        made.unseen(dataclasses.replace(entry, unseen_level=[9] * 999))


def test_unsorted_entries_are_refused(made, tmp_path):
    part = made.frame().collect().head(4)
    with pytest.raises(ValueError, match="sorted"):
        write_dictionary(tmp_path, [part.reverse()], contexts=[], layers=[], facts={})
    with pytest.raises(ValueError, match="sorted"):
        write_dictionary(tmp_path, [part, part], contexts=[], layers=[], facts={})
    assert not (tmp_path / "dictionary.parquet").exists()


def test_a_folder_without_a_dictionary_is_told(tmp_path):
    with pytest.raises(NlaeError, match="no dictionary here"):
        Dictionary.open(tmp_path)


def test_damage_and_other_formats_are_told(tmp_path):
    made = make_up_dictionary(tmp_path, layers=1, neurons=2)
    for version, told in ((VERSION - 1, "made by an older nlae: run `nlae dictionary` again"), (99, "newer than this")):
        (tmp_path / "dictionary.json").write_text(json.dumps(made.facts | {"version": version}))
        with pytest.raises(NlaeError, match=told):
            Dictionary.open(tmp_path)
    (tmp_path / "dictionary.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(NlaeError, match="damaged"):
        Dictionary.open(tmp_path)


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("dictionary.json", DEEP),
        ("dictionary.json", "[]"),
        ("dictionary.json", '{"version": "new"}'),
        ("dictionary.json", '{"version": ' + "9" * 5000 + "}"),
        ("layers.json", DEEP),
        ("layers.json", '{"layer": 1}'),
        ("layers.json", '[{"layer": "one", "neurons": 2}]'),
    ],
)
def test_a_folder_from_elsewhere_is_refused_in_one_line(made, tmp_path, file, text):
    folder = shutil.copytree(made.folder, tmp_path / "copy")
    (folder / file).write_text(text)
    with pytest.raises(NlaeError, match="dictionary is damaged") as failure:
        Dictionary.open(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("change", [pl.col("layer").cast(pl.String), pl.lit(1).alias("sign")])
def test_columns_of_another_type_are_refused_when_it_is_opened(made, tmp_path, change):
    folder = shutil.copytree(made.folder, tmp_path / "copy")
    made.frame().with_columns(change).collect().write_parquet(folder / "dictionary.parquet")
    with pytest.raises(NlaeError, match="lacks or mistypes"):
        Dictionary.open(folder)
