"""What the report's charts show: controls, the quote frontier, learning curves; each laid out wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nlae.page import Bar, DotChart, LineChart, Series, dot_chart, line_chart
from nlae.page.charts import NARROW, WIDE
from nlae.report.gather import StageFiles
from nlae.report.meanings import plain

Point = dict[str, Any]
CURVES = (
    ("verbalizer/nll", "Verbalizer, loss on the teacher's text (nats per token)"),
    ("reconstructor/error", "Reconstructor, squared distance of unit vectors"),
    ("reward/total", "Reward of the rollouts"),
    ("policy/kl", "KL to the warm start (nats per token)"),
    ("policy/entropy", "Surprise of the verbalizer at its own text"),
    ("rollout/tokens", "Tokens written per explanation"),
    ("rollout/closed_rate", "Share of explanations that end by themselves"),
    ("val/nll_gap", "What the activation is worth to the verbalizer (nats)"),
)


@dataclass(frozen=True)
class Drawing:
    """One chart in two layouts, with its words for those who cannot see it."""

    name: str
    title: str
    about: str
    wide: DotChart | LineChart
    narrow: DotChart | LineChart
    legend: tuple[Series, ...] = ()


def controls(bars: list[Bar]) -> Drawing:
    """Dots with intervals: the round trip above its controls."""
    about = "; ".join(f"{bar.label} {bar.value:.2f}" for bar in bars)
    return Drawing(
        "controls", "FVE of the round trip beside its controls", about, dot_chart(bars, WIDE), dot_chart(bars, NARROW)
    )


def frontier(stored: dict[str, Any] | None, metrics: dict[str, float]) -> Drawing | None:
    """FVE against tokens of text: quotes in both readings as lines, the words as a point."""
    points = (stored or {}).get("points") or _points_of(metrics)
    lines = [
        _line("Quotes, trained reader", [p for p in points if p["name"] == "quote"]),
        _line("Quotes, untrained target", [p for p in points if p["name"] == "quote_frozen"], dashed=True),
        _line("The teacher's text", [p for p in points if p["name"] == "teacher"]),
        _line("The words", [p for p in points if p["name"] == "explanation"], own=True),
    ]
    lines = [line for line in lines if line.points]
    if not lines or not any(len(line.points) > 1 for line in lines):
        return None
    about = "; ".join(f"{line.name}: " + ", ".join(f"{x:.0f} tokens {y:.2f}" for x, y in line.points) for line in lines)

    def lay(width: float) -> LineChart:
        return line_chart(
            lines, width=width, height=320, log2=True, zero=True, x_label="tokens of text read", y_label="FVE"
        )

    return Drawing("frontier", "FVE against the number of tokens read", about, lay(WIDE), lay(NARROW), tuple(lines))


def held_out(stages: dict[str, StageFiles]) -> Drawing | None:
    """Held-out FVE over all updates: the round trip, the teacher's text, the shuffled pairing."""
    lines = [
        _curve("The words", stages, "val/fve", own=True),
        _curve("The teacher's text", stages, "val/fve_teacher"),
        _curve("Shuffled pairing", stages, "val/fve_shuffled", dashed=True),
    ]
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    about = "; ".join(f"{line.name} from {line.points[0][1]:.2f} to {line.points[-1][1]:.2f}" for line in lines)
    return _drawing("learning", "FVE on validation rows while learning", about, lines, stages, wide=True)


def curves(stages: dict[str, StageFiles]) -> list[Drawing]:
    """One small chart for each quantity that was logged and is known here."""
    out = []
    for i, (key, title) in enumerate(CURVES):
        line = _curve(title, stages, key, own=True)
        if len(line.points) > 1:
            about = f"from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
            out.append(_drawing(f"curve{i}", title, about, [line], stages, wide=False))
    return out


def _drawing(
    name: str, title: str, about: str, lines: list[Series], stages: dict[str, StageFiles], wide: bool
) -> Drawing:
    marks = [(at, "reinforcement starts") for at in _starts(stages).values() if at > 0]

    def lay(width: float, labelled: bool, height: float) -> LineChart:
        return line_chart(
            lines, width=width, height=height, x_label="update", y_label="FVE" if wide else "", zero=wide,
            labelled=labelled, marks=marks,
        )  # fmt: skip

    narrow = lay(NARROW, False, 280 if wide else 190)
    return Drawing(name, title, about, lay(WIDE, True, 300) if wide else narrow, narrow, tuple(lines))


def _starts(stages: dict[str, StageFiles]) -> dict[str, float]:
    """Updates before each trained stage began, so that reinforcement goes on where the warm start ended."""
    begun = ("verbalizer", "reconstructor", "warmstart")
    points = [point for name in begun if name in stages for point in stages[name].history]
    last = max((float(point["update"] or 0) for point in points), default=0.0)
    return {**dict.fromkeys(begun, 0.0), "reinforce": last, "subject": 0.0}


def _curve(name: str, stages: dict[str, StageFiles], key: str, own: bool = False, dashed: bool = False) -> Series:
    points = []
    for stage, start in _starts(stages).items():
        for point in stages[stage].history if stage in stages else []:
            value = point.get(key)
            if value is not None:
                points.append((start + float(point["update"] or 0), float(value)))
    return Series(name, points, own, dashed)


def _line(name: str, points: list[Point], own: bool = False, dashed: bool = False) -> Series:
    def length(point: Point) -> float:
        return float(point.get("text_tokens") or point.get("tokens") or 0)

    kept = sorted((p for p in points if length(p) > 0), key=length)
    spans = [(p["low"], p["high"]) if p.get("low") is not None and p.get("high") is not None else None for p in kept]
    return Series(name, [(length(p), float(p["fve"])) for p in kept], own, dashed, dots=True, intervals=spans)


def _points_of(metrics: dict[str, float]) -> list[Point]:
    """Points from the flat metrics, for an evaluation that left no frontier.json; a quote's length is its n."""
    out: list[Point] = []
    find: Callable[[str], re.Match[str] | None] = re.compile(r"frontier/quote_(\d+)(_frozen)?").fullmatch
    for key, value in metrics.items():
        match = find(plain(key))
        if match:
            name = "quote_frozen" if match.group(2) else "quote"
            span = {"low": metrics.get(f"{key}_low"), "high": metrics.get(f"{key}_high")}
            out.append({"name": name, "tokens": float(match.group(1)), "fve": value, **span})
    tokens, own = metrics.get("explanation_tokens_mean"), metrics.get("frontier/fve")
    if tokens and own is not None:
        span = {"low": metrics.get("frontier/fve_low"), "high": metrics.get("frontier/fve_high")}
        out.append({"name": "explanation", "tokens": tokens, "fve": own, **span})
    return out
