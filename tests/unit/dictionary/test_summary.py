"""The figures of a whole dictionary as tables: there where measured, nothing where not, and small shares legible."""

import pytest

from nlae.dictionary.summary import percent, pooled, tables

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.0006, "0.060"),
        (0.00063, "0.063"),
        (0.000004, "0.00040"),
        (0.0049, "0.49"),
        (0.016, "1.6"),
        (1.0, "100.0"),
    ],
)
def test_only_zero_reads_zero(value, shown):
    assert percent(value) == f"{shown}{SPACE}%"


def test_pooled_by_what_each_is_a_rate_of():
    lines = [{"rate": 0.5, "of": 10}, {"rate": 0.0, "of": 30}, {"rate": None, "of": 5}, {"rate": 0.9, "of": 0}]
    assert pooled(lines, "rate", "of") == pytest.approx(0.125)
    assert pooled(lines[2:], "rate", "of") is None
    assert pooled([{"rate": 0.5}], "rate", "of") is None


def named(metrics):
    return {table.name: table for table in tables(metrics)}


def test_nothing_measured_gives_nothing():
    assert tables({"entries": 10.0, "pass_rate": 0.1, "judge/detection/published": 1.0, "sample/entries": 4.0}) == []


def test_nulls_have_counts_upper_ends_and_what_the_rule_promises():
    metrics = {"null_share/decoy": 0.02, "null_share/fdr": 0.05, "pass_rate/decoy": 0.0004}
    counted = {"pass_count/decoy": 2.0, "pass_tried/decoy": 5000.0, "pass_rate/decoy_high": 0.00144}
    (row,) = named(metrics)["nulls"].rows
    assert row == ("Decoys that set no rule", "–", "–", f"0.040{SPACE}%", "–", f"2.0{SPACE}%")
    table = named(metrics | counted)["nulls"]
    assert table.rows[0][1:5] == ("2", "5,000", f"0.040{SPACE}%", f"0.14{SPACE}%")
    assert f"at most 5.0{SPACE}%" in table.about
    assert {len(row) for row in table.rows} == {len(table.head)}


def test_judged_groups_have_their_interval_and_a_refused_task_is_named():
    metrics = {
        "judge/detection/context_only": 0.6,
        "judge/detection/context_only_low": 0.55,
        "judge/detection/context_only_high": 0.65,
        "judge/detection/context_only_entries": 50.0,
        "judge/detection/published": 1.0,
        "judge/fuzzing/control": 0.52,
        "judge/fuzzing/control_entries": 24.0,
        "judge/fuzzing/published": 0.0,
    }
    table = named(metrics)["judge"]
    assert [row[1:] for row in table.rows] == [
        ("detection", "0.600 (0.550 to 0.650)", "50"),
        ("fuzzing", "0.520", "24"),
    ]
    assert table.about.endswith("nothing is published of fuzzing.")


def test_output_scores_gains_and_variance():
    metrics = {
        "output_score": 0.7,
        "output_score/decoy": 0.5,
        "output_score/entries": 40.0,
        "output_score/mean": 0.68,
        "output_score/mean_low": 0.64,
        "output_score/mean_high": 0.72,
        "output_score/gain": 0.2,
        "output_score/gain_random": -0.1,
        "sample/gain": 0.012,
        "sample/gain_low": -0.004,
        "sample/gain_high": 0.03,
        "r2_ceiling": 0.4,
    }
    found = named(metrics)
    assert list(found) == ["steering", "budget", "survival"]
    assert found["steering"].rows[0] == ("Median", "0.700", "0.500", "40")
    assert found["steering"].rows[1] == ("Mean", "0.680 (0.640 to 0.720)", "–", "40")
    assert found["budget"].rows == [("Mean gain over key words", "0.012 (−0.004 to 0.030)")]
    assert found["survival"].rows == [("Best linear map from what is put into words", "0.400")]
    assert all(len(row) == len(table.head) for table in found.values() for row in table.rows)
