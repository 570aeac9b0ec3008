"""A target with random weights: the same shape and scales, nothing of what was learned, the same every time."""

import pytest
import torch

from nlae.errors import NlaeError
from nlae.target import TinyTarget, source_from_description
from nlae.target.random_weights import RandomTarget

LIKE = TinyTarget(layers=2, width=32, vocabulary=400)


@pytest.fixture(scope="module")
def pair():
    return LIKE.load(), RandomTarget("random", LIKE).load()


def test_matrices_keep_their_scale_and_lose_their_directions(pair):
    trained, random = (dict(target.model.named_parameters()) for target in pair)
    assert trained.keys() == random.keys()
    for name, weight in trained.items():
        if weight.ndim < 2:
            assert torch.equal(weight, random[name])
            continue
        assert abs(random[name].std() / weight.std() - 1) < 0.1
        assert abs(torch.corrcoef(torch.stack([weight.flatten(), random[name].flatten()]))[0, 1]) < 0.1


def test_the_same_seed_gives_the_same_weights(pair):
    def weight(seed):
        return RandomTarget("random", LIKE, seed).load().model.lm_head.weight

    assert torch.equal(weight(0), pair[1].model.lm_head.weight)
    assert not torch.equal(weight(1), weight(0))


def test_fingerprints_tell_the_weights_apart_and_share_the_tokenizer():
    prints = [LIKE.fingerprint(), RandomTarget("a", LIKE).fingerprint(), RandomTarget("a", LIKE, 1).fingerprint()]
    assert len(set(prints)) == 3
    assert RandomTarget("a", LIKE).tokenizer_fingerprint() == LIKE.fingerprint()


def test_it_is_rebuilt_from_its_description():
    source = RandomTarget("random", LIKE, 3)
    again = source_from_description(source.describe())
    assert again.describe() == source.describe()
    assert again.fingerprint() == source.fingerprint()


def test_what_it_is_like_must_be_a_trained_target():
    with pytest.raises(NlaeError, match="trained target"):
        RandomTarget("random", RandomTarget("random", LIKE))
    with pytest.raises(NlaeError, match="only"):
        RandomTarget("random", {"_target_": "os.system"})
