"""Is this model read where we think it is? Checked on one short text whenever a target is loaded for work.

An unsupported architecture must fail here, in one line, and not as a bad number after hours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.target.hooks import capture, splice
from nlae.target.model import Target
from nlae.target.scales import embedding_multiplier, output_logits
from nlae.target.site import Site, deepest
from nlae.target.trunk import Trunk, read_sites

PROBE = "The keeper of the lighthouse wrote two letters, one to his sister and one to"
_PROBE_SIZE = 8


class Rendered(Protocol):
    """What `self_check` needs of a prompt; the prompt module imports this package, not the other way round."""

    def render_verbalizer(self, tokenizer: Any) -> Any:
        """The verbalizer's prompt with its `slot_id`."""


@torch.no_grad()
def self_check(target: Target, site: Site, prompt: Rendered | None = None) -> None:
    """Check that hooks, trunk, splicing and marker do what they say for this target.

    Raises:
        NlaeError: Something does not hold; the line says what.
    """
    site = site.resolve(target.n_layers)
    ids_BT = _probe_ids(target)
    resid = Site("resid", site.index)
    try:
        with capture(target.model, site) as seen, capture(target.model, resid) as residual:
            out = target.model(ids_BT, output_hidden_states=True, use_cache=False)
        trunk_BTD = Trunk(target.model, site)(ids_BT)
    except NlaeError:
        raise
    except Exception as error:
        raise _unsupported(target, f"a forward pass fails ({type(error).__name__}: {error})") from error
    _check_layer(target, site, residual.value, out.hidden_states)
    _check_scales(target, ids_BT, out)
    if not _same(trunk_BTD, seen.value):
        raise _unsupported(target, f"its first {site.index + 1} blocks alone do not give the activation at {site.hook}")
    _check_splice(target, site, ids_BT, seen.value, out.logits)
    if prompt is not None:
        check_marker(target, prompt.render_verbalizer(target.tokenizer).slot_id)


def check_marker(target: Target, slot_id: int) -> None:
    """Check that the embedding has a row for the marker; a tokenizer may know more tokens than its model.

    Raises:
        NlaeError: It has none.
    """
    embedding: Any = target.architecture.embedding(target.model)
    if slot_id >= embedding.weight.shape[0]:
        raise NlaeError(f"prompt.marker: id {slot_id} is beyond the target's embedding; choose another marker")


@torch.no_grad()
def probes(target: Target, sites: Sequence[Site]) -> dict[str, list[float]]:
    """A fingerprint of the activations at resolved sites, by their names: first entries of a text's last unit vector.

    Kept in checkpoints, so that reading at another layer, or another model under the same name, is noticed.
    """
    trunk, ids_1T = Trunk(target.model, deepest(sites)), _probe_ids(target)
    last = read_sites(trunk, sites, lambda hidden_1TD: hidden_1TD[0, -1].float(), input_ids=ids_1T)
    scaled = {name: x_D / x_D.norm() * x_D.numel() ** 0.5 for name, x_D in last.items()}
    return {name: [round(float(x), 4) for x in x_D[:_PROBE_SIZE]] for name, x_D in scaled.items()}


def check_probes(target: Target, sites: Sequence[Site], stored: Mapping[str, list[float]]) -> None:
    """Compare with stored `probes`; the tolerance admits half precision.

    Raises:
        NlaeError: The activations are not those that the checkpoint was trained on.
    """
    for site, seen in zip(sites, probes(target, sites).values(), strict=True):
        found, wanted = torch.tensor(seen), torch.tensor(stored.get(site.name, []))
        if found.shape != wanted.shape or (found - wanted).norm() > 0.1 * max(1.0, float(wanted.norm())):
            raise NlaeError(
                f"target {target.source_name} at {site.hook} does not give the activations that the checkpoint was "
                "trained on; check target and site.layer (layer K is the output of block K)"
            )


def _probe_ids(target: Target) -> Tensor:
    ids = target.tokenizer.encode(PROBE, add_special_tokens=True)
    return torch.tensor([ids], device=target.device)


def _check_layer(target: Target, site: Site, residual_BTD: Tensor, hidden_states: tuple[Tensor, ...]) -> None:
    if len(hidden_states) != target.n_layers + 1:
        raise _unsupported(target, f"it has {target.n_layers} blocks but {len(hidden_states)} hidden states")
    if site.index == target.n_layers - 1:
        decoder = target.architecture.decoder(target.model)
        residual_BTD = getattr(decoder, target.architecture.final_norm_name)(residual_BTD)
    if not _same(residual_BTD, hidden_states[site.index + 1]):
        raise _unsupported(target, f"the output of block {site.index} is not hidden_states[{site.index + 1}]")


def _check_scales(target: Target, ids_BT: Tensor, out: Any) -> None:
    """Logits and first residual stream, recomputed with the factors that this family keeps outside its modules."""
    logits_BTV = output_logits(target.model, out.hidden_states[-1])
    if logits_BTV.shape != out.logits.shape or not _same(out.logits, logits_BTV):
        raise _unsupported(target, "its logits are not what its output head makes of its last hidden states")
    embedded_BTD = target.architecture.embedding(target.model)(ids_BT)
    try:
        again = target.model(inputs_embeds=2 * embedded_BTD, output_hidden_states=True, use_cache=False)
    except Exception as error:
        raise _unsupported(target, f"it takes no embeddings ({type(error).__name__}: {error})") from error
    twice = again.hidden_states[0]
    # a difference, so that positions which are added to embeddings cancel
    if not _same(twice - out.hidden_states[0], embedded_BTD * embedding_multiplier(target.model)):
        raise _unsupported(target, "what it makes of embeddings before its first block is not known")


def _check_splice(target: Target, site: Site, ids_BT: Tensor, activation_BTD: Tensor, logits_BTV: Tensor) -> None:
    where_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    where_BT[:, -1] = True
    with splice(target.model, site, activation_BTD[where_BT], where_BT):
        again = target.model(ids_BT, use_cache=False).logits
    if not _same(again, logits_BTV):
        raise _unsupported(target, f"putting the true activation back at {site.hook} changes the logits")
    with splice(target.model, site, torch.zeros_like(activation_BTD[where_BT]), where_BT):
        blank = target.model(ids_BT, use_cache=False).logits
    if torch.equal(blank, logits_BTV):
        raise _unsupported(target, f"writing to {site.hook} changes nothing")


def _same(a: Tensor, b: Tensor) -> bool:
    tolerance = 1e-4 if a.dtype == torch.float32 else 2e-2
    return bool((a - b).float().norm() <= tolerance * b.float().norm())


def _unsupported(target: Target, reason: str) -> NlaeError:
    kind = type(target.model).__name__
    name = f"target {target.source_name} ({kind})"
    return NlaeError(f"{name}: {reason}; this architecture is not supported, choose another target")
