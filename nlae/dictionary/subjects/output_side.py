"""What a neuron writes: the tokens that its write vector promotes and suppresses at the output.

The write vector goes straight through the final norm's weight and the unembedding. Left out: later blocks, which read
it too, and the scale of the residual stream in the final norm's denominator, so that weights compare the tokens of one
neuron, and neurons of one layer, but are no logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nlae.target import Site, Target

_NEURONS = 256  # rows of the neurons-by-vocabulary matrix in memory at once


@torch.no_grad()
def promoted(target: Target, layer: int, k: int = 10) -> tuple[Tensor, Tensor]:
    """The k tokens that each neuron of a layer promotes and suppresses most, for both signs.

    Args:
        target: the model.
        layer: block index.
        k: tokens of each list.

    Returns:
        Token ids, int64, and weights, float32, both [2 (sign), 2 (promoted, suppressed), N, k] on the CPU, strongest
        first. A weight is what one unit of sign·a adds to the token's logit above the mean token, up to the final
        norm's denominator; a suppressed token's is negative.
    """
    return of_write_vectors(target, write_vectors(target, layer), k)


@torch.no_grad()
def of_write_vectors(target: Target, write_NW: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `promoted`, for given vectors behind the final norm, float32 [N, d_model]."""
    model: Any = target.model
    head: Any = model.get_output_embeddings()
    # rows beyond the tokenizer's are padding of the matrix
    unembedding_VW: Tensor = head.weight[: len(target.tokenizer)].float()
    unembedding_VW = unembedding_VW - unembedding_VW.mean(0)
    high, low = [], []
    for rows_NW in write_NW.split(_NEURONS):
        weight_NV = rows_NW @ unembedding_VW.T
        high.append(weight_NV.topk(k, dim=-1))
        low.append(weight_NV.topk(k, dim=-1, largest=False))
    ids_high, ids_low = (torch.cat([found.indices for found in side]) for side in (high, low))
    top, bottom = (torch.cat([found.values for found in side]) for side in (high, low))
    ids = torch.stack([torch.stack([ids_high, ids_low]), torch.stack([ids_low, ids_high])])
    weights = torch.stack([torch.stack([top, bottom]), torch.stack([-bottom, -top])])
    return ids.cpu(), weights.cpu()


@torch.no_grad()
def write_vectors(target: Target, layer: int) -> Tensor:
    """What one unit of each neuron adds to the normed residual stream, up to its scale: float32 [N, d_model]."""
    return through_output(target, Site("mlp_out", layer), _down(target, layer).T)


def through_output(target: Target, site: Site, write_NW: Tensor) -> Tensor:
    """What vectors at a site (not `mlp_in`) add to the normed residual stream, up to its scale; float32 [N, d]."""
    architecture = target.architecture
    write_NW = write_NW.float().to(target.device)
    if site.kind == "mlp_neurons":
        write_NW = write_NW @ _down(target, site.index).T
    block: Any = architecture.blocks(target.model)[site.index]
    norm = None if site.kind == "resid" else getattr(block, "post_feedforward_layernorm", None)
    if isinstance(norm, nn.Module):  # Gemma norms the MLP's output again before adding it
        write_NW = through_norm(norm, write_NW)
    decoder = architecture.decoder(target.model)
    return through_norm(getattr(decoder, architecture.final_norm_name), write_NW.to(target.device))


def _down(target: Target, layer: int) -> Tensor:
    """Weight of a block's down-projection, float32 [d_model, N]."""
    return target.architecture.down_weight(target.architecture.blocks(target.model)[layer]).float()


def through_norm(norm: nn.Module, x_NW: Tensor) -> Tensor:
    """The linear part of a norm: centring where it centres, then its weight; the division is left out."""
    if isinstance(norm, nn.LayerNorm):
        centred_NW = x_NW - x_NW.mean(-1, keepdim=True)
        return centred_NW if norm.weight is None else centred_NW * norm.weight.float()
    weight: Any = norm.weight
    # both have root mean square 1, so a norm returns its gain (Gemma's is one plus the weight); only the second has
    # mean 0, so one that centres (Cohere's) answers them differently
    ones_W, signs_W = torch.ones_like(weight), torch.ones_like(weight)
    signs_W[1::2] = -1
    gain_W: Tensor = (norm(signs_W) * signs_W).float()
    if not torch.allclose(norm(ones_W).float(), gain_W, atol=1e-3):
        x_NW = x_NW - x_NW.mean(-1, keepdim=True)
    return x_NW * gain_W.to(x_NW)
