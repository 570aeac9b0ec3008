import pytest
import torch
from torch import nn

from nlae.errors import NlaeError
from nlae.target import Target, TinyTarget
from nlae.target.model import pad_right, torch_dtype

CONTEXTS = [[1, 40, 50, 60, 70, 80], [1, 300, 20]]


def test_trap_16_dropout_in_a_shared_base():
    """GPT-2 is trained with dropout 0.1: training mode must not change an activation."""
    source = TinyTarget(family="gpt2")
    noisy = source.load().model
    for module in noisy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
        if hasattr(module, "attn_pdrop"):
            module.attn_pdrop = 0.5
    ids = torch.tensor(CONTEXTS[:1])
    assert not torch.equal(noisy.train()(ids).logits, noisy.eval()(ids).logits)
    target = Target(noisy, source.load_tokenizer(), "gpt2", "x")
    assert torch.equal(target.model.train()(ids).logits, target.model.eval()(ids).logits)
    assert target.model.config.attn_pdrop == target.model.config.resid_pdrop == 0


def test_target_is_frozen(target):
    assert not target.model.training
    assert not any(p.requires_grad for p in target.model.parameters())


def test_next_token_logits_are_those_of_the_model(target):
    logits_BV = target.next_token_logits(CONTEXTS)
    for context, logits_V in zip(CONTEXTS, logits_BV, strict=True):
        expected = target.model(torch.tensor([context])).logits[0, -1]
        torch.testing.assert_close(logits_V, expected, atol=1e-4, rtol=1e-4)


def test_pad_right():
    ids, mask = pad_right([[5, 6], [7]], 0)
    assert ids.tolist() == [[5, 6], [7, 0]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_dtype_names():
    assert torch_dtype("bfloat16") is torch.bfloat16
    assert TinyTarget().load(dtype="bfloat16").dtype is torch.bfloat16
    for name in ("fp99", "nn"):
        with pytest.raises(NlaeError, match="choose float32"):
            torch_dtype(name)
