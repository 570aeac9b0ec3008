"""Natural language autoencoders: the activations of a language model, read in words and rebuilt from them.

`nlae.Autoencoder` is the whole Python surface; it loads on first use, so that `import nlae` (and with it the
command line) does not wait for torch.
"""

import logging
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlae.model.autoencoder import Autoencoder

# on CPUs with bf16 units it says, whenever it is imported, that a package of kernels from a hub is missing
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__all__ = ["Autoencoder", "__version__"]

try:
    __version__ = metadata.version("nlae")
except metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "Autoencoder":
        from nlae.model.autoencoder import Autoencoder

        return Autoencoder
    raise AttributeError(f"module 'nlae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
