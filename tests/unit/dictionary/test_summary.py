"""The figures of a whole dictionary as tables: there where measured, nothing where not, and small shares legible."""

import pytest

from nlae.dictionary.browse.summary import blocks, percent, tables

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
        (1.0, "100"),
        (-0.31, "\N{MINUS SIGN}31"),
    ],
)
def test_only_zero_reads_zero(value, shown):
    assert percent(value) == f"{shown}{SPACE}%"


def named(metrics):
    return {table.name: table for table in tables(metrics)}


def test_nothing_measured_gives_nothing():
    assert tables({"entries": 10.0, "passing": 4.0}) == []


def test_shares_and_medians_have_their_intervals():
    metrics = {"bag/pass_share": 0.46, "bag/pass_share_low": 0.44, "bag/pass_share_high": 0.48, "bag/headline": 0.45}
    metrics |= {"bag/rotated_share": 0.0004, "bag/median_auroc": 0.71, "skyline/median_auroc": 0.89}
    found = named(metrics)
    assert list(found) == ["passing", "auroc"]
    assert found["passing"].rows == [
        ("Neurons", f"46{SPACE}% (44{SPACE}% to 48{SPACE}%)"),
        ("Randomly rotated neurons", f"0.040{SPACE}%"),
        ("Difference", f"45{SPACE}%"),
    ]
    assert found["auroc"].rows == [("The words", "0.710"), ("Skyline: the entry's own vector, no words", "0.890")]
    assert tables(metrics, reader="lora")[0].name == "auroc"


def test_judges_stand_side_by_side_beside_their_nulls():
    metrics = {"embedding/detection": 0.66, "embedding/detection_mismatched": 0.51}
    metrics |= {"judge/detection": 0.6, "judge/detection_low": 0.55, "judge/detection_high": 0.65}
    assert named(metrics)["judge"].rows == [
        ("The words", "0.660", "0.600 (0.550 to 0.650)"),
        ("Another entry's words", "0.510", "–"),
    ]


def test_blocks_stand_in_order_with_what_was_measured_of_each():
    rows = [{"layer": 2, "neurons": 1536, "pass_share": 0.5}, {"layer": 0, "neurons": 3, "median_auroc": 0.71}]
    table = blocks(rows)
    assert [row[:3] for row in table.rows] == [(f"block{SPACE}0", "3", "–"), (f"block{SPACE}2", "1,536", f"50{SPACE}%")]
    assert table.rows[0][table.head.index("AUROC")] == "0.71"


def test_every_row_has_a_cell_for_each_column():
    metrics = {"bag/pass_share": 0.4, "bag/median_auroc": 0.7, "embedding/detection": 0.6, "output_score": 0.7}
    assert all(len(row) == len(table.head) for table in tables(metrics) for row in table.rows)
    assert len(tables(metrics)) == 4
