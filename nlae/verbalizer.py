"""The NL encoder: a language model that writes what a vector says.

Everything before the slot is the same for every vector, so it runs once per call and its key–value cache is shared,
with gradient, by all rows. Padding is left out altogether: prompts have one length and responses grow to the right,
where a causal model cannot see.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedTokenizerBase

from nlae.backbone import REFERENCE, VERBALIZER, AdapterSettings, Backbone
from nlae.errors import NlaeError
from nlae.functional.injection import MODES, inject, to_scale
from nlae.prompt import Prompt, VerbalizerPrompt

HEAD_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class InjectionSettings:
    """How a vector enters the verbalizer.

    Attributes:
        mode: `replace`, `add` (norm-matched) or `affine` (a learned map, then `replace`).
        point: `embedding`, or the index of a block whose output is written into.
        scale: norm of the injected vector; None takes the site's alpha (the 75th percentile of residual norms).
    """

    mode: str = "replace"
    point: str | int = "embedding"
    scale: float | None = None

    def check(self, n_layers: int) -> None:
        """Raises: NlaeError, when mode or point do not exist."""
        if self.mode not in MODES:
            raise NlaeError(f"verbalizer.injection.mode is {self.mode!r}; choose one of {', '.join(MODES)}")
        if self.point != "embedding" and not (isinstance(self.point, int) and 0 <= self.point < n_layers):
            raise NlaeError(
                f"verbalizer.injection.point is {self.point!r}; choose 'embedding' or a block 0 … {n_layers - 1}"
            )


@dataclasses.dataclass(frozen=True)
class VerbalizerSettings:
    """The `verbalizer` node of a config.

    Attributes:
        adapter: LoRA settings; None trains a full copy of the model.
        injection: how vectors enter.
    """

    adapter: AdapterSettings | None = dataclasses.field(default_factory=AdapterSettings)
    injection: InjectionSettings = InjectionSettings()


class Verbalizer(nn.Module):
    """Writes explanations of activations, and says how likely given ones are.

    Args:
        backbone: weights of all roles.
        prompt: templates and tags.
        tokenizer: of the target.
        settings: how vectors are injected.
        scale: norm of an injected vector.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt: Prompt,
        tokenizer: PreTrainedTokenizerBase,
        settings: InjectionSettings,
        scale: float,
    ) -> None:
        super().__init__()
        settings.check(backbone.target.n_layers)
        self.backbone, self.prompt, self.tokenizer, self.settings = backbone, prompt, tokenizer, settings
        self.scale = float(scale)
        self.ids: VerbalizerPrompt = prompt.render_verbalizer(tokenizer)
        width = backbone.target.d_model
        self.maps = nn.ModuleDict()
        if settings.mode == "affine":
            self.maps[VERBALIZER] = _identity_map(width).to(backbone.target.device)

    def freeze_reference(self) -> None:
        """Make role `reference` a frozen copy of all that has been learned: adapter (or weights) and affine map."""
        self.backbone.add_reference()
        if VERBALIZER in self.maps:
            self.maps[REFERENCE] = copy.deepcopy(self.maps[VERBALIZER]).requires_grad_(False)

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the verbalizer alone."""
        extra = list(self.maps[VERBALIZER].parameters()) if VERBALIZER in self.maps else []
        return [*self.backbone.parameters_of(VERBALIZER), *extra]

    def encode_responses(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids the verbalizer should write, closing tag included, right-padded, and their mask; both (B, T)."""
        texts = [self.prompt.response(text) for text in explanations]
        rows = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
        return pad_right(rows, self.backbone.target.device)

    def logprobs(self, activation_GD: Tensor, token_BT: Tensor, *, role: str = VERBALIZER) -> Tensor:
        """Log-probability of every token of B = G·N given responses; float32, (B, T).

        Args:
            activation_GD: raw activations; row g explains responses g·N … g·N + N − 1.
            token_BT: response ids; padding may hold anything.
            role: `verbalizer`, or `reference` for the frozen copy.
        """
        with self.backbone.use(role):
            cache = self.prefix_cache(role, len(token_BT))
            suffix = len(self.ids.suffix_ids)
            hidden_BTD = self._run(activation_GD, cache, role, token_BT[:, :-1])[:, suffix:]
            return self._token_logprobs(hidden_BTD, token_BT, role)

    def prefill(self, activation_BD: Tensor, role: str, *, inject_vector: bool = True) -> tuple[Tensor, DynamicCache]:
        """Run the whole prompt: logits of the first token (B, V), and the cache to go on with; inside `use(role)`."""
        cache = self.prefix_cache(role, len(activation_BD))
        hidden_BTD = self._run(activation_BD, cache, role, None, inject_vector=inject_vector)
        return self.head(hidden_BTD[:, -1], role), cache

    def step(self, token_B: Tensor, cache: DynamicCache, role: str) -> Tensor:
        """One decoding step: logits (B, V) of the next token; inside `use(role)`."""
        decoder = self._decoder(role)
        hidden_B1D = decoder(input_ids=token_B[:, None], past_key_values=cache, use_cache=True).last_hidden_state
        return self.head(hidden_B1D[:, -1], role)

    def prefix_cache(self, role: str, batch: int) -> DynamicCache:
        """Keys and values of everything before the slot, computed once and repeated for `batch` rows."""
        model = self.backbone.language_model(role)
        cache = DynamicCache(config=model.config)
        if self.ids.prefix_ids:
            ids_1P = torch.tensor([self.ids.prefix_ids], device=self.backbone.target.device)
            self._decoder(role)(input_ids=ids_1P, past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(batch)
        return cache

    def head(self, hidden: Tensor, role: str) -> Tensor:
        """Logits in float32, soft-capped where the family does so."""
        model = self.backbone.language_model(role)
        logits = model.get_output_embeddings()(hidden).float()
        cap = getattr(model.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def _decoder(self, role: str) -> nn.Module:
        return self.backbone.target.architecture.decoder(self.backbone.language_model(role))

    def _run(
        self,
        activation_GD: Tensor,
        cache: DynamicCache,
        role: str,
        response_BT: Tensor | None,
        *,
        inject_vector: bool = True,
    ) -> Tensor:
        """Hidden states from the slot on: slot, suffix, response."""
        batch = len(activation_GD) if response_BT is None else len(response_BT)
        tail = torch.tensor([[self.ids.slot_id, *self.ids.suffix_ids]], device=self.backbone.target.device)
        ids_BT = tail.expand(batch, -1)
        if response_BT is not None:
            ids_BT = torch.cat([ids_BT, response_BT], dim=1)
        model = self.backbone.language_model(role)
        embedded_BTD = self.backbone.target.architecture.embedding(model)(ids_BT)
        writer = _untouched
        if inject_vector:
            vector_GD = self.injected(activation_GD, role)
            vector_BD = vector_GD.repeat_interleave(batch // len(activation_GD), 0)
            writer = _Writer(vector_BD, self.settings.mode)
        if self.settings.point == "embedding":
            embedded_BTD = writer(embedded_BTD)
        with self._after_block(model, writer):
            output = self._decoder(role)(inputs_embeds=embedded_BTD, past_key_values=cache, use_cache=True)
        if isinstance(writer, _Writer) and writer.calls != 1:
            raise NlaeError(f"the activation was injected {writer.calls} times instead of once: unsupported decoder")
        return output.last_hidden_state

    def injected(self, activation_BD: Tensor, role: str = VERBALIZER) -> Tensor:
        """What enters the slot: direction × scale, through the learned map if there is one; float32."""
        vector_BD = to_scale(activation_BD.to(self.backbone.target.device), self.scale)
        return self.maps[role](vector_BD) if role in self.maps else vector_BD

    @contextlib.contextmanager
    def _after_block(self, model: nn.Module, writer: Callable[[Tensor], Tensor]) -> Iterator[None]:
        if self.settings.point == "embedding":
            yield
            return

        def write(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
            if isinstance(output, tuple):
                return (writer(output[0]), *output[1:])
            return writer(output)

        block = self.backbone.target.architecture.blocks(model)[int(self.settings.point)]
        handle = block.register_forward_hook(write)
        try:
            yield
        finally:
            handle.remove()

    def _token_logprobs(self, hidden_BTD: Tensor, token_BT: Tensor, role: str) -> Tensor:
        """Chunked over tokens: logits of one chunk at a time, recomputed in the backward."""
        hidden_ND, token_N = hidden_BTD.flatten(0, 1), token_BT.flatten()

        def chunk(hidden: Tensor, token: Tensor) -> Tensor:
            return -F.cross_entropy(self.head(hidden, role), token, reduction="none")

        parts = []
        for hidden, token in zip(hidden_ND.split(HEAD_ROWS), token_N.split(HEAD_ROWS), strict=True):
            several = torch.is_grad_enabled() and len(token_N) > HEAD_ROWS
            parts.append(checkpoint(chunk, hidden, token, use_reentrant=False) if several else chunk(hidden, token))
        return torch.cat(parts).view_as(token_BT)


class _Writer:
    """Injects once per forward and counts: a silent miss reads as fluent text about nothing."""

    def __init__(self, vector_BD: Tensor, mode: str) -> None:
        self.vector_BD, self.mode, self.calls = vector_BD, mode, 0

    def __call__(self, hidden_BTD: Tensor) -> Tensor:
        self.calls += 1
        return inject(hidden_BTD, self.vector_BD, slot=0, mode=self.mode)


def _untouched(hidden_BTD: Tensor) -> Tensor:
    return hidden_BTD


def _identity_map(width: int) -> nn.Linear:
    linear = nn.Linear(width, width)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(width))
        linear.bias.zero_()
    return linear


def pad_right(rows: list[list[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Rows of ids padded with 0 to one length, and the mask of real ones; both int64 (B, T)."""
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids.to(device), mask.to(device)
