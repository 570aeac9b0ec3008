"""Promoted tokens against what the model's own final norm and head make of a small push along the write vector."""

import pytest
import torch

from nlae.dictionary.subjects.output_side import promoted
from nlae.target import TinyTarget
from nlae.target.tiny import FAMILIES


def pushed(target, layer, neuron):
    """d logits / d activation at a residual of ones-and-minus-ones, through the real norm and head: naive, float64."""
    model, architecture = target.model.double(), target.architecture
    decoder = architecture.decoder(model)
    norm, head = getattr(decoder, architecture.final_norm_name), model.get_output_embeddings()
    block = architecture.blocks(model)[layer]
    down = architecture.down_projection(block)
    width = architecture.down_weight(block).shape[1]
    one = torch.zeros(width, dtype=torch.float64)
    one[neuron] = 1
    with torch.no_grad():
        write = down(one) - down(torch.zeros_like(one))
    stream = torch.tensor([1.0, -1.0]).double().repeat(target.d_model // 2)
    # centred, and orthogonal to the push, so that the norm's denominator stays as it is
    centred = write - write.mean()
    stream -= centred * (stream @ centred) / (centred @ centred)
    _, slope = torch.autograd.functional.jvp(lambda x: head(norm(x)), stream, write)
    return slope - slope.mean()


SINGLE = sorted(set(FAMILIES) - {"gemma2", "gemma3"})


@pytest.mark.parametrize("family", SINGLE)
@pytest.mark.parametrize("tied", [False, True])
def test_order_is_that_of_a_push_along_the_write_vector(family, tied):
    target = TinyTarget(family=family, layers=2, width=32, vocabulary=400).load()
    if tied:
        target.model.get_output_embeddings().weight = target.model.get_input_embeddings().weight
    decoder = target.architecture.decoder(target.model)
    norm = getattr(decoder, target.architecture.final_norm_name)
    norm.weight.data.copy_(1 + 0.5 * torch.randn(32, generator=torch.Generator().manual_seed(4)))
    ids, weights = promoted(target, 1, 5)
    assert ids.shape == weights.shape == (2, 2, 96, 5)
    for neuron in (0, 41, 95):
        slope = pushed(target, 1, neuron)[: len(target.tokenizer)]
        assert ids[0, 0, neuron].tolist() == slope.topk(5).indices.tolist()
        assert ids[0, 1, neuron].tolist() == (-slope).topk(5).indices.tolist()
        ratio = weights[0, 0, neuron].double() / slope.topk(5).values
        assert ratio.std() < 1e-3 * ratio.mean()  # one denominator for all tokens
        target.model.float()


@pytest.mark.parametrize("family", sorted(["gemma2", "gemma3"]))
def test_gemma_norms_count_one_plus_their_weight_and_the_norm_behind_the_mlp(family):
    target = TinyTarget(family=family, layers=2, width=32, vocabulary=400).load()
    decoder, block = target.architecture.decoder(target.model), target.architecture.blocks(target.model)[1]
    draw = torch.Generator().manual_seed(5)
    for norm in (decoder.norm, block.post_feedforward_layernorm):
        norm.weight.data.copy_(torch.randn(32, generator=draw))
    ids, weights = promoted(target, 1, 3)
    head = target.model.get_output_embeddings().weight[: len(target.tokenizer)]
    for neuron in (0, 50):
        write = block.mlp.down_proj.weight[:, neuron]
        logits = head @ (write * (1 + block.post_feedforward_layernorm.weight) * (1 + decoder.norm.weight))
        logits = logits - logits.mean()
        assert ids[0, 0, neuron].tolist() == logits.topk(3).indices.tolist()
        torch.testing.assert_close(weights[0, 0, neuron], logits.topk(3).values, rtol=1e-4, atol=1e-5)


def test_the_other_sign_is_the_other_way_round():
    ids, weights = promoted(TinyTarget(layers=2, width=32, vocabulary=400).load(), 0, 4)
    assert torch.equal(ids[1, 0], ids[0, 1])
    assert torch.equal(ids[1, 1], ids[0, 0])
    assert torch.equal(weights[1, 0], -weights[0, 1])
    assert (weights[:, 0] > 0).all()
    assert (weights[:, 1] < 0).all()
    assert (weights[:, 0].diff(dim=-1) <= 0).all()


def test_ids_beyond_the_tokenizer_are_never_promoted():
    target = TinyTarget(layers=1, width=32, vocabulary=400).load()
    known = len(target.tokenizer)
    target.model.resize_token_embeddings(known + 50, mean_resizing=False)
    target.model.get_output_embeddings().weight.data[known:] = 100.0
    assert int(promoted(target, 0, 4)[0].max()) < known
