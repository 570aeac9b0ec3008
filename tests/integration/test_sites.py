"""The whole chain at other sites than the residual stream."""

import json

import pytest

from nlae.cli import main


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "width"), [("mlp_neurons", 192), ("mlp_out", 64)])
def test_the_chain_runs_at_sites_of_the_mlp(tmp_path, kind, width):
    words = ["report", f"site={kind}", "target=tiny", "debug=smoke", "logger=none", f"paths.artifacts={tmp_path}"]
    assert main(words) == 0

    def metrics(stage):
        (path,) = (tmp_path / stage).glob("*/metrics.json")
        return json.loads(path.read_text())

    assert metrics("extract")["width"] == width
    assert {"fve", "control/shuffled", "raw_r2", "frontier/quote_4"} <= metrics("evaluate").keys()
    (page,) = (tmp_path / "report").glob("*/report.html")
    words = {"mlp_neurons": "MLP neurons of block", "mlp_out": "MLP output of block"}
    assert words[kind] in page.read_text()
