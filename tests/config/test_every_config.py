"""Every shipped config file composes, passes preflight, and opens with the comment that its group promises."""

import itertools

import pytest

from nlae.config.compose import compose_plain, conf_dir
from nlae.config.preflight import preflight

CONF = conf_dir()
NEEDS_PLUGIN = {"launcher/joblib", "launcher/submitit"}
FILES = sorted(path for path in CONF.rglob("*.yaml") if path.parent != CONF)
NAMES = [str(path.relative_to(CONF).with_suffix("")) for path in FILES]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_PLUGIN])
def test_composes_and_passes_preflight(name):
    group, _, option = name.rpartition("/")
    composed = compose_plain([f"{group}={option}"])
    assert composed.choices[group] == option
    preflight(composed.config, CONF)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_opens_with_a_comment_and_an_override_to_try(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    comment = " ".join(line for line in head if not line.startswith("# @package"))
    assert len(comment) > 40
    assert "=" in comment, "the opening comment shows one override"
    assert len(lines) <= 45


@pytest.mark.parametrize("name", sorted(NEEDS_PLUGIN))
def test_plugin_configs_name_a_hydra_launcher(name):
    assert "override /hydra/launcher" in (CONF / f"{name}.yaml").read_text(encoding="utf-8")


def test_smoke_run_of_the_tiny_target_composes():
    config = compose_plain(["target=tiny", "debug=smoke"]).config
    preflight(config, CONF)
    assert config["verbalizer"]["updates"] < 20
    # the smoke file wins over the experiment, and a typed key over both
    assert (
        compose_plain(["debug=smoke", "experiment=quickstart", "corpus.max_tokens=33"]).config["corpus"]["max_tokens"]
        == 33
    )


def test_quickstart_is_a_choice_of_groups_and_few_values():
    composed = compose_plain(["experiment=quickstart"])
    assert composed.group == "quickstart"
    assert compose_plain([]).group == "default"
    assert compose_plain(["group=mine"]).group == "mine"


def test_every_group_of_the_readme_exists():
    text = (CONF / "README.md").read_text(encoding="utf-8")
    for folder in CONF.iterdir():
        if folder.is_dir():
            assert f"`{folder.name}" in text, f"conf/README.md does not mention {folder.name}"
