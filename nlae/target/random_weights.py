"""The same architecture with random weights: what a claim about a trained model has to be compared with.

Every matrix is drawn anew with the mean and spread that the trained one has, so that activations keep their size; norms
and biases stay. Nothing that training put into directions is left.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError
from nlae.target.base import TargetSource, source_from_description

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target

VERSION = 1


class RandomTarget:
    """Another target with its matrices drawn at random.

    Args:
        name: Name of the target.
        like: The target whose architecture, tokenizer and scales are kept: a source, or its description.
        weights_seed: Seed of the weights.
        dtype: What the pipeline loads the frozen weights in; of a source itself it says nothing.
    """

    def __init__(self, name: str, like: Any, weights_seed: int = 0, dtype: str = "auto") -> None:
        self.dtype = dtype
        self.name, self.weights_seed = name, weights_seed
        self.like: TargetSource = source_from_description(like) if isinstance(like, Mapping) else like
        if isinstance(self.like, RandomTarget) or not hasattr(self.like, "load_tokenizer"):
            raise NlaeError("target.like must be a trained target, e.g. target.like={_target_: …}; see conf/target")

    def describe(self) -> dict[str, Any]:
        """Plain data from which the same source can be built."""
        path = "nlae.target.random_weights.RandomTarget"
        like = self.like.describe()
        return {"_target_": path, "name": self.name, "like": like, "weights_seed": self.weights_seed}

    def fingerprint(self) -> str:
        """Follows from the trained weights' own, which the scales come from, and the seed."""
        facts = json.dumps([VERSION, self.like.fingerprint(), self.weights_seed])
        return "random-" + hashlib.sha256(facts.encode()).hexdigest()[:16]

    def tokenizer_fingerprint(self) -> str:
        """That of the trained target: both read the same corpus."""
        own = getattr(self.like, "tokenizer_fingerprint", self.like.fingerprint)
        return str(own())

    def load_config(self) -> "PretrainedConfig":
        """The config of the text model."""
        return self.like.load_config()

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        return self.like.load_tokenizer()

    def load(self, dtype: str = "float32", device: str = "cpu", **options: Any) -> "Target":
        """Load the trained model and draw its matrices anew; the same on every device."""
        import torch

        from nlae.functional.randomness import generator
        from nlae.target.model import Target

        model = self.like.load(dtype=dtype, device=device, **options).model
        with torch.no_grad():
            for name, weight in sorted(model.named_parameters()):  # tied ones are listed once
                if weight.ndim < 2:
                    continue
                mean, std = weight.float().mean().cpu(), weight.float().std().cpu()
                drawn = torch.randn(weight.shape, generator=generator(self.weights_seed, "weights", name))
                weight.copy_(drawn * std + mean)
        return Target(model, self.load_tokenizer(), self.name, self.fingerprint())
