"""What of a layer goes on to a judge."""

from types import SimpleNamespace

import numpy as np
import torch

from nlae.dictionary.columns import DECOY, REAL
from nlae.dictionary.describe.candidates import Sample
from nlae.dictionary.examine import GROUPS
from nlae.dictionary.job import _to_be_judged


def test_every_group_has_its_own_text_and_none_where_there_is_none():
    def places(first: int) -> torch.Tensor:
        return torch.tensor([[first, -1], [-1, first + 1]])

    scores = SimpleNamespace(
        text={REAL: places(0), DECOY: places(2)},
        compared={"verbalized": places(4), "context_only": torch.full((2, 2), -1)},
    )
    data = SimpleNamespace(layer=3, real=SimpleNamespace(threshold_2n=torch.tensor([[0.5, 1.0], [1.5, 2.0]])))
    rows = _to_be_judged(data, Sample(np.array([0, 1]), np.array([0, 1])), scores, [f"text {n}" for n in range(6)])
    assert [(row["neuron"], row["sign"], row["threshold"]) for row in rows] == [(0, "+", 0.5), (1, "-", 2.0)]
    assert [row["ours"] for row in rows] == ["text 0", "text 1"]
    assert [row["decoy"] for row in rows] == ["text 2", "text 3"]
    assert [row["verbalized"] for row in rows] == ["text 4", "text 5"]
    assert [row["context_only"] for row in rows] == ["", ""]
    assert all(set(GROUPS) <= set(row) for row in rows)
