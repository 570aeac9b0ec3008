"""Figures of several sites together, where one of them is undefined."""

from __future__ import annotations

import math

import pytest

from nlae.evaluation.per_site import _together


def test_a_mean_is_over_the_sites_where_the_figure_is_defined() -> None:
    nan = math.nan
    found = _together(
        {
            "resid.0": {"fve": 0.5, "kept/half": nan, "kept/none": nan},
            "resid.1": {"fve": 0.7, "kept/half": 0.4, "kept/none": nan},
            "mlp_out.1": {"fve": 0.3, "kept/half": 0.8, "kept/none": nan, "fve_low": 0.1},
        }
    )
    assert found["fve"] == pytest.approx(0.5)
    assert found["kept/half"] == pytest.approx(0.6)
    assert found["kept/half/resid"] == pytest.approx(0.4)
    assert math.isnan(found["kept/half/resid.0"])
    assert math.isnan(found["kept/none"])
    assert "fve_low" not in found
    assert found["sites"] == 3
