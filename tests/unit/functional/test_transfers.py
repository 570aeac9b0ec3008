"""What goes over between host and device keeps its values, shapes and order."""

from __future__ import annotations

import pytest
import torch

from nlae.functional.transfers import read, send


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parts_arrive_in_their_shapes(device):
    parts = [torch.arange(6).view(2, 3), torch.tensor([7]), torch.zeros(0, dtype=torch.long)]
    arrived = send(torch.device(device), *parts)
    assert [part.shape for part in arrived] == [part.shape for part in parts]
    assert all(part.device.type == device and part.dtype is torch.long for part in arrived)
    assert device == "meta" or all(torch.equal(*pair) for pair in zip(arrived, parts, strict=True))


def test_figures_are_read_exactly_and_in_order():
    third = torch.tensor(1 / 3)
    found = read({"b": third, "a": 0.25, "c": third.double(), "n": torch.tensor(3), "nan": torch.tensor(float("nan"))})
    assert list(found) == ["b", "a", "c", "n", "nan"]
    assert (found["b"], found["a"], found["c"], found["n"]) == (float(third), 0.25, float(third.double()), 3.0)
    assert found["nan"] != found["nan"]
    assert all(type(value) is float for value in found.values())
