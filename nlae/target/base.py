"""What every kind of target can do before its weights are loaded, and how a checkpoint names one.

A description from a checkpoint is data from somewhere else: only what `nlae.target.description` lists is built from it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from nlae.target.description import described

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target


class TargetSource(Protocol):
    """Where a target comes from. Constructors are cheap; nothing loads until it is asked for."""

    @property
    def name(self) -> str:
        """Name of the target in configs and reports."""

    def fingerprint(self) -> str:
        """Identifies weights and tokenizer without loading them."""

    def load_config(self) -> "PretrainedConfig":
        """The config of the text model."""

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""

    def load(self, dtype: str = "float32", device: str = "cpu") -> "Target":
        """The frozen model with its tokenizer."""

    def describe(self) -> dict[str, Any]:
        """Plain data from which `source_from_description` builds the same source."""


def source_from_description(description: Mapping[str, Any]) -> TargetSource:
    """Build the source that a checkpoint or config names.

    Raises:
        NlaeError: It does not fit `nlae.target.description`.
    """
    node = described(description)
    module, name = node.pop("_target_").rsplit(".", 1)
    source: TargetSource = getattr(import_module(module), name)(**node)
    return source
