"""Geometry of the two charts that the pages draw: estimates with intervals, and lines.

Pure arithmetic: values in, coordinates out; `charts.html.j2` draws them as SVG that takes its colours from the page,
so that one drawing serves light and dark. A chart is laid out for a width in pixels, and pages hold a wide and a narrow
layout of each, because scaling one down makes its letters unreadable on a phone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nlae.page.environment import number

WIDE, NARROW = 720, 340


@dataclass(frozen=True)
class Bar:
    """One estimate: a value, its interval where there is one, and whether it is the subject or a comparison."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    own: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Series:
    """One line: points in order of x, and an interval for each point where there is one."""

    name: str
    points: Sequence[tuple[float, float]]
    own: bool = False
    dashed: bool = False
    dots: bool = False
    intervals: Sequence[tuple[float, float] | None] = ()


@dataclass(frozen=True)
class Tick:
    """A place on an axis in pixels, and what is written there."""

    at: float
    label: str
    zero: bool = False


@dataclass(frozen=True)
class PlacedBar:
    """A `Bar` in pixels."""

    bar: Bar
    y: float
    x: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DotChart:
    """A laid-out chart of estimates."""

    width: float
    height: float
    left: float
    right: float
    stacked: bool
    ticks: list[Tick]
    bars: list[PlacedBar]


@dataclass(frozen=True)
class PlacedSeries:
    """A `Series` in pixels: an SVG path, its points, and where its name stands."""

    series: Series
    path: str
    points: list[tuple[float, float]]
    whiskers: list[tuple[float, float, float]]
    label_y: float


@dataclass(frozen=True)
class LineChart:
    """A laid-out line chart."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[PlacedSeries]
    labelled: bool
    marks: list[Tick]


def dot_chart(bars: Sequence[Bar], width: float = WIDE) -> DotChart:
    """Lay out `bars` one under another on a common axis that always shows zero."""
    stacked = width < 500
    left, right = (8.0, width - 56.0) if stacked else (232.0, width - 64.0)
    step, top = (42.0, 34.0) if stacked else (30.0, 34.0)
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high) if v is not None]
    low, high = _padded([*values, 0.0])
    steps = nice(low, high, 4 if stacked else 6)

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    placed = [
        PlacedBar(
            bar,
            top + step * i + (step * 0.66 if stacked else step / 2),
            x(bar.value),
            None if bar.low is None else x(bar.low),
            None if bar.high is None else x(bar.high),
        )
        for i, bar in enumerate(bars)
    ]
    ticks = [Tick(x(v), number(v, _digits(steps)), v == 0) for v in steps]
    return DotChart(width, top + step * len(bars) + 8, left, right, stacked, ticks, placed)


def line_chart(
    lines: Sequence[Series],
    *,
    width: float = WIDE,
    height: float = 300,
    x_label: str = "",
    y_label: str = "",
    log2: bool = False,
    zero: bool = False,
    labelled: bool = True,
    marks: Sequence[tuple[float, str]] = (),
) -> LineChart:
    """Lay out `lines` on common axes.

    Args:
        lines: what to draw; points that are not finite are left out.
        width: of the whole drawing, in pixels.
        height: of the whole drawing, in pixels.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis, written above it.
        log2: horizontal axis in powers of two.
        zero: let the vertical axis always show zero.
        labelled: write each line's name at its end (only on wide drawings; narrow ones need a legend).
        marks: upright lines at values of x, each with a label.
    """
    lines = [_finite(line) for line in lines]
    lines = [line for line in lines if line.points]
    labelled = labelled and width >= 500 and bool(lines)
    left, right, top, bottom = 44.0, width - (170.0 if labelled else 14.0), 28.0, height - 40.0
    xs = [math.log2(x) if log2 else x for line in lines for x, _ in line.points] or [0.0, 1.0]
    ys = [y for line in lines for _, y in line.points] + [v for line in lines for i in line.intervals if i for v in i]
    x_low, x_high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    y_low, y_high = _padded([*ys, 0.0] if zero or not ys else ys)

    def x_at(value: float) -> float:
        value = math.log2(value) if log2 else value
        return round(left + (value - x_low) / (x_high - x_low) * (right - left), 1)

    def y_at(value: float) -> float:
        return round(bottom - (value - y_low) / (y_high - y_low) * (bottom - top), 1)

    placed = [_place(line, x_at, y_at) for line in lines]
    x_values = [2.0**k for k in range(math.ceil(x_low), math.floor(x_high) + 1)] if log2 else nice(x_low, x_high, 5)
    if all(float(x).is_integer() for line in lines for x, _ in line.points):
        x_values = [value for value in x_values if value.is_integer()]
    y_values = nice(y_low, y_high, 5)
    return LineChart(
        width, height, left, right, top, bottom, x_label, y_label,
        [Tick(x_at(v), number(v, _digits(x_values))) for v in x_values],
        [Tick(y_at(v), number(v, _digits(y_values)), v == 0) for v in y_values],
        _spread_labels(placed, top, bottom), labelled, _inside(marks, x_at, left, right),
    )  # fmt: skip


def _inside(
    marks: Sequence[tuple[float, str]], x_at: Callable[[float], float], left: float, right: float
) -> list[Tick]:
    room = 0.03 * (right - left)
    placed = [Tick(x_at(x), label) for x, label in marks]
    return [mark for mark in placed if left + room < mark.at < right - room]


def nice(low: float, high: float, count: int) -> list[float]:
    """Round values between `low` and `high`, about `count` of them, 1, 2 or 5 times a power of ten apart."""
    rough = max((high - low) / max(count, 1), 1e-12)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def _digits(values: Sequence[float]) -> int:
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or max(abs(high) * 0.1, 0.1)
    return low - room, high + room


def _finite(line: Series) -> Series:
    kept = [i for i, (x, y) in enumerate(line.points) if math.isfinite(x) and math.isfinite(y)]
    intervals = [line.intervals[i] for i in kept] if line.intervals else []
    return Series(line.name, [line.points[i] for i in kept], line.own, line.dashed, line.dots, intervals)


def _place(line: Series, x_at: Callable[[float], float], y_at: Callable[[float], float]) -> PlacedSeries:
    points = [(x_at(x), y_at(y)) for x, y in line.points]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    whiskers = [
        (x, y_at(interval[0]), y_at(interval[1]))
        for (x, _), interval in zip(points, line.intervals, strict=False)
        if interval
    ]
    return PlacedSeries(line, path, points, whiskers, points[-1][1])


def _spread_labels(lines: list[PlacedSeries], top: float, bottom: float, gap: float = 16.0) -> list[PlacedSeries]:
    order = sorted(range(len(lines)), key=lambda i: lines[i].label_y)
    at: list[float] = []
    for i in order:
        at.append(max(lines[i].label_y, at[-1] + gap) if at else max(lines[i].label_y, top))
    shift = max(0.0, at[-1] - bottom) if at else 0.0
    moved = {i: y - shift for i, y in zip(order, at, strict=True)}
    return [PlacedSeries(line.series, line.path, line.points, line.whiskers, moved[i]) for i, line in enumerate(lines)]
