"""Lightning's loggers as a config names them: what each is told, and those that are told nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nlae.config.build import build
from nlae.stages.training import loggers_of

CSV = {"_target_": "pytorch_lightning.loggers.CSVLogger", "_partial_": True}


def made(folder: Path, lightning: Any) -> list[Any]:
    context: Any = SimpleNamespace(folder=folder, build=lambda path: build(lightning, path))
    return loggers_of(context, "from_update_0")


def test_a_partial_one_is_told_what_it_takes(tmp_path):
    (logger,) = made(tmp_path, {"csv": CSV})
    assert Path(logger.log_dir) == tmp_path / "csv" / "from_update_0"
    (logger,) = made(tmp_path, {"csv": {**CSV, "name": "mine"}})
    assert logger.name == "mine"
    (few,) = made(tmp_path, {"few": {"_target_": "fractions.Fraction", "_partial_": True}})
    assert few == 0, "whose signature names none of them"


def test_a_whole_one_is_taken_as_it_is_and_null_leaves_one_out(tmp_path):
    whole = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(tmp_path / "own")}
    (logger,) = made(tmp_path, {"whole": whole, "none": None})
    assert Path(logger.save_dir) == tmp_path / "own"


@pytest.mark.parametrize("nothing", [None, {}])
def test_there_may_be_none(tmp_path, nothing):
    assert made(tmp_path, nothing) == []
