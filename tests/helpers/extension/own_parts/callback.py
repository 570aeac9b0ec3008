"""A callback that writes down how many updates it has seen."""

from pathlib import Path

import pytorch_lightning as pl


class Tally(pl.Callback):
    """One line an update."""

    observes_only = True

    def __init__(self, path: str):
        self.path = Path(path)

    def on_train_batch_end(self, trainer, pl_module, *_):
        with self.path.open("a") as file:
            file.write(f"{type(pl_module).__name__}\n")
