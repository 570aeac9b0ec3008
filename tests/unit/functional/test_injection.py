"""Vectors put into one slot, against values worked out by hand."""

import pytest
import torch

from nlae.functional.injection import inject, to_scale


def stream() -> torch.Tensor:
    return torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [6.0, 8.0], [1.0, 1.0]]])


def test_to_scale_keeps_the_direction_and_sets_the_norm():
    vector_BD = torch.tensor([[3.0, 4.0], [0.0, -0.001], [0.0, 0.0]], dtype=torch.float64)
    scaled_BD = to_scale(vector_BD, 10.0)
    assert scaled_BD.dtype == torch.float32
    assert torch.allclose(scaled_BD, torch.tensor([[6.0, 8.0], [0.0, -10.0], [0.0, 0.0]]))


@pytest.mark.parametrize("mode", ["replace", "affine"])
@pytest.mark.parametrize("slot", [0, 1, 2])
def test_replacing_changes_the_slot_and_nothing_else(mode, slot):
    before_BTD, vector_BD = stream(), torch.tensor([[7.0, 7.0], [-1.0, 5.0]])
    after_BTD = inject(before_BTD, vector_BD, slot, mode)
    expected_BTD = stream()
    expected_BTD[:, slot] = vector_BD
    assert torch.equal(after_BTD, expected_BTD)
    assert torch.equal(before_BTD, stream()), "the stream itself is left alone"


def test_adding_is_norm_matched():
    # at slot 1: [0, 2] of norm 2 plus 2·[0.6, 0.8]; [6, 8] of norm 10 plus 10·[0, 1]
    after_BTD = inject(stream(), torch.tensor([[30.0, 40.0], [0.0, 0.1]]), 1, "add")
    assert torch.allclose(after_BTD[:, 1], torch.tensor([[1.2, 3.6], [6.0, 18.0]]))
    assert torch.equal(after_BTD[:, [0, 2]], stream()[:, [0, 2]])


def test_the_stream_keeps_its_type_and_the_vector_its_gradient():
    vector_BD = torch.ones(2, 2, requires_grad=True)
    after_BTD = inject(stream().bfloat16(), vector_BD, 1, "replace")
    assert after_BTD.dtype == torch.bfloat16
    after_BTD.float().sum().backward()
    assert torch.equal(vector_BD.grad, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("shape", "slot", "mode"),
    [((3, 2), 0, "replace"), ((2, 3), 0, "replace"), ((2, 2), 3, "replace"), ((2, 2), -1, "add"), ((2, 2), 0, "stir")],
)
def test_what_does_not_fit_is_refused(shape, slot, mode):
    with pytest.raises(ValueError, match="inject"):
        inject(stream(), torch.ones(shape), slot, mode)
