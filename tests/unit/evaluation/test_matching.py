"""Blind matching: candidates that differ in nothing but the context, and judges with known answers."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nlae.activations import ActivationStore
from nlae.evaluation import blind_match
from nlae.functional.scaling import unit


def test_candidates_share_the_last_token_and_nothing_else(store: ActivationStore) -> None:
    rows = store.split("test", early=False)
    items = blind_match.draw(rows, rows, 40, seed=0)
    assert len(items) == 40
    for item in items:
        assert item.candidates[item.answer] == item.index
        assert len(set(item.candidates)) == 4
        assert len({int(rows.token_id[i]) for i in item.candidates}) == 1
        foils = [i for i in item.candidates if i != item.index]
        assert all(rows.source[i] != rows.source[item.index] for i in foils)
    # forty works are there: each comes once before any comes twice
    assert len({rows.source[item.index] for item in items}) == 40
    assert max(Counter(item.answer for item in items).values()) < 22


def test_the_draw_depends_on_the_seed_alone(store: ActivationStore) -> None:
    rows = store.split("test", early=False)
    assert blind_match.draw(rows, rows, 10, seed=0) == blind_match.draw(rows, rows, 10, seed=0)
    assert blind_match.draw(rows, rows, 10, seed=0) != blind_match.draw(rows, rows, 10, seed=1)


def test_rows_without_three_alike_are_passed_over(store: ActivationStore) -> None:
    rows = store.split("test", early=False)
    few = rows.select(np.arange(6))
    assert blind_match.draw(few, few, 40, seed=0) == []


def test_the_reader_picks_the_nearest_candidate(store: ActivationStore) -> None:
    rows = store.split("test", early=False)
    items = blind_match.draw(rows, rows, 40, seed=0)
    exact = blind_match.match_reader(items, unit(rows.all()), rows)
    assert blind_match.score("match/reader", items, exact)["match/reader"] == 1.0
    # a reader that says the same of everything cannot beat chance by much
    same = blind_match.match_reader(items, unit(rows.all()).mean(0, keepdim=True).expand(len(rows), -1), rows)
    found = blind_match.score("m", items, same)
    assert found["m_low"] < 0.25 < found["m_high"] + 0.1
    assert found["m"] < 0.6


@pytest.fixture(scope="module")
def speaker() -> SimpleNamespace:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=100, max_position_embeddings=128, **sizes)).eval()
    architecture = SimpleNamespace(decoder=lambda model: model.model)
    target = SimpleNamespace(model=model, architecture=architecture, device="cpu", logits=model.lm_head)
    return SimpleNamespace(target=target)


def test_log_likelihood_against_one_sequence_at_a_time(speaker: SimpleNamespace) -> None:
    before, said = [[1, 5, 9, 12], [1, 7], [1, 5, 9, 12, 44, 6, 8]], [20, 21, 22]
    found = blind_match.log_likelihood(speaker, before, said)
    for ids, value in zip(before, found.tolist(), strict=True):
        with torch.no_grad():
            logits = speaker.target.model(torch.tensor([[*ids, *said]])).logits[0].log_softmax(-1)
        expected = sum(float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(said))
        assert value == pytest.approx(expected, abs=1e-4)
