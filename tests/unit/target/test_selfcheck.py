from contextlib import nullcontext
from dataclasses import replace

import pytest

from nlae.errors import NlaeError
from nlae.model.prompt import Prompt
from nlae.target import Site, Target, TinyTarget, capture, self_check, selfcheck
from nlae.target.scales import LogitShape
from nlae.target.selfcheck import check_probes, probes
from nlae.target.site import KINDS

PROMPT = Prompt("p", "Say what it holds: <concept>{slot}</concept>", "{explanation}\nNext:", "describe")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [0, 0.5, 1])
def test_every_family_passes(target, kind, depth):
    self_check(target, Site(kind, depth=depth), PROMPT)


def broken() -> Target:
    return TinyTarget().load()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_hooks_at_the_wrong_layer_are_noticed(monkeypatch, layer):
    def late(model, site):
        return capture(model, replace(site, layer=site.layer - 1))

    monkeypatch.setattr(selfcheck, "capture", late)
    with pytest.raises(NlaeError, match=r"is not hidden_states.*choose another target"):
        self_check(broken(), Site(layer=layer))


def test_splices_that_do_nothing_are_noticed(monkeypatch):
    monkeypatch.setattr(selfcheck, "splice", lambda *_: nullcontext())
    with pytest.raises(NlaeError, match="changes nothing"):
        self_check(broken(), Site(layer=1))


@pytest.mark.parametrize("family", ["cohere", "gemma2", "granite"])
def test_unknown_factors_of_logits_are_noticed(monkeypatch, family):
    target = TinyTarget(family=family).load()
    cap = 0.5 if family == "gemma2" else None  # at the family's own cap tiny logits hardly bend
    target.model.config.final_logit_softcapping = cap
    self_check(target, Site(layer=1))
    monkeypatch.setattr(LogitShape, "of", classmethod(lambda cls, _: cls()))
    with pytest.raises(NlaeError, match="its logits are not what its output head makes"):
        self_check(target, Site(layer=1))


def test_unknown_factors_of_embeddings_are_noticed(monkeypatch):
    target = TinyTarget(family="granite").load()
    monkeypatch.setattr(selfcheck, "embedding_multiplier", lambda _: 1.0)
    with pytest.raises(NlaeError, match="what it makes of embeddings before its first block is not known"):
        self_check(target, Site(layer=1))


def test_a_failing_forward_is_one_line():
    target = broken()
    target.architecture.blocks(target.model)[0].forward = None
    with pytest.raises(NlaeError, match="a forward pass fails") as error:
        self_check(target, Site(layer=1))
    assert "\n" not in str(error.value)


def test_marker_beyond_the_embedding_is_refused():
    target = broken()
    target.tokenizer.add_tokens(["⟐"])
    prompt = Prompt("p", "x <concept>{slot}</concept>", "{explanation}\nNext:", "describe", marker="⟐")
    with pytest.raises(NlaeError, match="beyond the target's embedding"):
        self_check(target, Site(layer=1), prompt)


def test_probe_knows_the_layer_and_the_weights(llama):
    (stored,) = probes(llama, [Site(layer=2)]).values()
    check_probes(llama, [Site(layer=2)], {"resid.2": stored})
    check_probes(TinyTarget().load(dtype="bfloat16"), [Site(layer=2)], {"resid.2": stored})
    for other, layer in ((llama, 1), (llama, 3), (TinyTarget(weights_seed=1).load(), 2)):
        with pytest.raises(NlaeError, match="activations that the checkpoint was trained on"):
            check_probes(other, [Site(layer=layer)], {f"resid.{layer}": stored})
