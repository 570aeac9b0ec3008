"""The page of several sites: each beside its own controls, layers in order, and no figure of a site elsewhere."""

import json
import re
from pathlib import Path

import pytest

from nlae.report import build_report, sites
from nlae.report.meanings import label

AT = {"mlp_neurons": (2, 10, 0), "mlp_in": (10, 0, 2)}


def site_metrics(intervals: bool = True) -> dict[str, float]:
    """Three layers of two kinds; the words beat the shuffled pairing everywhere, the table at block 10 only."""
    out: dict[str, float] = {"fve": 0.31, "control/shuffled": -0.8, "control/last_token": 0.3, "sites": 6.0}
    for kind, layers in AT.items():
        out |= {f"fve/{kind}": 0.3 + len(kind) / 1000, f"control/last_token/{kind}": 0.29}
        for layer in layers:
            own, end = 0.2 + layer / 50, f"/{kind}.{layer}"
            values = {"fve": own, "control/last_token": 0.3, "control/shuffled": -0.8, "rows": 200.0}
            if kind == "mlp_neurons":
                values |= {"neurons/r2": 0.11 + layer / 100, "ceiling/linear": 0.5}
            out |= {key + end: value for key, value in values.items()}
            if intervals:
                out |= {f"fve_low{end}": own - 0.02, f"fve_high{end}": own + 0.02}
                for control in ("last_token", "shuffled"):
                    gap = own - values[f"control/{control}"]
                    out |= {f"control/{control}_gap{end}": gap, f"control/{control}_gap_low{end}": gap - 0.05}
                    out[f"control/{control}_gap_high{end}"] = gap + 0.05
    return out


@pytest.fixture
def page(tmp_path: Path, make_stage) -> str:
    return build(tmp_path, make_stage, site_metrics())


@pytest.fixture
def make_stage():
    def make(root: Path, metrics: dict[str, float]) -> Path:
        folder = root / "evaluate" / "abc"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return make


def build(root: Path, make_stage, metrics: dict[str, float]) -> str:
    build_report({"evaluate": make_stage(root, metrics)}, root / "out")
    return (root / "out" / "report.html").read_text(encoding="utf-8")


def test_layers_of_each_kind_are_in_order() -> None:
    assert sites.layers(site_metrics()) == {"mlp_in": [0, 2, 10], "mlp_neurons": [0, 2, 10]}
    assert sites.layers({"fve": 0.3, "control/mean": 0.1, "early/fve": 0.2}) == {}


def test_figures_of_a_site_stand_in_its_table_alone() -> None:
    assert sites.over_all(site_metrics()).keys() == {"fve", "control/shuffled", "control/last_token", "sites"}
    plain = {"fve": 0.3, "control/mean": 0.1, "something/new": 1.0}
    assert sites.over_all(plain) == plain


def test_each_site_has_its_figures_with_their_interval() -> None:
    inputs, neurons = sites.tables(site_metrics())
    assert [row.title for row in neurons.rows] == ["block 0", "block 2", "block 10", "mean"]
    assert neurons.columns == tuple(
        label(key) for key in ("fve", "control/last_token", "control/shuffled", "neurons/r2", "ceiling/linear")
    )
    assert inputs.columns == neurons.columns[:3], "no column without figures"
    values = [figure.value for figure in neurons.rows[2].figures if figure]
    assert values == pytest.approx([0.4, 0.3, -0.8, 0.21, 0.5])
    assert neurons.rows[2].figures[0].interval == "0.38 to 0.42"
    assert neurons.rows[3].figures[0].value == pytest.approx(0.311)
    assert neurons.rows[3].figures[0].interval == "", "a mean over sites has none"
    assert [line.own for line in neurons.drawing.legend] == [True, False, False]
    assert [x for x, _ in neurons.drawing.legend[0].points] == [0.0, 2.0, 10.0]
    assert neurons.drawing.legend[0].intervals[2] == pytest.approx((0.38, 0.42))


def test_claims_count_sites_by_their_own_intervals() -> None:
    table, shuffled = sites.verdict(site_metrics())
    assert "the last-token table the words do better at 2 of 6 sites and worse at 4" in table
    assert "the shuffled pairing the words do better at 6 of 6 sites and worse at 0" in shuffled
    assert "no comparison is claimed" in sites.verdict(site_metrics(intervals=False))[0]


def test_the_page_shows_them(page: str) -> None:
    table = page[page.index('id="h-sites"') : page.index('id="h-reading"')]
    assert table.index("MLP inputs") < table.index("MLP neurons")
    assert [int(n) for n in re.findall(r'<th scope="row">block (\d+)</th>', table)] == [0, 2, 10] * 2
    for wanted in ("0.38 to 0.42", "R² of its neurons", "Linear ceiling"):
        assert wanted in table, wanted
    rest = page.replace(table, "")
    assert "mlp_in.10" not in rest
    assert "better at 2 of 6 sites" in rest
    assert "at each of 6 sites" in rest


def test_a_pair_of_one_site_has_no_such_table(tmp_path: Path, make_stage) -> None:
    assert "Site by site" not in build(tmp_path, make_stage, {"fve": 0.3, "control/mean": -0.1})
