"""Detection by sentence embeddings: the area under the curve, and that planted words are detected."""

import math

import pytest
import torch

from nlae.dictionary.judge.embedding import detection


def test_detection_is_how_often_a_firing_window_is_nearer(naive_auroc):
    source = torch.Generator().manual_seed(0)
    text_ED, window_WD = torch.randn(40, 3, generator=source).round(), torch.randn(60, 3, generator=source).round()
    fires_EW = torch.rand(40, 60, generator=source) < torch.linspace(0.02, 0.98, 40)[:, None]
    found = detection(text_ED, window_WD, fires_EW)
    for row in range(40):
        firing = int(fires_EW[row].sum())
        if min(firing, 60 - firing) < 8:
            assert math.isnan(found[row])
        else:  # rounded vectors have many ties
            assert float(found[row]) == pytest.approx(naive_auroc(text_ED[row] @ window_WD.T, fires_EW[row]), abs=1e-5)
    assert found.isnan().any()
    assert not detection(text_ED, window_WD, fires_EW, least=1)[2:-2].isnan().any()
    assert torch.equal(detection(text_ED, window_WD, fires_EW).nan_to_num(-1), found.nan_to_num(-1))


def test_planted_words_are_detected_and_mismatched_ones_are_not():
    """Chance is one half, whatever the entry's frequency."""
    source = torch.Generator().manual_seed(2)
    topic_KD = torch.nn.functional.normalize(torch.randn(20, 32, generator=source), dim=-1)
    which_W = torch.randint(20, (600,), generator=source)
    window_WD = torch.nn.functional.normalize(topic_KD[which_W] + 0.2 * torch.randn(600, 32, generator=source), dim=-1)
    fires_KW = which_W == torch.arange(20)[:, None]
    assert bool((detection(topic_KD, window_WD, fires_KW) > 0.95).all())
    assert abs(float(detection(topic_KD.roll(1, 0), window_WD, fires_KW).mean()) - 0.5) < 0.1
    assert abs(float(detection(topic_KD, window_WD, fires_KW[:, torch.randperm(600)]).mean()) - 0.5) < 0.05
