"""What is on disk between the stages: activations, and the explanations a teacher wrote for them.

Everything is an Arrow IPC stream that appears under its final name only when it is complete. Names are loaded on first
use: writing a small file should not import torch.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.activations.datamodule import ActivationDataModule
    from nlae.activations.descriptions import Descriptions
    from nlae.activations.store import ActivationRows, ActivationStore, Shard, ShardList
    from nlae.activations.writing import Rows, fit_statistics, write_shard

__all__ = [
    "ActivationDataModule",
    "ActivationRows",
    "ActivationStore",
    "Descriptions",
    "Rows",
    "Shard",
    "ShardList",
    "fit_statistics",
    "write_shard",
]

__getattr__ = lazily(
    __name__,
    {
        "ActivationDataModule": "datamodule",
        "ActivationRows": "store",
        "ActivationStore": "store",
        "Descriptions": "descriptions",
        "Rows": "writing",
        "Shard": "store",
        "ShardList": "store",
        "fit_statistics": "writing",
        "write_shard": "writing",
    },
)
