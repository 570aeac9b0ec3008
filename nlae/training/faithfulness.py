"""Whether the words carry what they seem to, seen while a fit runs: a cheap part of an evaluation, on validation rows.

Beside every held-out point of the curves the same explanations are read once more for each rewording, and once without
any text; nothing is sampled again. Figures that need another model or another fit (paraphrase, synonyms, other readers)
are left to the evaluation. No intervals: `nlae.training.keeping` counts a lead only where it is beyond chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.copying import in_runs, words
from nlae.functional.randomness import derive_seed
from nlae.functional.reconstruction import fve, spread, squared_error
from nlae.functional.scaling import unit
from nlae.model.site_autoencoder import SiteAutoencoder
from nlae.model.validation import ValidationSet
from nlae.rewording import PerText

LEAST_MARGIN = 0.1  # of the explanations over what says nothing; below it a share of it means nothing


class Faithfulness:
    """`val/empty`, `val/kept_NAME` of each rewording, `val/retrieval_hard` and `val/copied`.

    * `val/empty`: FVE of what the reader makes of no text at all.
    * `val/kept_NAME`: (FVE of the reworded texts − b) / (FVE − b), b the higher of `val/empty` and a constant's; left
      out where FVE − b is below 0.1.
    * `val/retrieval_hard`: share of rows whose reconstruction is nearer to their own activation than to those of nine
      training rows that end on the same token; `val/retrieval_rows` have as many.
    * `val/copied`: share of an explanation's words that stand in runs of `run` words which its context holds too.

    Args:
        rewordings: by name, each of one text at a time; None leaves one out.
        run: words.
    """

    def __init__(self, rewordings: Mapping[str, PerText | None], run: int = 4) -> None:
        self.rewordings = {name: one for name, one in rewordings.items() if one is not None}
        given: Mapping[str, object] = self.rewordings  # from a config anything can come
        for name, rewording in given.items():
            if not isinstance(rewording, PerText):
                raise NlaeError(
                    f"objective.faithfulness.rewordings.{name} is a {type(rewording).__name__}: a fit reads rewordings "
                    "of one text at a time alone (nlae.rewording.PerText); the others belong to an evaluation"
                )
        if run < 1:
            raise NlaeError(f"objective.faithfulness.run={run} must be at least 1")
        self.run = run

    def __call__(
        self, view: SiteAutoencoder, held: ValidationSet, texts: Sequence[str], rebuilt_ND: Tensor, seed: int
    ) -> dict[str, float]:
        """The figures of one site.

        Args:
            view: the autoencoder there.
            held: validation rows.
            texts: their explanations.
            rebuilt_ND: what the reconstructor makes of them: unit vectors.
            seed: of the rewordings; one for the whole fit, so that points differ by the weights alone.
        """
        true_ND = unit(held.activation_ND)
        spread_N = spread(true_ND, view.statistics.mean_D)

        def figure(read_ND: Tensor) -> float:
            return float(fve(squared_error(read_ND, true_ND), spread_N))

        empty = figure(view.read_empty().expand_as(true_ND))
        floor = max(empty, figure(view.statistics.constant_D.cpu().expand_as(true_ND)))
        margin = figure(rebuilt_ND) - floor
        found = {"val/empty": empty}
        for name, rewording in self.rewordings.items():
            if margin < LEAST_MARGIN:
                break
            seeds = [derive_seed(seed, "faithfulness", name, row) for row in held.row_N]
            reworded = [_reworded(rewording, *one) for one in zip(texts, seeds, strict=True)]
            found[f"val/kept_{name}"] = (figure(view.reconstruct(reworded)) - floor) / margin
        return found | _retrieval(held, rebuilt_ND) | self._copied(view, held, texts)

    def _copied(self, view: SiteAutoencoder, held: ValidationSet, texts: Sequence[str]) -> dict[str, float]:
        decode = view.target.tokenizer.decode
        copied = [
            flag
            for text, ids in zip(texts, held.context_ids, strict=True)
            for flag in in_runs(words(text), words(str(decode(ids))), self.run)
        ]
        return {"val/copied": sum(copied) / len(copied)} if copied else {}


def _reworded(rewording: PerText, text: str, seed: int) -> str:
    return rewording.one(text, seed) if rewording.applies(text) else text


def _retrieval(held: ValidationSet, rebuilt_ND: Tensor) -> dict[str, float]:
    """Of ten activations that share the last token, is the own one the nearest?"""
    if not held.rivals:
        return {}
    hits = []
    for row, rival_KD in held.rivals.items():
        own = rebuilt_ND[row] @ unit(held.activation_ND[row])
        hits.append(bool((own > (unit(rival_KD) @ rebuilt_ND[row])).all()))
    return {
        "val/retrieval_hard": float(torch.tensor(hits).float().mean()),
        "val/retrieval_rows": float(len(hits)),
    }
