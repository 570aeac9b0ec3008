"""The reconstructor against the target's own hidden states, and rows against their padding."""

from __future__ import annotations

import pytest
import torch
import yaml

from nlae.errors import NlaeError
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.checkpoint import META
from nlae.model.reference_layout import export_reference
from nlae.model.site_reconstructor import SiteReconstructor
from nlae.target import TinyTarget

TEXTS = ["a red cat", "the dog", "a much longer text about a town and its people"]


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "gpt_neox"])
def test_untrained_it_answers_with_the_activation_of_its_prompts_last_token(make_pair, family):
    pair = make_pair(family, layer=1, learned=False)
    bare = TinyTarget(family=family, layers=3, width=32, vocabulary=400).load()
    with torch.no_grad():
        found_BD, log_norm_B = pair.at().reconstructor(TEXTS)
        for text, found_D in zip(TEXTS, found_BD, strict=True):
            ids = bare.tokenizer.encode(pair.prompt.reconstructor.format(explanation=text), add_special_tokens=True)
            # output of block 1 = hidden_states[2], at the last token of an unpadded row
            hidden_D = bare.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0, -1]
            assert torch.allclose(found_D, unit(hidden_D), atol=1e-4)
    assert log_norm_B is None


def test_the_head_acts_on_the_direction_and_the_answer_is_a_unit_vector(make_pair):
    pair = make_pair(learned=False)
    plain_BD = pair.at().reconstructor(TEXTS)[0].detach()
    with torch.no_grad():
        pair.at().reconstructor.head.weight.copy_(3 * torch.eye(32).flip(0))
    turned_BD = pair.at().reconstructor(TEXTS)[0]
    assert torch.allclose(turned_BD, plain_BD.flip(-1), atol=1e-6)
    assert torch.allclose(turned_BD.norm(dim=-1), torch.ones(3))


def test_trap_08_neighbours_and_padding_change_nothing(make_pair):
    pair = make_pair()
    with torch.no_grad():
        together_BD = pair.at().reconstructor(TEXTS)[0]
        alone_BD = torch.cat([pair.at().reconstructor([text])[0] for text in TEXTS])
    assert torch.allclose(together_BD, alone_BD, atol=1e-5)


@pytest.mark.parametrize(("kind", "width"), [("mlp_out", 32), ("mlp_neurons", 96)])
def test_other_sites_are_read_where_they_are_and_square_in_their_width(make_pair, kind, width):
    pair = make_pair(kind=kind)
    assert pair.at().reconstructor(TEXTS)[0].shape == (3, width)
    assert pair.at().reconstructor.head.weight.shape == (width, width)
    assert pair.activations([[1, 5, 6]])[0].shape == (3, width)


def test_magnitude_starts_at_the_median_norm(make_pair):
    pair = make_pair(magnitude=True, learned=False)
    _, log_norm_B = pair.at().reconstructor(TEXTS)
    assert torch.equal(log_norm_B.detach(), torch.zeros(3))
    assert torch.allclose(pair.reconstruct_norm(TEXTS), torch.full((3,), 5.0))
    with torch.no_grad():
        pair.at().reconstructor.norm_head.bias.fill_(1.0)
    assert torch.allclose(pair.reconstruct_norm(TEXTS), torch.full((3,), 5.0 * 2.718281828))


def test_a_text_that_is_too_long_loses_its_own_end_not_the_template(make_pair):
    pair = make_pair()
    short = SiteReconstructor(pair.backbone, pair.prompt, site=pair.site, max_tokens=24)
    ids_BT, mask_BT = short.encode(["the town and its people " * 20, "the"])
    suffix = list(pair.prompt.reconstructor_suffix_ids(pair.target.tokenizer))
    assert ids_BT.shape == (2, 24)
    for ids, mask in zip(ids_BT, mask_BT, strict=True):
        assert ids[mask.bool()].tolist()[-len(suffix) :] == suffix


def test_a_head_of_low_rank_starts_as_the_identity_moves_and_is_kept(make_pair, activations, tmp_path):
    whole, low = make_pair(learned=False), make_pair(head_rank=2, learned=False)
    reader = low.at().reconstructor
    assert torch.equal(reader.head.weight, torch.eye(32))
    assert torch.equal(reader(TEXTS)[0], whole.at().reconstructor(TEXTS)[0])
    optimizer = torch.optim.SGD(low.reconstructor.trainable(), lr=1.0)
    for _ in range(2):  # what is zero at the start keeps the other factor still for one step
        optimizer.zero_grad()
        (reader(TEXTS)[0] - unit(activations[:3])).pow(2).sum().backward()
        assert all(weight.grad is not None for weight in reader.own().values())
        optimizer.step()
    added_DD = reader.head.weight.detach() - torch.eye(32)
    assert added_DD.abs().max() > 1e-3
    assert torch.linalg.matrix_rank(added_DD) <= 2
    assert sum(weight.numel() for weight in reader.own().values()) == 2 * 2 * 32
    low.save(tmp_path)
    again = Autoencoder.load(tmp_path)
    assert again.reconstructor.head_rank == 2
    assert torch.equal(again.reconstruct(TEXTS), low.reconstruct(TEXTS))
    export_reference(low, tmp_path / "exported")
    exported = Autoencoder.load(tmp_path / "exported")
    assert exported.reconstructor.head_rank is None
    torch.testing.assert_close(exported.reconstruct(TEXTS), low.reconstruct(TEXTS), atol=1e-4, rtol=0)
    meta = yaml.safe_load((tmp_path / META).read_text())
    for rank in (None, 3):
        (tmp_path / META).write_text(
            yaml.safe_dump(meta | {"reconstructor": meta["reconstructor"] | {"head_rank": rank}})
        )
        with pytest.raises(NlaeError, match="head"):
            Autoencoder.load(tmp_path)
    for rank in (0, 33):
        with pytest.raises(NlaeError, match=r"head_rank=\d+: choose null or 1 … 32"):
            make_pair(head_rank=rank)
