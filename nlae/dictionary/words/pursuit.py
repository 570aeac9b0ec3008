"""Words of an entry by matching pursuit: those of its exemplars whose reading, together, comes nearest to its vector.

Greedy, in the space of inner products, so that a step costs the square of the number of candidates and not the width.
Shape suffixes: E entries, C candidates, D width.
"""

import torch
from torch import Tensor


def pursue(
    reading_ECD: Tensor,
    known_EC: Tensor,
    cost_EC: Tensor,
    toll_EC: Tensor,
    base_D: Tensor,
    vector_ED: Tensor,
    budget: int,
) -> Tensor:
    """Which candidates are said, bool (E, C).

    Each step takes the word that brings the cosine of base + Σ readings with the vector furthest, as long as it rises
    and the budget lasts.

    Args:
        reading_ECD: what each candidate adds to a reading.
        known_EC: false where an entry has fewer candidates.
        cost_EC: tokens that each takes, its joint included.
        toll_EC: what each must bring the cosine further than others to be as good.
        base_D: the reading of no words at all.
        vector_ED: unit vectors to come near to.
        budget: of costs.
    """
    gram_ECC = reading_ECD @ reading_ECD.transpose(1, 2)
    toward_EC = (reading_ECD @ vector_ED[..., None])[..., 0]
    along_EC = reading_ECD @ base_D
    self_EC = gram_ECC.diagonal(dim1=1, dim2=2)
    dot_E1 = (vector_ED @ base_D)[:, None]
    square_E1 = (base_D @ base_D).expand(len(vector_ED), 1)
    spent_E1 = torch.zeros_like(dot_E1)
    best_E1 = dot_E1 / square_E1.clamp_min(1e-12).sqrt()
    said_EC = torch.zeros_like(known_EC)
    for _ in range(known_EC.shape[1]):
        free_EC = known_EC & ~said_EC & (spent_E1 + cost_EC <= budget)
        length_EC = (square_E1 + 2 * along_EC + self_EC).clamp_min(1e-12).sqrt()
        cosine_EC = torch.where(free_EC, (dot_E1 + toward_EC) / length_EC, -torch.inf)
        top_E1, place_E1 = (cosine_EC - toll_EC).max(-1, keepdim=True)
        better_E1 = top_E1 > best_E1 + 1e-4
        if not bool(better_E1.any()):
            break
        step_E1 = better_E1.float()
        said_EC.scatter_(1, place_E1, said_EC.gather(1, place_E1) | better_E1)
        square_E1 = square_E1 + step_E1 * (2 * along_EC.gather(1, place_E1) + self_EC.gather(1, place_E1))
        dot_E1 = dot_E1 + step_E1 * toward_EC.gather(1, place_E1)
        spent_E1 = spent_E1 + step_E1 * cost_EC.gather(1, place_E1)
        row_EC = gram_ECC.gather(1, place_E1[..., None].expand(-1, 1, gram_ECC.shape[2]))[:, 0]
        along_EC = along_EC + step_E1 * row_EC
        best_E1 = torch.where(better_E1, cosine_EC.gather(1, place_E1), best_E1)
    return said_EC
