"""Preflight, building and sidecars."""

import pytest
import yaml

from nlae.config.compose import compose_plain, conf_dir
from nlae.config.preflight import preflight
from nlae.errors import NlaeError
from nlae.pipeline.adopt import adopt_checkpoint, is_typed, said_by


@pytest.fixture
def config():
    return compose_plain(["target=tiny"]).config


def test_preflight_reports_everything_at_once_with_the_nearest(config):
    config["site"]["layr"] = 3
    config["teacher"]["tial"] = "none"
    config["trainer"]["devcies"] = 2
    config["target"]["_target_"] = "nlae.target.TinyTraget"
    with pytest.raises(NlaeError) as failure:
        preflight(config, conf_dir())
    text = str(failure.value)
    for part in (
        "unknown key site.layr; did you mean 'layer'?",
        "unknown key teacher.tial; did you mean 'tail'?",
        "unknown key trainer.devcies; did you mean 'devices'?",
        "'nlae.target' has no 'TinyTraget'",
    ):
        assert part in text
    assert "\n" not in text


def test_preflight_names_a_missing_key(config):
    del config["prompt"]["reconstructor"]
    with pytest.raises(NlaeError, match=r"missing key prompt\.reconstructor"):
        preflight(config, conf_dir())


def test_preflight_looks_into_nested_nodes(config):
    config["verbalizer"]["injection"]["pint"] = 0
    with pytest.raises(NlaeError, match=r"unknown key verbalizer\.injection\.pint; did you mean 'point'"):
        preflight(config, conf_dir())


def sidecar(folder, **changes):
    target = {"_target_": "nlae.target.tiny.TinyTarget", "name": "tiny", "family": "qwen2", "layers": 4}
    meta = {
        "kind": "nla_model",
        "role": "pair",
        "base_checkpoint": "tiny",
        "extraction_layer_index": 2,
        "target": target,
        "site": {"kind": "mlp_out", "layer": 2, "min_position": 5},
        "prompt": {"name": "own", "verbalizer": "own {slot}", "max_tokens": 17},
        "injection": {"mode": "add", "point": 1, "scale": 3.5},
        "verbalizer_adapter": {"rank": 4, "alpha": 8.0},
        "reconstructor": {"magnitude": True, "max_tokens": 99},
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "nla_meta.yaml").write_text(yaml.safe_dump(meta))
    return folder


def adopt(folder, *overrides):
    composed = compose_plain([*overrides, f"checkpoint={folder}"])
    return adopt_checkpoint(composed.config, composed.typed)


def test_a_sidecar_replaces_defaults(tmp_path):
    config, folder = adopt(sidecar(tmp_path / "pair"))
    assert folder == tmp_path / "pair"
    assert config["target"]["family"] == "qwen2"
    assert (config["site"]["kind"], config["site"]["layer"], config["site"]["depth"]) == ("mlp_out", 2, None)
    assert config["site"]["min_position"] == 5
    assert config["prompt"]["verbalizer"] == "own {slot}"
    assert config["verbalizer"]["injection"]["mode"] == "add"
    assert config["verbalizer"]["adapter"]["rank"] == 4
    assert config["reconstructor"]["max_tokens"] == 99


def mixture(folder):
    sites = [{"kind": k, "layer": n, "min_position": 5} for n in (0, 2) for k in ("mlp_in", "mlp_neurons")]
    strange = {"_target_": "os.system", "kinds": ["mlp_in"]}
    return sidecar(folder, role="mixture", extraction_layer_index=None, site=strange, sites=sites)


@pytest.mark.parametrize(
    "override", ["seed=4", "site=sites", "site.min_position=9", "site=sites site.depths=[0.0,0.67]"]
)
def test_an_older_sidecar_of_several_sites_says_all_of_them(tmp_path, override):
    config, _ = adopt(mixture(tmp_path / "mixture"), *override.split())
    first = 9 if override == "site.min_position=9" else 5
    assert config["site"] == {
        "_target_": "nlae.target.site.Sites", "kinds": ["mlp_in", "mlp_neurons"], "layers": [0, 2],
        "depths": None, "min_position": first,
    }  # fmt: skip


@pytest.mark.parametrize("where", ["site.layer=2", "site.depth=0.67"])
def test_one_of_several_sites_can_be_named(tmp_path, where):
    site = adopt(mixture(tmp_path / "mixture"), "site=mlp_neurons", where)[0]["site"]
    assert (site["_target_"], site["kind"], site["layer"], site["depth"]) == (
        "nlae.target.site.Site", "mlp_neurons", 2, None,
    )  # fmt: skip
    assert site["min_position"] == 5


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["site=mlp_neurons", "site.layer=1"], "has no site=mlp_neurons site.layer=1; it reads mlp_in, mlp_neurons"),
        (["site=resid", "site.layer=2"], "has no site=resid"),
        (["site=mlp_in"], "site.layer=None"),
        (["site=sites", "site.layers=[0,1]"], "disagrees with the command line: site.layers="),
        (["site=sites", "site.depths=[0.0,1.0]"], "site.depths='[0.0, 1.0]', but the checkpoint has layers '[0, 2]'"),
    ],
)
def test_a_site_that_a_checkpoint_lacks_is_refused(tmp_path, overrides, named):
    with pytest.raises(NlaeError) as failure:
        adopt(mixture(tmp_path / "mixture"), *overrides)
    assert named in str(failure.value)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("site.layer=1", "site.layer='1'"),
        ("site.depth=0.0", "site.layer='0'"),
        ("prompt=paper", "prompt.verbalizer"),
        ("prompt.max_tokens=16", "prompt.max_tokens='16'"),
        ("target=tiny", "target.family='llama'"),
        ("verbalizer.injection.point=0", "verbalizer.injection.point='0'"),
        ("verbalizer.adapter.rank=8", "verbalizer.adapter.rank='8'"),
        ("reconstructor.magnitude=false", "reconstructor.magnitude='False'"),
        ("site.kind=resid", "site.kind='resid'"),
    ],
)
def test_a_typed_key_that_disagrees_is_an_error(tmp_path, override, named):
    with pytest.raises(NlaeError) as failure:
        adopt(sidecar(tmp_path / "pair"), override)
    assert named in str(failure.value)
    assert "disagrees with the command line" in str(failure.value)


