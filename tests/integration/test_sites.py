"""The whole chain at other sites than the residual stream."""

import json

import polars as pl
import pytest

from nlae.cli import main
from nlae.model.autoencoder import Autoencoder


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_chain_runs_for_several_sites(tmp_path, capsys):
    words = ["site=sites", "site.layers=[1,3]", "prompt=site", "target=tiny", "debug=smoke", "logger=none"]
    words += [f"paths.artifacts={tmp_path}", "evaluation.site_rows=8", "data.reader_sites=2"]
    assert main(["report", *words]) == 0
    (evaluated,) = (tmp_path / "evaluate").glob("*/metrics.json")
    found = json.loads(evaluated.read_text())
    names = ["mlp_in.1", "mlp_neurons.1", "mlp_in.3", "mlp_neurons.3"]
    assert {f"{key}/{name}" for key in ("fve", "control/shuffled", "control/mean") for name in names} <= found.keys()
    assert {"fve", "fve/mlp_in", "fve/mlp_neurons", "neurons/r2/mlp_neurons.3", "ceiling/linear"} <= found.keys()
    neurons = pl.read_parquet(evaluated.parent / "neurons.parquet")
    assert neurons.group_by("layer").len().sort("layer").rows() == [(1, 192), (3, 192)]
    assert {path.name for path in (tmp_path / "extract").glob("*/*.*") if path.is_dir()} == set(names)
    (trained,) = (path.parent for path in (tmp_path / "reinforce").glob("*/nla_meta.yaml"))
    several = Autoencoder.load(trained)
    assert several.names == tuple(names)
    assert "layer 3, MLP neurons" in several.target.tokenizer.decode(several.at(names[-1]).verbalizer.ids.prefix_ids)
    (page,) = (tmp_path / "report").glob("*/report.html")
    assert "Site by site" in page.read_text()
    # its checkpoint explains a text at one site, which has to be named
    asked = ["explain", f"checkpoint={trained}", "text=It rains", "logger=none", f"paths.artifacts={tmp_path}"]
    assert main(asked) == 2
    assert "site=mlp_neurons site.layer=3" in capsys.readouterr().err
    assert main([*asked, "site=mlp_neurons", "site.layer=3", "tokens=-1"]) == 0
    # one layer means nothing to several
    assert main(["extract", *words, "site.layer=2"]) == 2
    assert "site.layer" in capsys.readouterr().err
