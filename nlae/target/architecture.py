"""Where a Hugging Face causal LM keeps its parts: decoder, blocks, embedding, final norm, MLP.

Parts are found by structure, not by model name, so that unknown relatives of Llama work too; whether they really do is
what `self_check` decides. Mixtures of experts and encoder-decoders are left out: their MLP has no single output.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from nlae.errors import NlaeError
from nlae.target.quantization import plain_weight

# paths from the causal LM to its text decoder; wrappers of several modalities come first
_DECODERS = ("model.language_model", "language_model.model", "language_model", "model", "transformer", "gpt_neox")
WEIGHTED = (nn.Linear, Conv1D)


@dataclass(frozen=True)
class Architecture:
    """Names of the parts of one family of models.

    Attributes:
        family: A readable name.
        blocks_name: Attribute of the decoder that holds the list of blocks.
        embedding_name: Attribute of the decoder that embeds tokens.
        final_norm_name: Attribute of the decoder that is applied after the last block.
        mlp_name: Attribute of a block.
        down_name: Attribute of an MLP: its last linear map.
        lora_modules: Leaf names of the linear maps inside the blocks, what adapters may be put on.
    """

    family: str
    blocks_name: str
    embedding_name: str
    final_norm_name: str
    mlp_name: str = "mlp"
    down_name: str = "down_proj"
    lora_modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: nn.Module) -> "Architecture":
        """Find the architecture of `model`, adapters or not.

        Raises:
            NlaeError: No known arrangement of parts fits.
        """
        for _, decoder in _decoders(model):
            for architecture in KNOWN:
                if architecture.fits(decoder):
                    blocks = getattr(decoder, architecture.blocks_name)
                    return replace(architecture, lora_modules=_linear_leaves(blocks))
        name = type(unwrap(model)).__name__
        known = "; ".join(f"{a.family} ({a.blocks_name}, {a.embedding_name}, {a.final_norm_name})" for a in KNOWN)
        raise NlaeError(
            f"target {name}: unsupported architecture; choose a decoder-only model built like one of: {known}"
        )

    def fits(self, decoder: nn.Module) -> bool:
        """Whether `decoder` has the parts that this architecture names."""
        parts = (self.blocks_name, self.embedding_name, self.final_norm_name)
        return all(isinstance(getattr(decoder, part, None), nn.Module) for part in parts)

    def decoder(self, model: nn.Module) -> Any:
        """The inner text model (blocks, embedding and final norm, no output head)."""
        return next(decoder for _, decoder in _decoders(model) if self.fits(decoder))

    def blocks(self, model: nn.Module) -> nn.ModuleList:
        """The list of blocks."""
        blocks: nn.ModuleList = getattr(self.decoder(model), self.blocks_name)
        return blocks

    def embedding(self, model: nn.Module) -> nn.Module:
        """The token embedding. Gemma multiplies by the root of d inside it: never rescale what it returns."""
        embedding: nn.Module = getattr(self.decoder(model), self.embedding_name)
        return embedding

    def mlp(self, block: nn.Module) -> nn.Module:
        """The MLP of one block."""
        mlp = getattr(block, self.mlp_name, None)
        if not isinstance(mlp, nn.Module):
            raise NlaeError(f"{type(block).__name__} has no part {self.mlp_name!r}; use site=resid with this target")
        return mlp

    def down_projection(self, block: nn.Module) -> nn.Module:
        """The last linear map of one block's MLP."""
        down = getattr(self.mlp(block), self.down_name, None)
        if not isinstance(down, nn.Module):
            raise NlaeError(f"{type(block).__name__} has no single down-projection; use site=resid with this target")
        return down

    def down_weight(self, block: nn.Module) -> Tensor:
        """Weight of the down-projection without any adapter, shape (d_model, d_mlp); GPT-2 keeps it transposed."""
        down: Any = self.down_projection(block)
        down = getattr(down, "base_layer", down)
        weight = plain_weight(down)
        return weight if hasattr(down, "in_features") else weight.T

    def down_width(self, block: nn.Module) -> int:
        """Number of entries that enter the down-projection, d_mlp."""
        down: Any = self.down_projection(block)
        down = getattr(down, "base_layer", down)
        return int(down.in_features if hasattr(down, "in_features") else down.weight.shape[0])

    def hooked(self, model: nn.Module, kind: str, layer: int) -> tuple[nn.Module, str]:
        """The module at which a site is read, and which side of it: `output` or `input`."""
        block = self.blocks(model)[layer]
        if kind in ("mlp_in", "mlp_out"):
            return self.mlp(block), "input" if kind == "mlp_in" else "output"
        if kind == "mlp_neurons":
            return self.down_projection(block), "input"
        return block, "output"


KNOWN = (
    Architecture("llama", "layers", "embed_tokens", "norm"),
    Architecture("gpt_neox", "layers", "embed_in", "final_layer_norm", down_name="dense_4h_to_h"),
    Architecture("gpt2", "h", "wte", "ln_f", down_name="c_proj"),
    Architecture("bamba", "layers", "embed_tokens", "final_layernorm", mlp_name="feed_forward"),
    Architecture("lfm2", "layers", "embed_tokens", "embedding_norm", mlp_name="feed_forward", down_name="w2"),
)


def unwrap(model: nn.Module) -> Any:
    """The Hugging Face model inside a peft wrapper, or `model` itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def _linear_leaves(blocks: nn.Module) -> tuple[str, ...]:
    names = set()
    for path, module in blocks.named_modules():
        if isinstance(module, WEIGHTED) and "lora_" not in path:
            names.add(path.removesuffix(".base_layer").rsplit(".", 1)[-1])
    return tuple(sorted(names))


def _decoders(model: nn.Module) -> list[tuple[str, nn.Module]]:
    base = unwrap(model)
    found: list[tuple[str, nn.Module]] = []
    for path in _DECODERS:
        part: Any = base
        for name in path.split("."):
            part = getattr(part, name, None)
        if isinstance(part, nn.Module):
            found.append((path, part))
    return [*found, ("", base)]
