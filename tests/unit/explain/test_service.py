import dataclasses
import html
import json
import re
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from nlae.errors import NlaeError
from nlae.explain import Estimate, explain
from nlae.explain.inputs import DirectionInput
from nlae.explain.table import cost, heading, legend, marks, shown, table
from nlae.explain.vectors import probes
from nlae.functional.scaling import unit

TEXT = "the cat sat on the mat and the dog sat on the log"


def test_a_perfect_round_trip_scores_one_and_ranks_first(reader) -> None:
    reading = explain(reader, TEXT)
    assert len(reading) == len(reading.passages[0].ids)
    assert all(row.fve == pytest.approx(1.0, abs=1e-5) for row in reading)
    assert all(row.rank == 1 for row in reading)
    assert all(row.cosine == pytest.approx(1.0, abs=1e-5) for row in reading)
    assert reading.others == 100


def test_fve_of_a_wrong_reconstruction_by_hand(reader) -> None:
    reader.reconstruct = lambda texts: torch.eye(16)[:1].expand(len(texts), -1)
    row = explain(reader, TEXT, tokens=5).rows[0]
    truth = reader.activations([list(explain(reader, TEXT, tokens=5).passages[0].ids)])[0][5]
    truth = truth / truth.norm()
    assert row.fve == pytest.approx(1 - float((truth - torch.eye(16)[0]).square().sum()) / 0.96, abs=1e-5)
    assert row.rank > 1


def test_an_explanation_depends_on_neither_batch_nor_selection(reader) -> None:
    whole = {row.index: row.explanation for row in explain(reader, TEXT, batch_size=5)}
    few = {row.index: row.explanation for row in explain(reader, TEXT, tokens="dog", batch_size=1)}
    assert few.items() <= whole.items()
    assert explain(reader, TEXT, tokens="dog", seed=1).rows[0].explanation not in whole.values()


def test_samples_differ_and_are_numbered(reader) -> None:
    rows = explain(reader, TEXT, tokens=3, samples=3).rows
    assert [row.sample for row in rows] == [0, 1, 2]
    assert len({row.explanation for row in rows}) == 3


def test_cost_is_known_after_the_first_few(reader) -> None:
    seen, done = [], []
    reading = explain(reader, TEXT, on_estimate=seen.append, on_progress=lambda a, b: done.append((a, b)))
    assert reader.calls[0][0] == 4
    assert seen[0].rows == len(reading)
    assert done[-1] == (len(reading), len(reading))
    assert str(len(reading)) in cost(seen[0])
    explain(reader, TEXT, tokens=0, on_estimate=seen.append)
    assert len(seen) == 1


def test_positions_outside_training_are_marked(reader) -> None:
    rows = explain(reader, TEXT * 6).rows
    assert "start at 2" in rows[1].mark
    assert rows[2].mark == ""
    assert "end at 40" in rows[41].mark
    reader.table[:] *= 100
    assert "massive" in explain(reader, TEXT, tokens=5).rows[0].mark


def test_text_beyond_the_context_window_is_cut_and_said(reader) -> None:
    reading = explain(reader, TEXT * 60, tokens=-1)
    assert reading.rows[0].index == 255
    assert "at most 256 tokens" in reading.notes[0]


def test_generate_reads_the_models_own_answer(reader) -> None:
    reading = explain(reader, messages=[{"role": "user", "content": "the cat"}], generate=5)
    own = [row for row in reading if row.generated]
    assert own
    assert {row.role for row in own} == {"assistant"}
    assert reading.passages[0].turns[-1].generated
    plain = explain(reader, "the cat", generate=3)
    assert [row.generated for row in plain].count(True) in (1, 2, 3)


def test_directions_stand_beside_random_ones_and_the_mean(reader) -> None:
    direction = torch.randn(16)
    reading = explain(reader, directions=direction, strengths=[1.0, 2.0], random_directions=2)
    labels = [row.token for row in reading]
    assert len(labels) == 2 * 2 * 3 + 1
    assert labels[0].startswith("+1")
    assert labels[1].startswith("\N{MINUS SIGN}1")
    assert labels[-1] == "the mean alone"
    assert reading.rows[0].alignment > 0.5
    assert reading.rows[-1].alignment is None


