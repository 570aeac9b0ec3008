import itertools
import math

import pytest

from nlae.page import Bar, Series, dot_chart, line_chart
from nlae.page.charts import nice
from nlae.page.environment import number


def test_nice_steps_are_round_and_inside() -> None:
    assert nice(-0.97, 0.6, 6) == [-0.5, 0.0, 0.5]
    assert nice(0, 100, 5) == [0, 20, 40, 60, 80, 100]
    assert nice(1, 1, 5) == [1]


def test_dots_keep_their_order_and_share_an_axis_with_zero() -> None:
    chart = dot_chart([Bar("own", 0.4, 0.3, 0.5, own=True), Bar("other", -0.9)])
    own, other = chart.bars
    (zero,) = [tick.at for tick in chart.ticks if tick.zero]
    assert other.x < zero < own.low < own.x < own.high
    assert own.x - own.low == pytest.approx(own.high - own.x, abs=0.2)
    assert other.low is None


@pytest.mark.parametrize("width", [720, 340])
def test_everything_stays_inside_the_drawing(width: float) -> None:
    lines = [
        Series("a", [(2.0**k, math.sin(k)) for k in range(6)]),
        Series("b", [(40, 3.0)], intervals=[(2.0, 4.0)]),
        Series("c", [(1, float("nan"))]),
    ]
    chart = line_chart(lines, width=width, log2=True, marks=[(4, "here"), (1, "edge")])
    assert [line.series.name for line in chart.lines] == ["a", "b"]
    for line in chart.lines:
        assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in line.points)
        assert all(chart.top <= low and high <= chart.bottom for _, high, low in line.whiskers)
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "4", "8", "16", "32"]
    assert [mark.label for mark in chart.marks] == ["here"]


def test_names_at_line_ends_never_overlap() -> None:
    chart = line_chart([Series(str(i), [(0, 1.0), (1, 1.0 + i / 1000)]) for i in range(6)])
    at = sorted(line.label_y for line in chart.lines)
    assert min(b - a for a, b in itertools.pairwise(at)) >= 16
    assert at[-1] <= chart.bottom


def test_no_line_at_all_is_an_empty_drawing() -> None:
    assert line_chart([]).lines == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.938, "\N{MINUS SIGN}0.94"),
        (1980, "1,980"),
        (36.4, "36.4"),
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.00"),
        (0.0035, "0.00"),
        (1e-5, "1.0e\N{MINUS SIGN}05"),
    ],
)
def test_numbers_for_readers(value, text: str) -> None:
    assert number(value) == text
