"""What a neuron writes: the tokens that its write vector promotes and suppresses at the output.

The write vector goes straight through the final norm's weight and the unembedding. Left out: later blocks, which read
it too, and the scale of the residual stream in the final norm's denominator, so that weights compare the tokens of one
neuron, and neurons of one layer, but are no logits.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nlae.target import Site, Target

_ROWS = 256  # of the vectors-by-vocabulary matrix in memory at once


def promoted(target: Target, layer: int, k: int = 10) -> tuple[Tensor, Tensor]:
    """As `promoted_by`, for the neurons of a layer."""
    return promoted_by(target, Site("mlp_out", layer), _down(target, layer).T, k)


@torch.no_grad()
def promoted_by(target: Target, site: Site, write_nd: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k tokens that each direction at a site promotes and suppresses most, for both signs.

    Args:
        target: the model.
        site: where the directions are added; at an MLP's input they write nothing, so that lists are empty.
        write_nd: the directions.
        k: tokens of each list.

    Returns:
        Token ids, int64, and weights, float32, both [2 (sign), 2 (promoted, suppressed), n, k] on the CPU, strongest
        first. A weight is what one unit of sign·a adds to the token's logit above the mean token, up to the final
        norm's denominator; a suppressed token's is negative.
    """
    if site.kind == "mlp_in":
        nothing = torch.empty(2, 2, len(write_nd), 0)
        return nothing.long(), nothing
    model: Any = target.model
    # rows beyond the tokenizer's are padding of the matrix
    unembedding_VD: Tensor = model.get_output_embeddings().weight[: len(target.tokenizer)].float()
    unembedding_VD = unembedding_VD - unembedding_VD.mean(0)
    ids, weights = [], []
    for rows_nD in _through_output(target, site, write_nd).split(_ROWS):
        weight_nV = rows_nD @ unembedding_VD.T
        ends = [weight_nV.topk(k, dim=-1, largest=largest) for largest in (True, False)]
        ids.append(torch.stack([end.indices for end in ends]))
        weights.append(torch.stack([end.values for end in ends]))
    ids_2nk, weight_2nk = torch.cat(ids, 1).cpu(), torch.cat(weights, 1).cpu()
    return torch.stack([ids_2nk, ids_2nk.flip(0)]), torch.stack([weight_2nk, -weight_2nk.flip(0)])


def _through_output(target: Target, site: Site, write_nd: Tensor) -> Tensor:
    """What vectors at a site add to the normed residual stream, up to its scale; float32 [n, D]."""
    architecture = target.architecture
    write_nd = write_nd.float().to(target.device)
    if site.kind == "mlp_neurons":
        write_nd = write_nd @ _down(target, site.index).T
    block: Any = architecture.blocks(target.model)[site.index]
    norm = None if site.kind == "resid" else getattr(block, "post_feedforward_layernorm", None)
    if isinstance(norm, nn.Module):  # Gemma norms the MLP's output again before adding it
        write_nd = _through_norm(norm, write_nd)
    return _through_norm(getattr(architecture.decoder(target.model), architecture.final_norm_name), write_nd)


def _down(target: Target, layer: int) -> Tensor:
    """Weight of a block's down-projection, float32 [D, N]."""
    return target.architecture.down_weight(target.architecture.blocks(target.model)[layer]).float()


def _through_norm(norm: nn.Module, x_nD: Tensor) -> Tensor:
    """The linear part of a norm: centring where it centres, then its weight; the division is left out."""
    if isinstance(norm, nn.LayerNorm):
        centred_nD = x_nD - x_nD.mean(-1, keepdim=True)
        return centred_nD if norm.weight is None else centred_nD * norm.weight.float()
    # both have root mean square 1, so a norm returns its gain (Gemma's is one plus the weight); only the second has
    # mean 0, so one that centres (Cohere's) answers them differently
    weight: Any = norm.weight
    ones_D, signs_D = torch.ones_like(weight), torch.ones_like(weight)
    signs_D[1::2] = -1
    gain_D: Tensor = (norm(signs_D) * signs_D).float()
    if not torch.allclose(norm(ones_D).float(), gain_D, atol=1e-3):
        x_nD = x_nD - x_nD.mean(-1, keepdim=True)
    return x_nD * gain_D.to(x_nD)
