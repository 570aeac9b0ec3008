"""A fit that buys fidelity with faithfulness ends early, says why, and is not taken up again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytorch_lightning as pl

from nlae.errors import NlaeError
from nlae.model.autoencoder import Autoencoder
from nlae.tracking import NullRun
from nlae.training.callbacks import Resume
from nlae.training.fit import fit
from nlae.training.resuming import resume_update
from nlae.training.stopping import StopUnfaithful

UPDATES = 8
KEPT = "val/kept_no_quotes"


@pytest.fixture
def begin(warm, reinforce, serve):
    """A fit whose held-out curves are planted."""

    def make(fve: list[float], kept: list[float], start: int = 0, **how: Any):
        stop = StopUnfaithful(**{"patience": 2, "drop": 0.2, **how})
        module = reinforce(Autoencoder.load(warm), UPDATES, validation={"planted": None}, stop=stop)
        module.validate_every = 1
        module.validate = lambda: {"val/fve": fve[module.update], KEPT: kept[module.update]}
        return module, serve("rollout", UPDATES, start, batch_size=4)

    return make


RISING = [u / 10 for u in range(UPDATES + 1)]
FALLING = [0.9, 0.9, 0.9, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3]


def test_it_stops_when_fidelity_rises_and_faithfulness_falls(begin, tmp_path, caplog):
    module, data = begin(RISING, FALLING)
    fit(module, data, tmp_path, run=NullRun(), callbacks=[Resume(100)])
    assert module.update == 5, "0.9 at update 3, 0.6 at update 5"
    reason = json.loads((tmp_path / "stopped.json").read_text())["reason"]
    assert "val/kept_no_quotes fell from 0.900 to 0.600 over 2 validations" in reason
    assert reason in caplog.text

    # killed before the stage was sealed: the fit is over, and is not taken up again
    again, data = begin(RISING, FALLING, resume_update(tmp_path))
    fit(again, data, tmp_path, run=NullRun(), callbacks=[Resume(100)])
    assert again.update == 5


@pytest.mark.parametrize(
    ("fve", "kept"),
    [(RISING, [0.9] * 9), (RISING, RISING), ([0.5] * 9, FALLING), (list(reversed(RISING)), FALLING)],
    ids=["faithful", "both rise", "fidelity stands", "both fall"],
)
def test_it_goes_on_otherwise(begin, tmp_path, fve, kept):
    module, data = begin(fve, kept)
    fit(module, data, tmp_path, run=NullRun())
    assert module.update == UPDATES
    assert not (tmp_path / "stopped.json").exists()


def test_a_resumed_fit_looks_back_over_what_was_measured_before(begin, tmp_path):
    class Kill(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if pl_module.update == 4:
                raise InterruptedError("killed")

    module, data = begin(RISING, FALLING)
    with pytest.raises(InterruptedError):
        fit(module, data, tmp_path, run=NullRun(), callbacks=[Kill(), Resume(4)])
    module, data = begin(RISING, FALLING, resume_update(tmp_path))
    fit(module, data, tmp_path, run=NullRun(), callbacks=[Resume(4)])
    assert module.update == 5


@pytest.mark.parametrize("how", [{"patience": 0}, {"drop": 0.0}])
def test_numbers_that_mean_nothing_are_refused(how):
    with pytest.raises(NlaeError, match="must be at least 1"):
        StopUnfaithful(**how)