def test_random_directions_are_as_far_from_the_mean(reader) -> None:
    found = probes(DirectionInput("d", 37 * torch.randn(16)), reader.statistics)
    centre = reader.statistics.norm_median * reader.statistics.mean_D
    away = [float((probe.activation_D - centre).norm()) for probe in found[:-1]]
    assert away == pytest.approx([4.0 * 0.96**0.5] * len(away), rel=1e-5)


def test_raw_activations_are_read_as_they_are(reader) -> None:
    given = torch.randn(3, 16)
    reading = explain(reader, vectors=given)
    assert [row.norm for row in reading] == pytest.approx(given.norm(dim=1).tolist())
    assert all(row.alignment is None for row in reading)


def test_the_control_is_every_other_tokens_words(reader) -> None:
    reading = explain(reader, TEXT, samples=2, tokens="cat|dog|log", batch_size=3)
    rebuilt = {row.explanation: unit(reader.written[row.explanation][None])[0] for row in reading}
    truth = reader.activations([list(reading.passages[0].ids)])[0]
    for row in reading:
        own = truth[row.index] / truth[row.index].norm()
        others = [rebuilt[other.explanation] for other in reading if other.index != row.index]
        assert len(others) == 4
        by_hand = sum(1 - float((own - words).square().sum()) / 0.96 for words in others) / 4
        assert row.shuffled == pytest.approx(by_hand, abs=1e-5)
        assert row.shuffled < row.fve
    trained = [row.shuffled for row in reading if not row.mark]
    assert 0 < len(trained) < len(reading)
    assert reading.mean_shuffled == pytest.approx(sum(trained) / len(trained))
    assert "shuffled" in printed(reading)
    assert explain(reader, TEXT, tokens=5, samples=3).rows[0].shuffled is None, "nothing to compare with"
    assert "shuffled" not in printed(explain(reader, TEXT, tokens=5))


def test_rows_of_directions_are_unlike_so_no_mean_is_taken(reader) -> None:
    reading = explain(reader, directions=torch.ones(16))
    assert all(row.fve is not None for row in reading)
    assert reading.mean_fve is reading.mean_shuffled is reading.mean_cosine is None
    assert not any("Mean" in line for line in legend(reading))
    assert "mean" not in lede(reading)
    assert explain(reader, vectors=torch.randn(3, 16)).mean_fve is not None


def lede(reading) -> str:
    return reading.to_html().split('lede">')[1].split("</p>")[0]


def test_an_explanation_that_was_cut_says_so_and_ends_before_its_broken_tag(reader) -> None:
    plain = reader.verbalize

    def cut(activation_ND, *, seeds, temperature=1.0):
        said = [dataclasses.replace(one, text=f"{one.text} yes </expl", closed=False) for one in
                plain(activation_ND, seeds=seeds)]  # fmt: skip
        reader.written |= {one.text: row_D for one, row_D in zip(said, activation_ND, strict=True)}
        return said

    reader.verbalize = cut
    reading = explain(reader, TEXT, tokens=5)
    assert reading.rows[0].explanation.endswith(" yes </expl"), "the files hold what the reconstructor read"
    assert reading.rows[0].shown.endswith(" yes")
    text = printed(reading)
    assert "yes … cut at the length limit" in " ".join(text.split())
    assert "</expl" not in text
    assert "yes </expl" not in reading.to_html()
    assert '"closed": false' in reading.to_html()


def test_one_is_not_many_on_the_page(reader) -> None:
    one = explain(reader, TEXT, tokens=5).to_html()
    assert "1 token of" in one
    assert "1 explanation<" in one
    assert "2 tokens of" in explain(reader, TEXT, tokens=[4, 5]).to_html()
    assert cost(Estimate(1, 2.0)).startswith("1 explanation at")


def test_page_and_terminal_explain_the_columns_in_the_same_words(reader) -> None:
    for reading in (explain(reader, TEXT), explain(reader, directions=torch.ones(16))):
        page = html.unescape(re.sub(r"</?b>", "", reading.to_html()))
        assert len(legend(reading)) >= 3
        assert all(line in page for line in legend(reading))


