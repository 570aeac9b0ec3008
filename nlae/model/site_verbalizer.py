"""The NL encoder at one site: a language model that writes what a vector says.

Everything before the slot is the same for every vector, so it runs once per call and its key–value cache is shared,
with gradient, by all rows; slot and suffix run once per vector, whatever the number of responses. Padding is left out
altogether: prompts have one length and responses grow to the right, where a causal model cannot see.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from nlae.errors import NlaeError
from nlae.functional.injection import Writer, identity_map, linear_map, to_scale, untouched
from nlae.functional.likelihood import token_logprobs
from nlae.functional.transfers import send
from nlae.model.backbone import REFERENCE, VERBALIZER, Backbone
from nlae.model.injection import InjectionSettings
from nlae.model.prompt import Prompt, VerbalizerPrompt
from nlae.target import Site
from nlae.target.cache import Reread, new_cache, read_on
from nlae.target.model import pad_right
from nlae.target.scales import LogitShape, embedding_multiplier, output_logits
from nlae.target.selfcheck import check_marker
from nlae.target.trunk import site_width

AnyCache = DynamicCache | Reread

WIDE = "wide_"  # before a role: its map from the site's width to that of the residual stream


class SiteVerbalizer(nn.Module):
    """Writes explanations of one site's activations, and says how likely given ones are.

    Args:
        backbone: weights of all roles.
        prompt: templates and tags, those of this site.
        settings: how vectors are injected.
        scale: norm of an injected vector.
        site: of the vectors.
    """

    def __init__(
        self, backbone: Backbone, prompt: Prompt, settings: InjectionSettings, scale: float, site: Site
    ) -> None:
        super().__init__()
        settings.check(backbone.target.n_layers)
        self.site, self.scale = site, float(scale)
        self.backbone, self.prompt, self.settings = backbone, prompt, settings
        self.tokenizer = backbone.target.tokenizer
        self.ids: VerbalizerPrompt = prompt.render_verbalizer(self.tokenizer)
        check_marker(backbone.target, self.ids.slot_id)
        self._sent: dict[tuple[int, ...], Tensor] = {}
        width = backbone.target.d_model
        self.maps = nn.ModuleDict()
        if settings.mode == "affine":
            self.maps[VERBALIZER] = identity_map(width).to(backbone.target.device)
        self.is_wide = site_width(backbone.target.model, site) != width
        if self.is_wide and settings.map == "learned":
            self.maps[WIDE + VERBALIZER] = linear_map(self._down_DN().clone()).to(backbone.target.device)

    def freeze_maps(self) -> None:
        """Keep a frozen copy of the maps for role `reference`."""
        for before in ("", WIDE):
            if before + VERBALIZER in self.maps:
                copied = copy.deepcopy(self.maps[before + VERBALIZER])
                self.maps[before + REFERENCE] = copied.requires_grad_(False)

    def own(self) -> dict[str, nn.Parameter]:
        """Parameters of the learned maps, if any, by name; the frozen reference's are left out."""
        return {name: weight for name, weight in self.maps.named_parameters() if VERBALIZER in name}

    def encode_responses(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids the verbalizer should write, closing tag included, right-padded, and their mask; both (B, T)."""
        ids_BT, mask_BT = send(self.backbone.target.device, *self.render_responses(explanations))
        return ids_BT, mask_BT

    def render_responses(self, explanations: list[str]) -> tuple[Tensor, Tensor]:
        """As `encode_responses`, on the host."""
        texts = [self.prompt.response(text) for text in explanations]
        return pad_right([self.tokenizer.encode(text, add_special_tokens=False) for text in texts], 0)

    def logprobs(
        self, activation_GD: Tensor, token_BT: Tensor, *, mask_BT: Tensor | None = None, role: str = VERBALIZER
    ) -> Tensor:
        """Log-probability of every token of B = G·N given responses; float32, (B, T).

        Args:
            activation_GD: raw activations; row g explains responses g·N … g·N + N − 1.
            token_BT: response ids; padding may hold anything.
            mask_BT: where given, tokens outside it cost nothing in the head and come back as 0.
            role: `verbalizer`, or `reference` for the frozen copy.
        """
        samples = len(token_BT) // len(activation_GD)
        with self.backbone.use(role):
            last_GD, cache = self.read(activation_GD, role)
            if samples > 1:
                cache.batch_repeat_interleave(samples)
            real_N = None if mask_BT is None else mask_BT.flatten().nonzero().squeeze(1)
            return self.respond(last_GD.repeat_interleave(samples, 0), cache, token_BT, real_N, role)

    @torch.no_grad()
    def nll(self, activation_ND: Tensor, texts: Sequence[str], *, batch_size: int = 32) -> float:
        """Mean negative log-likelihood per token of given texts, in nats."""
        total, count = 0.0, 0.0
        for start in range(0, len(texts), batch_size):
            token_BT, mask_BT = self.encode_responses(list(texts[start : start + batch_size]))
            logp_BT = self.logprobs(activation_ND[start : start + batch_size], token_BT)
            total -= float((logp_BT * mask_BT).sum())
            count += float(mask_BT.sum())
        return total / count

    def read(self, activation_GD: Tensor, role: str, *, inject_vector: bool = True) -> tuple[Tensor, AnyCache]:
        """Run the whole prompt: its last hidden state (G, D), and the cache to go on with; inside `use(role)`."""
        cache = self.prefix_cache(role, len(activation_GD))
        return self.run_prompt(activation_GD, cache, role, inject_vector=inject_vector)[:, -1], cache

    def respond(self, last_BD: Tensor, cache: AnyCache, token_BT: Tensor, real_N: Tensor | None, role: str) -> Tensor:
        """As `logprobs`, after a prompt that has been read, row by row; inside `use(role)`.

        Args:
            last_BD: the prompt's last hidden state.
            cache: of the prompt; grows.
            token_BT: response ids.
            real_N: places, among all B·T, of tokens that are no padding; None where none is.
            role: whose weights run.
        """
        hidden_BTD = last_BD[:, None]
        if token_BT.shape[1] > 1:
            output = read_on(self._decoder(role), cache, input_ids=token_BT[:, :-1])
            hidden_BTD = torch.cat([hidden_BTD, output.last_hidden_state], 1)
        hidden_ND, token_N = hidden_BTD.flatten(0, 1), token_BT.flatten()
        if real_N is None:
            return self._token_logprobs(hidden_ND, token_N, role).view_as(token_BT)
        logp_N = self._token_logprobs(hidden_ND.index_select(0, real_N), token_N[real_N], role)
        return torch.zeros(token_N.shape, device=token_N.device).index_copy(0, real_N, logp_N).view_as(token_BT)

    def prefill(self, activation_BD: Tensor, role: str, *, inject_vector: bool = True) -> tuple[Tensor, AnyCache]:
        """Run the whole prompt: logits of the first token (B, V), and the cache to go on with; inside `use(role)`."""
        last_BD, cache = self.read(activation_BD, role, inject_vector=inject_vector)
        return self.head(last_BD, role), cache

    def step(self, token_B: Tensor, cache: AnyCache, role: str) -> Tensor:
        """One decoding step: logits (B, V) of the next token; inside `use(role)`."""
        decoder = self._decoder(role)
        hidden_B1D = read_on(decoder, cache, input_ids=token_B[:, None]).last_hidden_state
        return self.head(hidden_B1D[:, -1], role)

    def prefix_cache(self, role: str, batch: int) -> AnyCache:
        """Keys and values of everything before the slot, computed once and repeated for `batch` rows."""
        model = self.backbone.language_model(role)
        cache = new_cache(model.config, self.backbone.target.architecture.embedding(model))
        if isinstance(cache, Reread) and self.settings.point != "embedding":
            raise NlaeError(
                f"verbalizer.injection.point={self.settings.point}: blocks of {self.backbone.target.source_name} keep "
                "a running state, so the prompt is read again at each step; inject at the embedding"
            )
        if self.ids.prefix_ids:
            read_on(self._decoder(role), cache, input_ids=self.on_device(self.ids.prefix_ids))
            cache.batch_repeat_interleave(batch)
        return cache

    def on_device(self, ids: tuple[int, ...]) -> Tensor:
        """Ids of a piece of the prompt, (1, T), sent once: a prompt does not change."""
        kept = self._sent.get(ids)
        if kept is None or kept.device != self.backbone.target.device:
            with torch.inference_mode(False):  # what is made inside could enter no backward
                kept = self._sent[ids] = torch.tensor([ids], device=self.backbone.target.device)
        return kept

    def head(self, hidden: Tensor, role: str) -> Tensor:
        """Logits of the ids that the tokenizer has, at least float32, as the model itself has them."""
        return output_logits(self.backbone.language_model(role), hidden)[..., : self.backbone.target.n_tokens]

    def _decoder(self, role: str) -> nn.Module:
        return self.backbone.target.architecture.decoder(self.backbone.language_model(role))

    def run_prompt(
        self,
        activation_BD: Tensor,
        cache: Any,
        role: str,
        *,
        inject_vector: bool = True,
        decoder: nn.Module | None = None,
        **given: Any,
    ) -> Tensor:
        """Hidden states of slot and suffix, (B, S, D), after a prefix that lies in `cache`; inside `use(role)`.

        Args:
            activation_BD: raw activations.
            cache: keys and values of the prefix; grows.
            role: whose weights run.
            inject_vector: False leaves the marker's own embedding in the slot.
            decoder: runs instead of the role's own (an engine's copy of it).
            **given: passed on to the decoder.
        """
        decoder = decoder or self._decoder(role)
        tail = self.on_device((self.ids.slot_id, *self.ids.suffix_ids))
        model = self.backbone.language_model(role)
        embedded_BTD = self.backbone.target.architecture.embedding(model)(tail.expand(len(activation_BD), -1))
        writer = Writer(self.injected(activation_BD, role), self.settings.mode) if inject_vector else untouched
        if self.settings.point == "embedding":
            times = embedding_multiplier(model)
            embedded_BTD = writer(embedded_BTD * times) / times if times != 1 else writer(embedded_BTD)
        with self._after_block(decoder, writer):
            output = read_on(decoder, cache, inputs_embeds=embedded_BTD, **given)
        if isinstance(writer, Writer) and writer.calls != 1:
            raise NlaeError(f"the activation was injected {writer.calls} times instead of once: unsupported decoder")
        hidden_BTD: Tensor = output.last_hidden_state
        return hidden_BTD

    def injected(self, activation_BD: Tensor, role: str = VERBALIZER) -> Tensor:
        """What enters the slot: direction × scale, through the learned maps if there are any; float32."""
        vector_BD = activation_BD.to(self.backbone.target.device)
        vector_BD = to_scale(self.narrowed(vector_BD, role), self.scale)
        return self.maps[role](vector_BD) if role in self.maps else vector_BD

    def narrowed(self, vector_BN: Tensor, role: str = VERBALIZER) -> Tensor:
        """Vectors of the site's width in that of the residual stream, through the down-projection where they differ."""
        vector_BN = vector_BN.to(self.backbone.target.device)
        if not self.is_wide:
            return vector_BN
        if WIDE + role in self.maps:
            narrow_BD: Tensor = self.maps[WIDE + role](vector_BN.float())
            return narrow_BD
        with torch.autocast(vector_BN.device.type, enabled=False):
            return F.linear(vector_BN.float(), self._down_DN())

    def _down_DN(self) -> Tensor:
        """Weight of the target's down-projection at the site, float32."""
        architecture, model = self.backbone.target.architecture, self.backbone.target.model
        return architecture.down_weight(architecture.blocks(model)[self.site.index]).detach().float()

    @contextlib.contextmanager
    def _after_block(self, decoder: nn.Module, writer: Callable[[Tensor], Tensor]) -> Iterator[None]:
        if self.settings.point == "embedding":
            yield
            return

        def write(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
            if isinstance(output, tuple):
                return (writer(output[0]), *output[1:])
            return writer(output)

        block = self.backbone.target.architecture.blocks(decoder)[int(self.settings.point)]
        handle = block.register_forward_hook(write)
        try:
            yield
        finally:
            handle.remove()

    def _token_logprobs(self, hidden_ND: Tensor, token_N: Tensor, role: str) -> Tensor:
        model: Any = self.backbone.language_model(role)
        head = model.get_output_embeddings()
        shape, weight_VD, bias_V = LogitShape.of(model), head.weight, getattr(head, "bias", None)
        known = self.backbone.target.n_tokens
        if known < len(weight_VD):  # what is never drawn has no probability here either
            # only then: the gradient of a part is copied into one of the whole, and autocast casts it each time anew
            weight_VD, bias_V = weight_VD[:known], None if bias_V is None else bias_V[:known]
        return token_logprobs(hidden_ND, token_N, weight_VD, bias_V, scale=shape.scale, cap=shape.cap).float()
