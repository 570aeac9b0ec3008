import pytest
import torch

from nlae.target import Site, capture, splice
from nlae.target.site import KINDS

IDS = torch.randint(4, 200, (2, 9), generator=torch.Generator().manual_seed(1))
WHERE = torch.zeros(2, 9, dtype=torch.bool)
WHERE[0, 3] = WHERE[1, 8] = True


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_true_activations_change_nothing_and_false_ones_do(target, kind):
    site = Site(kind, 2)
    with capture(target.model, site) as seen:
        logits = target.model(IDS).logits
    with splice(target.model, site, seen.value[WHERE], WHERE):
        assert torch.equal(target.model(IDS).logits, logits)
    with splice(target.model, site, torch.zeros_like(seen.value[WHERE]), WHERE):
        changed = target.model(IDS).logits
    assert torch.equal(changed[0, :3], logits[0, :3])
    assert not torch.allclose(changed[0, 3], logits[0, 3])
    assert not torch.allclose(changed[1, 8], logits[1, 8])
    assert torch.equal(target.model(IDS).logits, logits)  # hooks are gone


def test_counts_and_shapes_must_agree(llama):
    site, vectors_ND = Site(layer=0), torch.zeros(2, 64)
    with pytest.raises(ValueError, match="1 vectors for 2"), splice(llama.model, site, vectors_ND[:1], WHERE):
        pass
    with splice(llama.model, site, vectors_ND, WHERE), pytest.raises(ValueError, match="mask of shape"):
        llama.model(IDS[:, :5])
