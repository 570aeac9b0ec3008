"""What is on disk between the stages: activations, and the explanations a teacher wrote for them.

Everything is an Arrow IPC stream that appears under its final name only when it is complete.
"""

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
