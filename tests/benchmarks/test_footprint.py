"""The count of bytes that an estimate of memory rests on."""

from __future__ import annotations

import torch

from experiments.benchmarks.footprint import Bytes


def test_bytes_are_counted_once_and_forgotten_with_their_tensor() -> None:
    with Bytes() as counted:
        first = torch.zeros(1000)
        view = first[10:].view(-1, 9)
        assert counted.now == 4000, "a view is no second storage"
        second = first + 1
        second += 1
        assert (counted.now, counted.peak) == (8000, 8000)
        del second
        assert (counted.now, counted.peak) == (4000, 8000)
        del first
        assert counted.now == 4000, "the view still holds it"
        del view
        assert (counted.now, counted.peak) == (0, 8000)


def test_what_a_backward_keeps_is_counted() -> None:
    with Bytes() as counted:
        x = torch.ones(1000, requires_grad=True)
        before = counted.now
        loss = x.exp().sum()
        assert counted.now - before == 4000 + 4, "the exponential is kept for its gradient"
        loss.backward()
        del loss
        assert counted.now - before == 4000, "its gradient"
