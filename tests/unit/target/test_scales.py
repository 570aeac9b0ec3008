"""Logits and embeddings against each family's own forward."""

import pytest
import torch

from nlae.target import TinyTarget
from nlae.target.scales import LogitShape, embedding_multiplier, output_logits

IDS_BT = torch.tensor([[1, 20, 30, 40, 50], [1, 21, 31, 41, 51]])
SHAPES = {
    "cohere": (LogitShape(scale=0.25), 1.0),
    "gemma2": (LogitShape(cap=30.0), 1.0),
    "granite": (LogitShape(scale=1 / 3), 2.5),
    "hyperclovax": (LogitShape(scale=0.5), 1.5),
    "llama": (LogitShape(), 1.0),
}


@pytest.mark.parametrize("family", sorted(SHAPES))
def test_factors_are_read_from_the_config(family):
    model = TinyTarget(family=family).load().model
    assert (LogitShape.of(model), embedding_multiplier(model)) == SHAPES[family]


@torch.no_grad()
def test_logits_are_the_models_own(target):
    model = TinyTarget(family=target.model.config.model_type.removesuffix("_text")).load().model.double()
    if hasattr(model.config, "final_logit_softcapping"):
        model.config.final_logit_softcapping = 0.5  # far below the logits of a tiny model
    out = model(IDS_BT, output_hidden_states=True)
    torch.testing.assert_close(output_logits(model, out.hidden_states[-1]), out.logits, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_next_token_logits_are_the_models_own(target):
    want_BV = target.model(IDS_BT).logits[:, -1]
    torch.testing.assert_close(target.next_token_logits(IDS_BT.tolist()), want_BV, rtol=1e-4, atol=1e-4)


def test_low_precision_is_raised_before_it_is_bent():
    assert LogitShape(scale=3.0, cap=2.0)(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert LogitShape()(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