def test_a_foreign_checkpoint_leaves_a_gap_where_nothing_was_written(foreign) -> None:
    foreign.verbalize = lambda activation_ND, seeds, temperature: [
        SimpleNamespace(text="" if i == 1 else "a", closed=True, n_tokens=1) for i in range(len(activation_ND))
    ]
    foreign.reconstruct = lambda texts: torch.stack(
        [torch.eye(16)[0] if text else torch.full((16,), float("nan")) for text in texts]
    )
    reading = explain(foreign, TEXT, tokens=[2, 3, 4])
    assert [row.cosine is None for row in reading] == [False, True, False]
    assert all(row.shuffled is not None for row in reading)
    assert any("1 explanation came out empty" in note for note in reading.notes)
    assert reading.mean_cosine == pytest.approx((reading.rows[0].cosine + reading.rows[2].cosine) / 2)
    assert "–" in printed(reading)
    assert '"cosine": null' in reading.to_html()
    json.loads(reading.to_json())


def test_a_foreign_checkpoint_shows_cosine_and_says_why(foreign) -> None:
    reading = explain(foreign, TEXT, tokens=5)
    assert reading.rows[0].fve is None
    assert reading.rows[0].rank is None
    assert reading.rows[0].cosine == pytest.approx(1.0, abs=1e-5)
    assert "cosine" in reading.notes[0]
    assert "cosine" in reading.to_html()
    with pytest.raises(NlaeError, match="no training mean"):
        explain(foreign, directions=torch.ones(16))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "found none"),
        ({"text": "a", "vectors": torch.ones(16)}, "found text and vectors"),
        ({"text": ""}, "empty"),
        ({"directions": torch.ones(5)}, "5 entries, but the site has 16"),
        ({"vectors": torch.ones(2, 5)}, "`activation 0` has 5 entries, but the site has 16"),
        ({"vectors": torch.full((16,), float("nan"))}, "finite"),
        ({"text": "the cat", "samples": 0}, "samples"),
        ({"text": TEXT, "generate": 300}, "256 at most"),
        ({"source": 3}, "give a text"),
    ],
)
def test_bad_input(reader, given: dict[str, object], message: str) -> None:
    with pytest.raises(NlaeError, match=message):
        explain(reader, **given)


def test_every_form_holds_the_rows(reader, tmp_path) -> None:
    reading = explain(reader, TEXT + " 🙂", samples=2, tokens="dog|🙂")
    paths = reading.save(tmp_path / "deep")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["reading.html", "reading.json", "reading.parquet"]
    whole = json.loads(paths["json"].read_text())
    assert [row["explanation"] for row in whole["rows"]] == [row.explanation for row in reading]
    assert pq.read_table(paths["parquet"]).to_pylist() == reading.to_dicts()
    assert "<iframe" in reading._repr_html_()
    assert "Reading(" in repr(reading)


def test_the_table_shows_markup_as_text(reader) -> None:
    reading = explain(reader, TEXT)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(dataclasses.replace(reading, table_rows=3)))
    console.file.close()
    text = console.export_text()
    assert "[b]" in text
    assert f"and {len(reading) - 3} more" in text
    assert marks(reading)[0].startswith("* 2 ×")
    assert shown(" a\n") == "␣a↵"
    assert shown("\x1b[31m") == "\N{REPLACEMENT CHARACTER}[31m"


def printed(reading) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(reading))
    console.file.close()
    return console.export_text()


def test_the_terminal_says_what_was_read_and_what_the_columns_mean(reader) -> None:
    reading = explain(reader, TEXT, tokens=-1)
    assert heading(reading)[0].startswith("1 token of ")
    words = " ".join(legend(reading))
    assert "FVE: how much of the activation the words alone bring back" in words
    assert f"among itself and {reading.others} others" in words
    assert "along" not in words
    assert "turn" not in printed(reading)


def test_a_chat_shows_whose_turn_it_is_and_what_the_model_wrote(reader) -> None:
    chat = [{"role": "user", "content": "Where is Oslo?"}]
    reading = explain(reader, messages=chat, generate=3)
    assert "the model's own turn: " in heading(reading)[0]
    text = printed(reading)
    assert "its own answer" in text
    assert "user" in text


def test_directions_show_how_far_the_words_point_along_them(reader) -> None:
    width = reader.statistics.mean_D.numel()
    reading = explain(reader, directions=torch.ones(width))
    assert heading(reading)[-1].split()[1] == "activations"
    assert "along" in printed(reading)
    assert any(line.startswith("along:") for line in legend(reading))
