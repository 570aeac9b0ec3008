"""The frozen language model whose activations are explained, and the place where they are read.

Names are loaded on first use, so that naming a target in a config imports neither torch nor transformers.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.target.architecture import Architecture
    from nlae.target.base import TargetSource, source_from_description
    from nlae.target.hooks import capture, splice
    from nlae.target.hub import HubTarget
    from nlae.target.model import Target
    from nlae.target.selfcheck import self_check
    from nlae.target.site import Site, Sites, deepest
    from nlae.target.tiny import TinyTarget
    from nlae.target.trunk import Trunk, read_last, read_sites
    from nlae.target.wheel import WheelTarget

__all__ = [
    "Architecture",
    "HubTarget",
    "Site",
    "Sites",
    "Target",
    "TargetSource",
    "TinyTarget",
    "Trunk",
    "WheelTarget",
    "capture",
    "deepest",
    "read_last",
    "read_sites",
    "self_check",
    "source_from_description",
    "splice",
]

__getattr__ = lazily(
    __name__,
    {
        "Architecture": "architecture",
        "HubTarget": "hub",
        "Site": "site",
        "Sites": "site",
        "Target": "model",
        "TargetSource": "base",
        "TinyTarget": "tiny",
        "Trunk": "trunk",
        "WheelTarget": "wheel",
        "capture": "hooks",
        "deepest": "site",
        "read_last": "trunk",
        "read_sites": "trunk",
        "self_check": "selfcheck",
        "source_from_description": "base",
        "splice": "hooks",
    },
)
