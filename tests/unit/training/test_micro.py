"""Micro-batches of any size give the loss and the gradients of one plain batch, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nlae.functional.policy import k3, surrogate
from nlae.functional.scaling import unit
from nlae.model.autoencoder import Autoencoder
from nlae.model.backbone import REFERENCE
from nlae.model.micro import predictions, responses

N, BUDGETS = 3, (1, 40, 100_000)
TEXTS = ["a red cat", "the dog", "a much longer text about a town and its people", "rain", "a river", "so it was"]


def rollouts(pair: Autoencoder) -> tuple[Tensor, Tensor]:
    """Four groups of three responses with lengths from 1 to 12."""
    generator = torch.Generator().manual_seed(3)
    token_BT = torch.randint(4, len(pair.target.tokenizer), (4 * N, 12), generator=generator)
    length_B = torch.tensor([3, 12, 1, 7, 2, 5, 2, 2, 2, 1, 11, 4])
    return token_BT, (torch.arange(12) < length_B[:, None]).float()


def loss(logp_BT: Tensor, mask_BT: Tensor, reference_BT: Tensor, rows: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    advantage_B = torch.randn(4 * N, generator=generator)[rows]
    loss_BT = surrogate(logp_BT, logp_BT.detach(), advantage_B, 0.2) + 0.1 * k3(logp_BT, reference_BT)
    return (loss_BT * mask_BT).sum() / 52


@pytest.fixture
def pair(make_pair: Any, request: pytest.FixtureRequest) -> Autoencoder:
    pair = make_pair(getattr(request, "param", "llama"), dtype="float64", mode="affine")
    pair.verbalizer.freeze_reference()
    with torch.no_grad():
        for weight in pair.verbalizer.trainable():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return pair


@pytest.mark.parametrize("pair", ["gemma3", "gpt2", "gpt_neox", "llama"], indirect=True)
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_policys_update_is_that_of_one_plain_batch(pair, activations, budget):
    token_BT, mask_BT = rollouts(pair)
    given, weights = activations[:4], pair.verbalizer.trainable()
    with torch.no_grad():
        reference_BT = pair.at().verbalizer.logprobs(given, token_BT, role=REFERENCE)
    whole = loss(pair.at().verbalizer.logprobs(given, token_BT), mask_BT, reference_BT, torch.arange(4 * N))
    want = torch.autograd.grad(whole, weights)
    total, seen = 0.0, []
    for part in responses(pair.at().verbalizer, given, token_BT, mask_BT, budget, reference=True):
        assert part.token_BT.numel() <= budget or len(part.rows) == 1
        seen += part.rows.tolist()
        piece = loss(part.logp_BT, part.mask_BT, part.reference_BT, part.rows)
        piece.backward()
        total += float(piece.detach())
    assert sorted(seen) == list(range(4 * N))
    assert total == pytest.approx(float(whole.detach()), rel=1e-5, abs=1e-8)
    largest = max(float(part.abs().max()) for part in want)
    assert largest > 1e-3
    for weight, theirs in zip(weights, want, strict=True):
        assert torch.allclose(weight.grad, theirs, atol=2e-6 * largest, rtol=1e-5)


def test_the_prompt_is_read_once_for_all_micro_batches(pair, activations):
    token_BT, mask_BT = rollouts(pair)
    seen: list[tuple[int, ...]] = []
    block = pair.target.architecture.blocks(pair.target.model)[0]
    handle = block.register_forward_hook(lambda m, i, o: seen.append((o[0] if isinstance(o, tuple) else o).shape[:2]))
    for part in responses(pair.at().verbalizer, activations[:4], token_BT, mask_BT, 4 * 28):
        part.logp_BT.sum().backward()
    handle.remove()
    ids = pair.at().verbalizer.ids
    assert [tuple(shape) for shape in seen[:2]] == [(1, len(ids.prefix_ids)), (4, 1 + len(ids.suffix_ids))]
    # the longest rows first, none wider than its longest; the last token is not fed back
    assert [tuple(shape) for shape in seen[2:]] == [(9, 11), (3, 1)]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("magnitude", [False, True])
def test_the_reconstructors_update_is_that_of_one_plain_batch(make_pair, activations, budget, magnitude):
    pair = make_pair("llama", dtype="float64", magnitude=magnitude)
    weights, truth_ND = pair.reconstructor.trainable(), unit(activations[:6])

    def squared(predicted_BD: Tensor, log_norm_B: Tensor | None, rows: list[int]) -> Tensor:
        error = (predicted_BD - truth_ND[rows]).pow(2).sum()
        return error if log_norm_B is None else error + (log_norm_B - 0.3).pow(2).sum()

    whole = squared(*pair.at().reconstructor(TEXTS), list(range(6)))
    want = torch.autograd.grad(whole, weights)
    total, seen = 0.0, []
    for rows, predicted_BD, log_norm_B in predictions(pair.at().reconstructor, TEXTS, budget):
        seen.append(rows)
        piece = squared(predicted_BD, log_norm_B, rows)
        piece.backward()
        total += float(piece.detach())
    assert [i for rows in seen for i in rows] == sorted(
        range(6), key=lambda i: -int(pair.at().reconstructor.encode(TEXTS)[1][i].sum())
    )
    assert len(seen) == {1: 6, 40: len(seen), 100_000: 1}[budget]
    assert total == pytest.approx(float(whole.detach()), rel=1e-6)
    largest = max(float(part.abs().max()) for part in want)
    for weight, theirs in zip(weights, want, strict=True):
        assert torch.allclose(weight.grad, theirs, atol=2e-6 * largest, rtol=1e-5)
