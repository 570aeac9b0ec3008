"""A tiny random language model for tests and smoke runs: every family that is supported, nothing to download.

It has learned nothing, so what it says means nothing; but its activations depend on the context and its weights are the
same everywhere, so everything that is built on a target can be tried on it in seconds. Initialisation is wider than
usual, since at the usual one the blocks of a random model hardly change the embeddings.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target

VERSION = 1
# what the tokenizer is learned from: words that explanations and technical prose use most; a change raises VERSION
SENTENCES = Path(__file__).with_name("tiny.txt").read_text(encoding="utf-8").strip()
MARKER = "㊗"
SPECIALS = ("<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SLIDING = {"sliding_window": 8, "query_pre_attn_scalar": 32}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "gemma2": ("gemma2", _SLIDING),
    "gemma3": ("gemma3_text", _SLIDING),
    "gpt2": ("gpt2", {}),
    "gpt_neox": ("gpt_neox", {}),
    "cohere": ("cohere", {"logit_scale": 0.25}),
    "granite": (
        "granite",
        {"logits_scaling": 3.0, "embedding_multiplier": 2.5, "residual_multiplier": 0.4, "attention_multiplier": 0.2},
    ),
    "hyperclovax": ("hyperclovax", {"logits_scaling": 0.5, "embedding_multiplier": 1.5}),
}


@dataclass(eq=False)
class TinyTarget:
    """A random model of a given family.

    Attributes:
        name: Name of the target.
        family: One of `FAMILIES`.
        layers: Number of blocks.
        width: Width of the residual stream.
        heads: Number of attention heads.
        vocabulary: Upper limit on the size of the tokenizer's vocabulary.
        context: Longest sequence.
        chat: Whether the tokenizer has a chat template.
        weights_seed: Seed of the weights.
        dtype: What the pipeline loads the frozen weights in; of a source itself it says nothing.
    """

    name: str = "tiny"
    family: str = "llama"
    layers: int = 4
    width: int = 64
    heads: int = 2
    vocabulary: int = 1024
    context: int = 1024
    chat: bool = True
    weights_seed: int = 0
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise NlaeError(f"target.family={self.family}: unknown; choose one of {', '.join(FAMILIES)}")
        if self.width % self.heads:
            raise NlaeError(
                f"target.width={self.width} is not a multiple of target.heads={self.heads}; change one of them"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All that the weights and the tokenizer follow from."""
        return {key.name: getattr(self, key.name) for key in fields(self) if key.name not in ("name", "dtype")}

    def describe(self) -> dict[str, Any]:
        """Plain data from which the same source can be built."""
        return {"_target_": "nlae.target.tiny.TinyTarget", "name": self.name, **self.settings}

    def fingerprint(self) -> str:
        """Hash of everything that the weights and the tokenizer follow from."""
        facts = json.dumps([VERSION, SENTENCES, MARKER, TEMPLATE, self.settings], sort_keys=True)
        return "tiny-" + hashlib.sha256(facts.encode()).hexdigest()[:16]

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """A byte-level BPE tokenizer learned from the embedded sentences; raw text gets a BOS in front."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        from transformers import PreTrainedTokenizerFast

        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary - 1,
            min_frequency=1,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        bpe.train_from_iterator(SENTENCES.splitlines(), trainer)
        bpe.add_tokens([AddedToken(MARKER, normalized=False)])
        bos = SPECIALS[1]
        bpe.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 1)])
        return PreTrainedTokenizerFast(
            tokenizer_object=bpe,
            pad_token=SPECIALS[0],
            bos_token=bos,
            eos_token=SPECIALS[3],
            additional_special_tokens=[SPECIALS[2]],
            chat_template=TEMPLATE if self.chat else None,
            model_max_length=self.context,
        )

    def load_config(self) -> "PretrainedConfig":
        """The config of the family at this size."""
        from transformers import AutoConfig

        kind, extra = FAMILIES[self.family]
        shape = {
            "vocab_size": len(self.load_tokenizer()),
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "max_position_embeddings": self.context,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 3,
            "tie_word_embeddings": False,
        }
        shape["n_inner" if kind == "gpt2" else "intermediate_size"] = 3 * self.width
        if kind not in ("gpt2", "gpt_neox"):
            shape |= {"num_key_value_heads": max(1, self.heads // 2), "head_dim": self.width // self.heads}
        config: PretrainedConfig = AutoConfig.for_model(kind, **shape, **extra)
        return config

    def load(self, dtype: str = "float32", device: str = "cpu") -> "Target":
        """Build the model; the same weights on every machine."""
        from transformers import AutoModelForCausalLM

        from nlae.target.model import Target, torch_dtype

        config = self.load_config()
        model: Any = AutoModelForCausalLM.from_config(config)
        _initialise(model, self.weights_seed)
        model = model.to(device=device, dtype=torch_dtype(dtype))
        return Target(model, self.load_tokenizer(), self.name, self.fingerprint())


def _initialise(model: Any, seed: int) -> None:
    """Draw all matrices in order of their names, so that library versions cannot change them."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    scaled_embedding = hasattr(model.get_input_embeddings(), "embed_scale")
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.ndim < 2:
                weight.fill_(1.0 if "norm" in name or "ln_" in name else 0.0)
                if scaled_embedding:
                    weight.zero_()  # Gemma's norms multiply by one plus the weight
                if name.endswith("bias"):
                    weight.zero_()
                continue
            embeds = any(part in name for part in ("embed_tokens", "embed_in", "wte", "wpe"))
            fan_in = weight.shape[0] if "h." in name and model.config.model_type == "gpt2" else weight.shape[1]
            gain = 2.0 if any(part in name for part in ("q_proj", "k_proj", "query_key_value", "c_attn")) else 1.0
            std = gain / fan_in**0.5
            if embeds:
                std = 1 / model.config.hidden_size**0.5 if scaled_embedding else 1.0
            weight.copy_(torch.randn(weight.shape, generator=generator) * std)
