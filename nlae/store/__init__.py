"""What is on disk between the stages: activations, and the explanations a teacher wrote for them.

Everything is an Arrow IPC stream that appears under its final name only when it is complete. Names are loaded on first
use: writing a small file should not import torch.
"""

from typing import TYPE_CHECKING

from nlae.lazy import lazily

if TYPE_CHECKING:
    from nlae.store.activations import ActivationRows, ActivationStore, Shard, ShardList
    from nlae.store.descriptions import Descriptions
    from nlae.store.writing import Rows, fit_statistics, write_shard

__all__ = [
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
        "ActivationRows": "activations",
        "ActivationStore": "activations",
        "Descriptions": "descriptions",
        "Rows": "writing",
        "Shard": "activations",
        "ShardList": "activations",
        "fit_statistics": "writing",
        "write_shard": "writing",
    },
)
