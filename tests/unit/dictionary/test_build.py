"""What is said of a whole dictionary: metrics and their interval."""

import json

import polars as pl
import pytest

from nlae.dictionary import Dictionary, write_dictionary
from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary.metrics import metrics, upper_end


def compared(folder, neurons, signs):
    """A dictionary whose sample gains by neuron alone, compared with key words in the given signs."""
    made = make_up_dictionary(folder / "made", layers=1, neurons=neurons)
    both = pl.col("sign").is_in(signs)
    gain = (pl.col("neuron") % 7) / 50
    frame = made.frame().with_columns(
        sampled=both,
        prediction_decide=pl.lit(0.6, pl.Float32),
        context_only=pl.when(both).then(pl.lit(0.6, pl.Float32)),
        verbalized=pl.when(both).then(0.6 + gain).cast(pl.Float32),
    )
    contexts = [made.context(i) for i in range(40)]
    write_dictionary(folder, [frame.collect()], contexts=contexts, layers=made.layers, facts=made.facts)
    return metrics(Dictionary.open(folder), seed=0)


def test_nulls_are_weighted_by_their_own_numbers_and_set_beside_what_passes(tmp_path):
    made = make_up_dictionary(tmp_path, layers=2, neurons=10)
    lines = [
        {
            **line,
            "entries": 20,
            "null": null,
            "pass_rate_decoy": rate,
            "pass_rate_shuffled": 0.01,
            "specialised_decoy": 0,
        }
        for line, null, rate in zip(made.layers, (30, 10), (0.0, 0.2), strict=True)
    ]
    (tmp_path / "layers.json").write_text(json.dumps(lines))
    facts = json.loads((tmp_path / "dictionary.json").read_text())
    (tmp_path / "dictionary.json").write_text(json.dumps({**facts, "fdr": 0.05}))
    dictionary = Dictionary.open(tmp_path)
    found, rate = metrics(dictionary, seed=0), dictionary.overview["passes"].mean()
    assert found["pass_rate/decoy"] == pytest.approx(0.05)
    assert found["null_share/decoy"] == pytest.approx(0.05 / rate)
    assert found["null_share/shuffled"] == pytest.approx(0.01 / rate)
    assert found["null_share/fdr"] == 0.05
    assert (found["pass_count/decoy"], found["pass_tried/decoy"]) == (2, 40)
    # P(at most 2 of 40) at this rate is 2.5 %: (1−p)^40 + 40 p (1−p)^39 + 780 p² (1−p)^38
    high = found["pass_rate/decoy_high"]
    at_most_two = (1 - high) ** 40 + 40 * high * (1 - high) ** 39 + 780 * high**2 * (1 - high) ** 38
    assert at_most_two == pytest.approx(0.025)
    assert (found["pass_count/shuffled"], found["pass_tried/shuffled"]) == (0, 40)
    assert found["pass_rate/shuffled_high"] == pytest.approx(1 - 0.025 ** (1 / 40))


@pytest.mark.parametrize(
    ("passed", "tried", "high"),
    [(0, 1, 0.975), (0, 10, 0.3085), (1, 2, 0.975**0.5), (3, 3, 1.0)],
)
def test_the_upper_end_of_a_share_is_exact(passed, tried, high):
    # none of n: (1−p)^n = 0.025; one of two: 1 − p² = 0.025
    assert upper_end(passed, tried) == pytest.approx(high, abs=1e-4)


def test_no_share_of_nothing(tmp_path):
    made = make_up_dictionary(tmp_path / "made", layers=1, neurons=4)
    none = made.frame().with_columns(passes=pl.lit(False)).collect()
    contexts = [made.context(i) for i in range(40)]
    write_dictionary(tmp_path, [none], contexts=contexts, layers=made.layers, facts=made.facts)
    found = metrics(Dictionary.open(tmp_path), seed=0)
    assert found["pass_rate"] == 0
    assert [name for name in found if name.startswith("null_share")] == []


def test_the_gain_over_key_words_counts_a_neuron_once(tmp_path):
    both, one = compared(tmp_path / "both", 42, ["+", "-"]), compared(tmp_path / "one", 42, ["+"])
    assert both["sample/gain"] == pytest.approx(3 / 50, abs=1e-5)
    assert both["sample/gain_low"] < 3 / 50 < both["sample/gain_high"]
    for end in ("sample/gain_low", "sample/gain_high"):
        assert both[end] == pytest.approx(one[end], abs=1e-9)


def test_fewer_than_thirty_neurons_give_no_interval(tmp_path):
    found = compared(tmp_path, 29, ["+", "-"])
    assert "sample/gain" in found
    assert "sample/gain_low" not in found
