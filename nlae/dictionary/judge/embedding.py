"""Detection by sentence embeddings: are the windows in which an entry fires nearer to its words than others?

For an entry that fires on commas this is no judge. Left out: any calibration; the mismatched description on the same
windows is the null. Shape suffixes: D width, E entries, W windows.
"""

import torch
from torch import Tensor

from nlae.dictionary.score.correlation import auroc_own, average_ranks

_ROWS = 1024  # entries whose cosines with all windows are held at a time


def detection(text_ED: Tensor, window_WD: Tensor, fires_EW: Tensor, least: int = 8) -> Tensor:
    """How often a window in which an entry fires is nearer to its words than one in which it does not; float32 (E,).

    The area under the ROC curve of the cosine: 0.5 is chance, ties count half.

    Args:
        text_ED: embedding of each entry's words, of length one.
        window_WD: embedding of each window, of length one.
        fires_EW: true where the entry fires somewhere in the window.
        least: entries with fewer windows of either kind get NaN.
    """
    fires_E = fires_EW.sum(-1)
    known_E = (fires_E >= least) & (fires_EW.shape[-1] - fires_E >= least)
    parts = zip(text_ED.split(_ROWS), fires_EW.split(_ROWS), strict=True)
    area_E = torch.cat([auroc_own(average_ranks(text_eD @ window_WD.T), fires_eW) for text_eD, fires_eW in parts])
    return torch.where(known_E, area_E, torch.nan)
