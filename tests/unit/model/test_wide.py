"""Vectors wider than the residual stream: neurons enter through the down-projection of their own MLP."""

from __future__ import annotations

import pytest
import torch

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import REFERENCE
from nlae.model.injection import InjectionSettings
from nlae.target import Site, capture

IDS = torch.randint(4, 300, (2, 9), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def seen(pair: Autoencoder, kind: str) -> torch.Tensor:
    with pair.backbone.use(None), capture(pair.target.model, Site(kind, pair.site.index)) as caught:
        pair.target.model(IDS)
    return caught.value.flatten(0, 1)


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "gpt_neox", "llama"])
def test_what_is_injected_is_what_the_mlp_writes(make_pair, family):
    pair = make_pair(family, kind="mlp_neurons")
    blocks = pair.target.architecture.blocks(pair.target.model)
    down = pair.target.architecture.down_projection(blocks[pair.site.index])
    bias = getattr(getattr(down, "base_layer", down), "bias", None)
    wrote_ND = seen(pair, "mlp_out") - (0 if bias is None else bias)
    injected_ND = pair.at().verbalizer.injected(seen(pair, "mlp_neurons"))
    torch.testing.assert_close(injected_ND, 6.0 * unit(wrote_ND), atol=1e-4, rtol=1e-4)


def test_a_learned_map_starts_there_moves_and_is_kept(make_pair, tmp_path):
    plain = make_pair(kind="mlp_neurons", learned=False)
    given_BN = seen(plain, "mlp_neurons")[:4]
    pair = make_pair(kind="mlp_neurons", learned=False, map="learned")
    torch.testing.assert_close(pair.at().verbalizer.injected(given_BN), plain.at().verbalizer.injected(given_BN))
    assert len(pair.verbalizer.trainable()) == len(plain.verbalizer.trainable()) + 1
    pair.verbalizer.freeze_reference()
    token_BT, _ = pair.at().verbalizer.encode_responses(["a cat"] * 4)
    pair.at().verbalizer.logprobs(given_BN, token_BT).sum().backward()
    (weight,) = pair.at().verbalizer.own().values()
    assert float(weight.grad.abs().sum()) > 0
    with torch.no_grad():
        weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    now_BD = pair.at().verbalizer.injected(given_BN)
    before_BD = pair.at().verbalizer.injected(given_BN, REFERENCE)
    torch.testing.assert_close(before_BD, plain.at().verbalizer.injected(given_BN))
    assert not torch.allclose(now_BD, before_BD, atol=1e-2)
    pair.save(tmp_path)
    torch.testing.assert_close(Autoencoder.load(tmp_path).at().verbalizer.injected(given_BN), now_BD)


def test_vectors_of_the_right_width_need_no_map(make_pair):
    pair = make_pair(kind="mlp_in", map="learned")
    assert not pair.at().verbalizer.is_wide
    assert not pair.at().verbalizer.own()
    with pytest.raises(NlaeError, match="injection.map is 'pca'"):
        InjectionSettings(map="pca").check(3)
