"""Both engines in the process against the log-probabilities that training computes, and a row against its batch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nlae.functional import randomness
from nlae.functional.randomness import uniforms
from nlae.model.autoencoder import Autoencoder
from nlae.model.injection import InjectionSettings
from nlae.model.prompt import CLOSE_TAG
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.rollout import LocalRollout, PlainRollout, Rollouts, local, plain
from nlae.rollout.decoder import Decoder
from nlae.target import Site, TinyTarget
from pairs import autoencoder
from rollouts import same

SEEDS = list(range(100, 112))


@pytest.fixture(params=["local", "plain"])
def write(request):
    """Write with one of the engines: `write(pair, activations, seeds, size=64, **how)`."""
    engine = {"local": LocalRollout, "plain": PlainRollout}[request.param]

    def run(
        pair: Autoencoder, activation_BD: torch.Tensor, seeds: list[int], size: int = 64, **how: object
    ) -> Rollouts:
        return engine(batch_size=size)(pair.at().verbalizer, activation_BD, seeds, **how)

    run.engine = request.param
    return run


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every decoding step from now on."""
    rows: list[int] = []
    for owner, place in ((SiteVerbalizer, 0), (Decoder, 1)):

        def counting(self, *given, before=owner.step, place=place):
            rows.append(len(given[place]))
            return before(self, *given)

        monkeypatch.setattr(owner, "step", counting)
    return rows


def script(monkeypatch: pytest.MonkeyPatch, rows: list[list[int]], cap: int) -> None:
    """Let the rows write given ids instead of what they would sample."""
    table_BT = torch.tensor([[*row, *[9] * (cap - len(row))] for row in rows], dtype=torch.float64)
    for module in (local, plain):
        monkeypatch.setattr(module, "uniforms", lambda seeds, length: table_BT[:, :length])
    monkeypatch.setattr(randomness, "sample_inverse_cdf", lambda weight_BV, uniform_B: uniform_B.long())


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("point", ["embedding", 1])
def test_what_is_sampled_has_the_logprobs_that_training_sees(write, make_pair, activations, family, point):
    pair = make_pair(family, point=point)
    rollouts = write(pair, activations, SEEDS)
    logp_BT = pair.at().verbalizer.logprobs(activations, rollouts.token_BT)
    gap_BT = (logp_BT - rollouts.logp_BT) * rollouts.mask_BT
    assert rollouts.mask_BT.sum() > 60
    assert gap_BT.abs().max() < 2e-4


@pytest.mark.usefixtures("many_stops")
def test_a_row_does_not_depend_on_its_batch(write, make_pair, activations, monkeypatch):
    pair = make_pair("llama")
    together = write(pair, activations, SEEDS)
    assert len(set(together.length.tolist())) > 3, "rows finish at different times, so the batch shrinks"
    same(together, write(pair, activations, SEEDS, size=5))
    same(together, write(pair, activations, SEEDS, size=1))
    back = write(pair, activations.flip(0), SEEDS[::-1])
    assert back.text == together.text[::-1]
    for share in (0.0, 1.0):
        monkeypatch.setattr(plain, "KEEP_SHARE", share)
        monkeypatch.setattr(local, "JOIN_SHARE", share)
        same(together, write(pair, activations, SEEDS, size=5))


@pytest.mark.usefixtures("many_stops")
def test_finished_rows_leave_and_the_rest_goes_on_with_its_own_cache(write, make_pair, activations, monkeypatch):
    pair = make_pair("gemma3")  # sliding windows have caches of their own
    monkeypatch.setattr(plain, "KEEP_SHARE", 1.0)
    rows = count_steps(monkeypatch)
    rollouts = write(pair, activations, SEEDS)
    assert rows == [int((rollouts.length > t).sum()) for t in range(1, int(rollouts.length.max()))]
    logp_BT = pair.at().verbalizer.logprobs(activations, rollouts.token_BT)
    assert ((logp_BT - rollouts.logp_BT) * rollouts.mask_BT).abs().max() < 2e-4


def test_seeds_make_the_text_and_rows_of_one_activation_differ(write, make_pair, activations):
    pair = make_pair("llama")
    one = activations[:1].expand(6, -1)
    assert len(set(write(pair, one, SEEDS[:6]).text)) == 6
    assert write(pair, one, SEEDS[:6]).text == write(pair, one, SEEDS[:6]).text
    assert len(set(write(pair, one, [1] * 6).text)) == 1


def test_greedy_takes_the_most_likely_token_and_needs_no_seed(write, make_pair, activations):
    pair = make_pair("llama")
    greedy = write(pair, activations, SEEDS, temperature=0.0)
    same(greedy, write(pair, activations, [0] * 12, temperature=0.0))
    with torch.no_grad(), pair.backbone.use("verbalizer"):
        logits_BV, _ = pair.at().verbalizer.prefill(activations, "verbalizer")
    assert torch.equal(greedy.token_BT[:, 0], logits_BV.argmax(-1))
    assert greedy.text != write(pair, activations, SEEDS).text