@pytest.mark.parametrize(
    "override", ["site.layer=2", "site.depth=0.67", "site=mlp_out", "+target.family=qwen2", "verbalizer=lora", "seed=4"]
)
def test_a_typed_key_that_agrees_is_none(tmp_path, override):
    folder = sidecar(
        tmp_path / "pair",
        verbalizer_adapter={"rank": 16},
        injection={"mode": "replace", "point": "embedding", "scale": 2.0},
    )
    config, _ = adopt(folder, override)
    assert config["site"]["layer"] == 2


def of_a_hub(folder, **more):
    target = {"_target_": "nlae.target.hub.HubTarget", "name": "small", "model": "a/b", **more}
    return sidecar(folder, target=target)


@pytest.mark.parametrize(
    ("override", "more", "named"),
    [
        ("target.quantization=4bit", {}, "target.quantization='4bit', but it was trained on small with 'None'"),
        ("target.quantization=null", {"quantization": "8bit"}, "target.quantization='None'"),
        ("+target.trust_remote_code=true", {}, "target.trust_remote_code='True'"),
        ("+target.cache_dir=here", {}, "target.cache_dir='here'"),
    ],
)
def test_a_typed_key_of_the_target_is_never_dropped(tmp_path, override, more, named):
    with pytest.raises(NlaeError) as failure:
        adopt(of_a_hub(tmp_path / "pair", **more), override)
    assert named in str(failure.value)


def test_what_an_older_sidecar_leaves_out_may_be_typed_as_it_was(tmp_path):
    config, _ = adopt(of_a_hub(tmp_path / "pair"), "target.quantization=null", "+target.trust_remote_code=false")
    assert config["target"] == {"_target_": "nlae.target.hub.HubTarget", "name": "small", "model": "a/b"}


def test_a_checkpoint_does_not_say_where_this_machine_keeps_its_target(tmp_path):
    wheel = {"_target_": "nlae.target.wheel.WheelTarget", "name": "w", "package": "p", "version": "1"}
    folder = sidecar(tmp_path / "pair", target={**wheel, "file": "f", "sha256": "0" * 64})
    assert adopt(folder, "+target.cache_dir=here")[0]["target"]["cache_dir"] == "here"


def test_a_reference_sidecar_names_its_model_and_layer():
    said = said_by({"base_checkpoint": "Qwen/Qwen2.5-7B-Instruct", "extraction_layer_index": 20, "role": "av"})
    assert said["target"]["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert said["site.layer"] == 20


@pytest.mark.parametrize(
    "target",
    [
        {"_target_": "nlae.target.hub.HubTarget", "name": "x", "model": "a/b", "trust_remote_code": True},
        {"_target_": "nlae.cli.main", "argv": ["--version"]},
    ],
)
def test_a_sidecar_cannot_ask_for_code(tmp_path, target):
    with pytest.raises(NlaeError, match="target description"):
        adopt(sidecar(tmp_path / "pair", target=target))
    with pytest.raises(NlaeError, match="says what no checkpoint may say: prompt._target_"):
        adopt(sidecar(tmp_path / "pair", prompt={"_target_": "nlae.cli.main", "name": "own"}))


def test_is_typed_knows_groups_and_parents():
    assert is_typed("prompt.text", ("prompt",))
    assert is_typed("prompt.text", ("prompt.text",))
    assert not is_typed("prompt.text", ("prompt.te", "seed"))


def test_a_missing_checkpoint_is_told(tmp_path):
    with pytest.raises(NlaeError, match="checkpoint="):
        adopt(tmp_path / "nothing")


def test_users_yaml_with_an_unknown_key_fails(tmp_path, capsys):
    from nlae.cli import main

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\nsedd: 1\n")
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "typo.yaml").write_text(
        "_target_: pytorch_lightning.Trainer\n_partial_: true\naccelerator: cpu\nprecison: 32-true\n"
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "typo.yaml").write_text("_target_: nlae.target.Site\nkid: resid\n")
    for override, word in (("experiment=typo", "'seed'"), ("trainer=typo", "'precision'"), ("site=typo", "'kind'")):
        artifacts = f"paths.artifacts={tmp_path}/artifacts"
        assert main(["corpus", "--config-dir", str(tmp_path), override, artifacts]) == 2
        assert word in capsys.readouterr().err
    assert not (tmp_path / "artifacts").exists()
