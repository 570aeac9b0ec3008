"""A loaded target: the frozen model with its tokenizer, and what other parts ask of it."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nlae.errors import NlaeError
from nlae.target.architecture import Architecture
from nlae.target.linear import speed_up
from nlae.target.scales import output_logits
from nlae.target.site import Site
from nlae.target.trunk import read_last, site_width

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Target:
    """A frozen causal LM, ready to be read: eval mode, no gradients, no dropout.

    Args:
        model: A Hugging Face causal LM; its parameters stop requiring gradients.
        tokenizer: The tokenizer that belongs to it.
        source_name: Name of the target, for reports.
        fingerprint: Identifies the weights.
    """

    def __init__(self, model: Any, tokenizer: "PreTrainedTokenizerBase", source_name: str, fingerprint: str) -> None:
        model = text_model(model)
        silence_dropout(model)
        self.model: Any = speed_up(model.eval().requires_grad_(False))
        self.tokenizer = tokenizer
        self.source_name = source_name
        self.fingerprint = fingerprint
        self.architecture = Architecture.of(model)
        if 1 + max(tokenizer.get_vocab().values()) > self.embedding_rows:
            self.architecture.embedding(model).register_forward_pre_hook(self._refuse_unknown)

    def _refuse_unknown(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        """Name a token that the tokenizer has and the model lacks; other devices than the CPU stop at it by themselves.

        Raises:
            NlaeError: such a token is read.
        """
        ids = given[0] if given else None
        if isinstance(ids, Tensor) and ids.device.type == "cpu" and ids.numel():
            largest = int(ids.max())
            if largest >= self.embedding_rows:
                token = self.tokenizer.convert_ids_to_tokens(largest)
                raise NlaeError(
                    f"target {self.source_name}: the text holds {token!r}, a token that the tokenizer has and the "
                    f"model lacks (id {largest} of {self.embedding_rows} rows); take it out of the text"
                )

    @cached_property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.architecture.blocks(self.model))

    @cached_property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return site_width(self.model, Site("resid", 0))

    @property
    def device(self) -> torch.device:
        """Where the embedding lives, and so where token ids belong."""
        return next(self.architecture.embedding(self.model).parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.architecture.embedding(self.model).parameters()).dtype

    @property
    def pad_id(self) -> int:
        """A token id to fill masked positions with."""
        return pad_id(self.tokenizer)

    @torch.no_grad()
    def next_token_logits(self, contexts: Sequence[Sequence[int]]) -> Tensor:
        """Logits of the token after each context, float32, shape (B, n_tokens)."""
        ids_BT, mask_BT = pad_right(contexts, self.pad_id)
        mask_BT = mask_BT.to(self.device)
        decoder = self.architecture.decoder(self.model)
        out = decoder(input_ids=ids_BT.to(self.device), attention_mask=mask_BT, use_cache=False)
        return self.logits(read_last(out.last_hidden_state, mask_BT))

    @cached_property
    def n_tokens(self) -> int:
        """Ids that both the tokenizer and the model know; the model's embedding is often padded beyond them."""
        return min(1 + max(self.tokenizer.get_vocab().values()), self.embedding_rows)

    @property
    def embedding_rows(self) -> int:
        """Rows of the token embedding."""
        embedding: Any = self.architecture.embedding(self.model)
        return int(embedding.weight.shape[0])

    def logits(self, last_BD: Tensor) -> Tensor:
        """Logits of `n_tokens` ids from hidden states after the final norm, at least float32, shape (B, n_tokens)."""
        return output_logits(self.model, last_BD)[..., : self.n_tokens]


def unknown_ids(model: Any, tokenizer: "PreTrainedTokenizerBase") -> list[int] | None:
    """Rows of a causal LM's head that are no token of its tokenizer, as `generate(suppress_tokens=…)` takes them."""
    known, rows = 1 + max(tokenizer.get_vocab().values()), model.get_output_embeddings().weight.shape[0]
    return list(range(known, rows)) or None


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The tokenizer's padding id, else its end id, else 0."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token[0] if isinstance(token, list) else token)
    return 0


def pad_right(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask of unequal rows, both int64 of shape (B, T)."""
    length = max(len(row) for row in rows)
    ids_BT = torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows], dtype=torch.long)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], dtype=torch.long)
    return ids_BT, mask_BT


def silence_dropout(model: nn.Module) -> None:
    """Set every dropout to 0, so that training mode changes no activation."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # attention keeps its rate as a number of its own
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    for config in configs.values():
        for name in list(vars(config)):
            if ("dropout" in name or name.endswith("pdrop")) and isinstance(getattr(config, name), float):
                setattr(config, name, 0.0)


def text_model(model: Any) -> Any:
    """The text-only causal LM inside a wrapper of several modalities, sharing its weights; else `model` itself."""
    text_config = getattr(model.config, "text_config", None)
    if text_config is None or text_config is model.config:
        return model
    from transformers import AutoModelForCausalLM

    decoder, head = Architecture.of(model).decoder(model), model.get_output_embeddings()
    with torch.device("meta"):
        plain: Any = AutoModelForCausalLM.from_config(text_config)
    if head is None or type(plain.model) is not type(decoder):
        raise NlaeError(f"target {type(model).__name__}: its text model cannot be taken out; choose a text-only model")
    plain.model = decoder
    plain.set_output_embeddings(head)
    plain.generation_config = model.generation_config
    for mark in ("is_loaded_in_8bit", "is_loaded_in_4bit"):  # what peft goes by
        if getattr(model, mark, False):
            setattr(plain, mark, True)
    return plain


def torch_dtype(name: str) -> torch.dtype:
    """The torch type of that name, e.g. `float32` or `bfloat16`."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise NlaeError(f"dtype {name}: unknown; choose float32, bfloat16 or float16")
    return dtype