def test_sampling_reproduces_the_distribution_of_the_first_token(write, make_pair, activations):
    pair = make_pair("llama")
    with torch.no_grad(), pair.backbone.use("verbalizer"):
        logits_BV, _ = pair.at().verbalizer.prefill(activations[:1], "verbalizer")
    n = 3000
    token_B = write(pair, activations[:1].expand(n, -1), list(range(n)), size=n).token_BT[:, 0]
    share_V = torch.bincount(token_B, minlength=logits_BV.shape[1]) / n
    expected_V = logits_BV[0].softmax(-1)
    spread_V = (expected_V * (1 - expected_V) / n).sqrt()
    assert ((share_V - expected_V).abs() < 5 * spread_V + 1e-3).all()


def test_temperature_is_in_the_logprobs(write, make_pair, activations):
    pair = make_pair("llama")
    rollouts = write(pair, activations, SEEDS, temperature=0.5)
    with torch.no_grad(), pair.backbone.use("verbalizer"):
        logits_BV, _ = pair.at().verbalizer.prefill(activations, "verbalizer")
    expected_B = (logits_BV / 0.5).log_softmax(-1).gather(1, rollouts.token_BT[:, :1]).squeeze(1)
    assert torch.allclose(rollouts.logp_BT[:, 0], expected_B, atol=1e-4)


def test_closing_tag_ends_a_row_and_the_cap_ends_the_rest(write, make_pair, activations, monkeypatch):
    pair = make_pair("llama")
    tokenizer, cap = pair.target.tokenizer, pair.prompt.max_tokens
    closed = tokenizer.encode("a cat" + CLOSE_TAG, add_special_tokens=False)
    turn_over = [*tokenizer.encode("a dog", add_special_tokens=False), tokenizer.eos_token_id]
    endless = tokenizer.encode("the", add_special_tokens=False) * cap
    empty = tokenizer.encode(CLOSE_TAG, add_special_tokens=False)
    script(monkeypatch, [closed, turn_over, endless[:cap], empty], cap)
    rollouts = write(pair, activations[:4], SEEDS[:4])
    assert rollouts.text == ["a cat", "a dog", tokenizer.decode(endless[:cap]), ""]
    assert rollouts.closed.tolist() == [True, False, False, True]
    assert rollouts.length.tolist() == [len(closed), len(turn_over), cap, len(empty)]
    assert rollouts.token_BT[0, : len(closed)].tolist() == closed
    assert rollouts.token_BT[0, len(closed) :].tolist() == [0] * (cap - len(closed)), "nothing is written after the end"


def test_a_tag_spelled_letter_by_letter_ends_a_row_too(write, prompt, activations, monkeypatch):
    target = TinyTarget(layers=1, width=32, vocabulary=400).load()
    short = dataclasses.replace(prompt, max_tokens=30)
    pair = autoencoder(target, Site(layer=0), None, short, injection=InjectionSettings(scale=6.0))
    letters = [target.tokenizer.encode(c, add_special_tokens=False)[0] for c in "it" + CLOSE_TAG]
    script(monkeypatch, [letters, letters[:-1]], 30)
    rollouts = write(pair, activations[:2], SEEDS[:2])
    assert rollouts.length.tolist() == [len(letters), 30]
    assert rollouts.closed.tolist() == [True, False]
    assert rollouts.text[0] == "it"


def test_batches_are_put_together_at_the_longest(write, make_pair, activations, monkeypatch):
    pair = make_pair("llama")
    short = pair.target.tokenizer.encode("a" + CLOSE_TAG, add_special_tokens=False)
    table_BT = torch.tensor([[*short, *[9] * (10 - len(short))], [9] * 10], dtype=torch.float64)
    for module in (local, plain):
        monkeypatch.setattr(module, "uniforms", lambda seeds, length: table_BT[seeds])
    monkeypatch.setattr(randomness, "sample_inverse_cdf", lambda weight_BV, uniform_B: uniform_B.long())
    rollouts = write(pair, activations[:2], [0, 1], size=1)
    assert rollouts.token_BT.shape == rollouts.logp_BT.shape == (2, 10)
    assert rollouts.length.tolist() == [len(short), 10]


def test_progress_counts_rows(write, make_pair, activations):
    seen: list[int] = []
    write(make_pair("llama"), activations, SEEDS, size=5, progress=seen.append)
    assert sum(seen) == 12
    assert len(seen) >= 3


def test_without_injection_all_rows_are_equally_likely_to_say_anything(write, make_pair, activations):
    pair = make_pair("llama")
    assert len(set(write(pair, activations, [4] * 12, inject=False).text)) == 1
    assert len(set(write(pair, activations, [4] * 12).text)) > 3


def test_one_draw_a_token(write, make_pair, activations, monkeypatch):
    """Token t of a row uses number t of its seed, whoever else is still writing."""
    pair, used = make_pair("llama"), []
    before = randomness.sample_inverse_cdf
    monkeypatch.setattr(randomness, "sample_inverse_cdf", lambda p, u: used.append(u.clone()) or before(p, u))
    write(pair, activations[:2], [7, 8])
    assert torch.equal(torch.stack(used, 1), uniforms([7, 8], len(used)))
