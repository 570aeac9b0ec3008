"""Settings that would measure nothing are refused by name; lists from a config become tuples."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nlae.errors import NlaeError
from nlae.evaluation import EvaluationSettings


@pytest.mark.parametrize(
    "wrong", [{"subject": "rl"}, {"max_rows": 1}, {"fit_rows": 0}, {"components": []}, {"quote_lengths": [0, 4]}]
)
def test_settings_that_measure_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(NlaeError, match=rf"evaluation\.{next(iter(wrong))}"):
        EvaluationSettings(**wrong)  # type: ignore[arg-type]


def test_lists_become_sorted_tuples() -> None:
    assert EvaluationSettings(components=[16, 1]).components == (1, 16)  # type: ignore[arg-type]


def test_naming_the_settings_in_a_config_loads_no_torch() -> None:
    code = "import sys; from nlae.evaluation import EvaluationSettings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
