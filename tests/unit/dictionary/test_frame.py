"""From scores to rows and a layer's line, on three neurons whose every number is made by hand."""

from __future__ import annotations

import pytest
import torch

from nlae.dictionary.columns import NULL, ROTATED
from nlae.dictionary.frame import LayerFacts, frame, histogram, summary
from nlae.dictionary.schema import BINS, NO_DESCRIPTION, SCHEMA
from nlae.dictionary.score.layer import LayerScores
from nlae.dictionary.score.passing import Verdict
from nlae.dictionary.score.prediction import Correlations

NAN = float("nan")
TEXTS = ["rivers", "months", "stones"]


def pairs(*signs):
    return torch.tensor(signs)


def facts(signs=2):
    words = [[["+0"], ["+1"], ["+2"]], [["-0"], ["-1"], ["-2"]]]
    return LayerFacts(
        layer=4,
        signs=signs,
        frequency=pairs([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        kurtosis=torch.tensor([1.0, 2.0, 3.0]),
        mean=torch.tensor([0.1, 0.2, 0.3]),
        std=torch.tensor([1.1, 1.2, 1.3]),
        clusters=pairs([1, 2, 0], [3, 1, 1]),
        specialised=pairs([True, False, False], [False, True, True]),
        specialised_decoy=0.25,
        sampled=pairs([True, False, False], [False, True, False]),
        r2=torch.tensor([0.5, NAN, -0.25]),
        r2_ceiling=None,
        tokens=words,
        promoted=words,
        suppressed=words,
        value=pairs([[3.0, 1.0], [2.0, 0.0], [0.0, 0.0]], [[5.0, 4.0], [1.0, 0.5], [0.25, 0.0]]),
        document=pairs([[7, 8], [9, -1], [-1, -1]], [[1, 2], [3, 4], [5, -1]]).int(),
        position=pairs([[17, 18], [19, -1], [-1, -1]], [[11, 12], [13, 14], [15, -1]]).int(),
        histogram=torch.arange(2 * 3 * BINS).view(2, 3, BINS),
    )


def scores(nulls=True):
    passes = torch.tensor([True, False, False, True, True, False])  # "+" of 0, 1, 2, then "-"
    reason = torch.tensor([-1, 1, 0, -1, -1, 3])
    q = torch.tensor([0.01, 0.5, NAN, 0.02, 0.03, 1.0])
    report = pairs([0.9, 0.6, NAN], [0.8, 0.7, 0.5])
    skyline = pairs([1.0, 0.52, NAN], [0.9, 0.6, 0.75])
    sample = pairs([0.75, NAN, NAN], [NAN, 0.5, NAN])
    two = {name: sample - 0.1 * i for i, name in enumerate(("verbalized", "context_only"))}
    flat = {name: report - 0.1 * i for i, name in enumerate(("last_token", "token_list", "shuffled"))}
    found = {"shuffled": torch.tensor([True, False, False, False, False, False])}
    if nulls:
        found |= {NULL: torch.tensor([True, False, True, True]), ROTATED: torch.tensor([False, True, False, False])}
    return LayerScores(
        text={"real": pairs([0, 1, -1], [2, 0, 1])},
        column=pairs([0, 1, 0], [1, 0, 0]),
        verdict=Verdict(q, passes, reason, 0.1),
        report=report,
        decide=report,
        decoy=torch.full((2, 3), 0.5),
        baselines={"skyline": skyline, **two, **flat},
        compared={},
        correlations=Correlations(report, report, report),
        null_passes=found,
    )


@pytest.fixture(scope="module")
def entries():
    return frame(facts(), scores(), TEXTS, ["consensus", "with"])


def test_rows_go_by_neuron_then_sign(entries):
    assert entries.schema == SCHEMA
    assert entries["neuron"].to_list() == [0, 0, 1, 1, 2, 2]
    assert entries["sign"].to_list() == ["+", "-"] * 3
    assert entries["frequency"].to_list() == pytest.approx([0.1, 0.4, 0.2, 0.5, 0.3, 0.6])
    assert entries["clusters"].to_list() == [1, 3, 2, 1, 0, 1]
    assert entries["tokens"].to_list() == [["+0"], ["-0"], ["+1"], ["-1"], ["+2"], ["-2"]]
    assert entries["histogram"].to_list()[1] == list(range(3 * BINS, 4 * BINS))


def test_words_are_shown_only_where_they_pass(entries):
    assert entries["candidate"].to_list() == ["rivers", "stones", "months", "rivers", "", "months"]
    wanted = ["rivers", "stones", NO_DESCRIPTION, "rivers", NO_DESCRIPTION, NO_DESCRIPTION]
    assert entries["description"].to_list() == wanted
    assert entries["passes"].to_list() == [True, True, False, True, False, False]
    assert entries["reason"].to_list() == ["", "", "prediction", "", "few contexts", "false discovery"]
    assert entries["origin"].to_list() == ["consensus", "with", "with", "consensus", "", "consensus"]


def test_what_was_not_measured_is_null(entries):
    assert entries["prediction"].to_list()[4] is None
    assert entries["r2"].to_list() == [0.5, 0.5, None, None, -0.25, -0.25]
    assert entries["r2_ceiling"].is_null().all()
    assert entries["detection"].is_null().all()
    # no share of a skyline that is at chance
    share = entries["share_of_skyline"].to_list()
    assert share[:2] == pytest.approx([0.8, 0.75])
    assert share[2] is None
    assert share[5] == pytest.approx(0.0)


def test_exemplars_end_where_there_are_no_more(entries):
    assert entries["exemplar_document"].to_list() == [[7, 8], [1, 2], [9], [3, 4], [], [5]]
    assert entries["exemplar_value"].to_list()[2:5] == [[2.0], [1.0, 0.5], []]
    assert entries["exemplar_position"].to_list()[5] == [15]


def test_the_layers_line(entries):
    line = summary(facts(), scores(), entries, seed=0)
    assert (line["neurons"], line["entries"], line["scored"], line["sampled"], line["passing"]) == (3, 6, 5, 2, 3)
    assert line["pass_rate"] == pytest.approx(0.5)
    assert 0 <= line["pass_rate_low"] < 0.5 < line["pass_rate_high"] <= 1
    assert (line["pass_rate_decoy"], line["null"]) == (0.75, 4)
    assert (line["pass_rate_rotated"], line["rotated"]) == (0.25, 4)
    assert line["pass_rate_shuffled"] == pytest.approx(1 / 6)
    assert line["prediction"] == pytest.approx(0.7)
    assert (line["specialised"], line["specialised_decoy"]) == (0.5, 0.25)
    assert line["verbalized_sample"] == pytest.approx((0.75 + 0.5) / 2)
    assert line["reasons"] == {"few contexts": 1, "prediction": 1, "last token": 0, "false discovery": 1}
    assert line["origins"] == {"consensus": 2, "with": 1}


def test_one_sign_alone(entries):
    one, found = facts(signs=1), scores()
    alone = frame(one, found, TEXTS, ["consensus", "with"])
    assert alone.equals(entries.filter(entries["sign"] == "+"))
    line = summary(one, found, alone, seed=0)
    assert line["entries"] == 3
    assert line["pass_rate"] == pytest.approx(1 / 3)
    # nulls of neurons have one sign too, directions both
    assert (line["pass_rate_decoy"], line["null"]) == (0.5, 2)
    assert (line["pass_rate_rotated"], line["rotated"]) == (0.25, 4)
    assert line["pass_rate_shuffled"] == pytest.approx(1 / 3)


def test_without_nulls_there_is_no_rate(entries):
    line = summary(facts(), scores(nulls=False), entries, seed=0)
    assert (line["pass_rate_decoy"], line["null"], line["pass_rate_rotated"], line["rotated"]) == (None, 0, None, 0)


def test_the_histogram_is_in_standard_deviations_and_turns_with_the_sign():
    value = torch.tensor([[-100.0], [1.0], [1.26], [100.0]])
    found = histogram(value, torch.tensor([1.0]), torch.tensor([0.5]))
    middle = BINS // 2  # of half a deviation each
    assert {i: n for i, n in enumerate(found[0, 0].tolist()) if n} == {0: 1, middle - 1: 1, middle + 1: 1, BINS - 1: 1}
    assert torch.equal(found[1], found[0].flip(-1))
