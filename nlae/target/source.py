"""What every kind of target can do before its weights are loaded, and how a checkpoint names one.

A description from a checkpoint is data from somewhere else: only the classes listed here are built from it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target

ALLOWED = (
    "nlae.target.hub.HubTarget",
    "nlae.target.wheel.WheelTarget",
    "nlae.target.tiny.TinyTarget",
    "nlae.target.random_weights.RandomTarget",
)


class TargetSource(Protocol):
    """Where a target comes from. Constructors are cheap; nothing loads until it is asked for."""

    @property
    def name(self) -> str:
        """Name of the target in configs and reports."""
        ...

    def fingerprint(self) -> str:
        """Identifies weights and tokenizer without loading them."""
        ...

    def load_config(self) -> "PretrainedConfig":
        """The config of the text model."""
        ...

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        ...

    def load(self, dtype: str = "float32", device: str = "cpu") -> "Target":
        """The frozen model with its tokenizer."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain data from which `source_from_description` builds the same source."""
        ...


def source_from_description(description: Mapping[str, Any]) -> TargetSource:
    """Build the source that a checkpoint or config names.

    Raises:
        NlaeError: The class is not one of ours, or its settings do not fit it.
    """
    settings = dict(description)
    path = settings.pop("_target_", None)
    if path not in ALLOWED:
        raise NlaeError(f"target description names {path!r}; only {', '.join(ALLOWED)} are built from a checkpoint")
    if settings.get("trust_remote_code"):
        raise NlaeError("target description asks for remote code; load the target by config if you trust it")
    module, name = path.rsplit(".", 1)
    try:
        source: TargetSource = getattr(import_module(module), name)(**settings)
    except TypeError as error:
        raise NlaeError(f"target description of {name} does not fit: {error}") from error
    return source
