"""What `nlae report --cfg job` names is Lightning's: three modules, one datamodule, one Trainer."""

import pytest
import pytorch_lightning as pl
import yaml

from nlae.cli import main
from nlae.config.build import locate


@pytest.fixture
def job(capsys):
    assert main(["report", "--cfg", "job", "target=tiny"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ("verbalizer", pl.LightningModule),
        ("reconstructor", pl.LightningModule),
        ("objective", pl.LightningModule),
        ("data", pl.LightningDataModule),
        ("trainer", pl.Trainer),
    ],
)
def test_a_node_is_the_object_that_does_the_work(job, node, kind):
    assert issubclass(locate(job[node]["_target_"], node), kind)


def test_callbacks_are_lightnings(job):
    assert job["callbacks"]
    for name, node in job["callbacks"].items():
        assert issubclass(locate(node["_target_"], name), pl.Callback)


@pytest.mark.parametrize("option", ["csv", "tensorboard"])
def test_a_logger_is_lightnings(option, capsys):
    assert main(["report", "--cfg", "job", "target=tiny", f"logger={option}"]) == 0
    logger = yaml.safe_load(capsys.readouterr().out)["logger"]
    assert logger["mode"] == "none"
    assert issubclass(locate(logger["lightning"][option]["_target_"], option), pl.loggers.Logger)
