"""From repetitions to rows: medians, ratios, shares of the roof, the results file, the tables."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

START, END = "<!-- results -->", "<!-- end of results -->"


@dataclasses.dataclass
class Measured:
    """Repetitions of one contender.

    Attributes:
        seconds, units, peak: per repetition.
        versions: of its libraries.
        check: its check values, if it has any.
        problem: why it was not run (to the end), or None.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    units: list[int] = dataclasses.field(default_factory=list)
    peak: list[int] = dataclasses.field(default_factory=list)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    check: list[float] | None = None
    problem: str | None = None

    def add(self, answer: Mapping[str, Any]) -> None:
        """Enter one repetition."""
        self.seconds.append(float(answer["seconds"]))
        self.units.append(int(answer["units"]))
        self.peak.append(int(answer["peak"]))

    @property
    def rate(self) -> float:
        """Median of units per second."""
        return statistics.median(u / s for u, s in zip(self.units, self.seconds, strict=True))


def difference(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> float | None:
    """Largest difference of check values, relative to the largest of ours; None where one side has none."""
    if not ours or not theirs:
        return None
    if len(ours) != len(theirs):
        return float("inf")
    largest = max(max(map(abs, ours)), 1e-12)
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / largest


def row(
    work: str,
    peer: str,
    unit: str,
    ours: Measured,
    theirs: Measured,
    *,
    target: float | None,
    tolerance: float | None,
    flops: float,
    roof: float,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """One line of the results file.

    Args:
        work, peer, unit: what was compared.
        ours, theirs: repetitions.
        target: least ratio, or None.
        tolerance: largest difference of check values.
        flops: least arithmetic of one repetition.
        roof: FLOP/s of a large matrix product in the same run.
        about: further facts (model, date, …).
    """
    made: dict[str, Any] = {"work": work, "peer": peer, "ours": None, "theirs": None, "unit": unit, "ratio": None}
    made |= {"target": target, "met": None, "roof_share": None, "peak_bytes": None, "peer_peak_bytes": None}
    made |= {"rounds": len(ours.seconds), "difference": difference(ours.check, theirs.check), "not_run": None}
    if ours.seconds:
        median = statistics.median(ours.seconds)
        made |= {"ours": ours.rate, "roof_share": flops / median / roof, "peak_bytes": max(ours.peak)}
    problem = (ours.problem and f"ours: {ours.problem}") or theirs.problem or _unequal(ours, theirs)
    if problem is None and tolerance is not None and (made["difference"] or 0.0) > tolerance:
        problem = f"results differ by {made['difference']:.2g} (relative), which is more than {tolerance:.2g}"
    if problem is not None:
        made["not_run"] = problem
    else:
        ratio = ours.rate / theirs.rate
        made |= {"theirs": theirs.rate, "ratio": ratio, "peer_peak_bytes": max(theirs.peak)}
        made["met"] = None if target is None else ratio >= target
    made["versions"] = {
        **theirs.versions,
        **{f"ours/{k}": v for k, v in ours.versions.items() if k in ("torch", "nlae")},
    }
    return made | dict(about)


def _unequal(ours: Measured, theirs: Measured) -> str | None:
    if not ours.units or not theirs.units:
        return "no repetition"
    if set(ours.units) != set(theirs.units) or len(set(ours.units)) != 1:
        return f"unequal work: {sorted(set(ours.units))} against {sorted(set(theirs.units))}"
    return None


LEFT_OUT = "left out on the command line"


def merge(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put `rows` into the file, in place of those of the same work, peer and model; returns all rows.

    A peer that was only left out this time keeps what was measured before.
    """
    held: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    by_key = {_key(one): one for one in held}
    by_key |= {_key(one): dict(one) for one in rows if one.get("not_run") != LEFT_OUT or _key(one) not in by_key}
    everything = list(by_key.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(path)
    return everything


def _key(one: Mapping[str, Any]) -> tuple[str, ...]:
    return str(one["work"]), str(one["peer"]), str(one.get("model")), str(one.get("dtype"))


HEADINGS = ("work", "peer", "in", "ours", "theirs", "unit", "ratio", "target", "of the roof", "peak ours / theirs")


def cells(one: Mapping[str, Any]) -> list[str]:
    """A row as text, under `HEADINGS`."""
    target = "–" if one["target"] is None else f"≥ {one['target']:g}"
    if one["met"] is not None:
        target += " met" if one["met"] else " **missed**"
    ratio = f"{one['ratio']:.2f}" if one["ratio"] is not None else f"not run: {one['not_run']}"
    return [
        str(one["work"]),
        str(one["peer"]),
        f"{short(one.get('dtype'))} / {short(one.get('peer_dtype') or one.get('dtype'))}",
        _number(one["ours"]),
        _number(one["theirs"]),
        str(one["unit"]),
        ratio,
        target,
        "–" if one["roof_share"] is None else f"{one['roof_share']:.0%}",
        f"{_gigabytes(one['peak_bytes'])} / {_gigabytes(one['peer_peak_bytes'])}",
    ]


def short(dtype: object) -> str:
    """A type's name for tables."""
    return {"float32": "fp32", "bfloat16": "bf16", "None": "–"}.get(str(dtype), str(dtype))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gigabytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e9:.2f} GB"


def markdown(kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of one machine kind."""
    lines = [f"### {kind}", ""]
    for model, dtype in dict.fromkeys((str(one.get("model")), str(one.get("dtype"))) for one in rows):
        mine = [one for one in rows if (str(one.get("model")), str(one.get("dtype"))) == (model, dtype)]
        dates = sorted({str(one.get("date")) for one in mine})
        rounds = sorted({int(one["rounds"]) for one in mine})
        lines += [f"{model}, {dtype}; {', '.join(dates)}; rounds: {', '.join(map(str, rounds))}", ""]
        lines += [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
        lines += [f"| {' | '.join(text.replace('|', '/') for text in cells(one))} |" for one in mine] + [""]
    return "\n".join(lines)


def write_readme(readme: Path, tables: str) -> None:
    """Replace the block between the markers."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{START}\n{tables.strip()}\n{END}{after}", encoding="utf-8")
