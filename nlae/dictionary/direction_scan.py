"""Directions in the place of a scan's neurons: one layer whose neurons are the directions of one site.

The site is read at the tokens of the scan's panels, and no further: exemplars and moments are those of the panel
`train`, not of a whole pass. What the panels cost in memory grows with the number of directions.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.columns import Ints, decoys
from nlae.dictionary.directions import Directions, read_site
from nlae.dictionary.scan.folder import ROLES, Exemplars, Moments, Panel, Scan, moments
from nlae.dictionary.scan.output_side import of_write_vectors, through_output
from nlae.dictionary.score.panels import SIGNS, blocks, strongest
from nlae.target import Site, Target

TOP = 16
QUANTILE = 0.99  # of thresholds that are not used here


@dataclasses.dataclass(frozen=True)
class DirectionPanel(Panel):
    """A panel at which one site was read.

    Attributes:
        vectors_Md: the site's activations, raw, float32.
        values_Mn: what each direction says of them, float32.
    """

    vectors_Md: Tensor
    values_Mn: Tensor

    def neurons(self, layer: int) -> Tensor:
        """What each direction says, float32 [M, n]."""
        return self.values_Mn

    def inputs(self, layer: int) -> Tensor:
        """The site's activations, raw, float32 [M, d]."""
        return self.vectors_Md


class DirectionScan(Scan):
    """What a scan would hold of directions, from its panels.

    Args:
        scan: gives the panels' places.
        directions: with their site.
        panels: role -> the panel with the site's activations.
        token_counts: occurrences of each token id in the corpus.
        seed: of the decoys; the same as the dictionary's.
    """

    def __init__(
        self, scan: Scan, directions: Directions, panels: dict[str, DirectionPanel], token_counts: Ints, seed: int
    ) -> None:
        assert directions.site is not None
        read = {"layers": [directions.site.index], "width": len(directions), "n_tokens": len(panels["train"])}
        super().__init__(scan.folder, {**scan.facts, **read})
        self.signed = directions.signed
        self.site, self.directions = directions.site, directions
        self.unit_nd = directions.write_nd
        self._panels, self._token_counts, self._seed = panels, token_counts, seed

    @classmethod
    def read(
        cls, scan: Scan, directions: Directions, target: Target, corpus: Corpus, token_counts: Ints, seed: int
    ) -> DirectionScan:
        """Read the directions' site at the tokens of the scan's panels.

        Args:
            scan: finished scan of the same corpus.
            directions: with their site.
            target: the model as it is, without an autoencoder's adapters.
            corpus: passages.
            token_counts: occurrences of each token id in the corpus.
            seed: of the decoys.
        """
        assert directions.site is not None
        panels = {}
        for role in ROLES:
            panel = scan.panel(role)
            documents, counts = np.unique(panel.document, return_counts=True)
            vectors_Md = read_site(
                target,
                directions.site,
                [corpus.input_ids(int(document)) for document in documents],
                [part.tolist() for part in np.split(panel.position, counts.cumsum()[:-1])],
            )
            known = {field.name: getattr(panel, field.name) for field in dataclasses.fields(panel)}
            panels[role] = DirectionPanel(
                **known, vectors_Md=vectors_Md, values_Mn=directions.activations(vectors_Md).contiguous()
            )
        return cls(scan, directions, panels, token_counts, seed)

    def panel(self, role: str) -> Panel:
        """The panel of `train`, `select`, `decide` or `report`."""
        return self._panels[role]

    def exemplars(self, layer: int, decoy: bool = False) -> Exemplars:
        """Strongest passages of each direction in the panel `train`, or of its decoy."""
        panel = self._panels["train"]
        value_Mn = panel.values_Mn
        if decoy:
            value_Mn = decoys({"train": value_Mn}, self._panels, self._token_counts, self._seed, layer)["train"]
        row_2nK, _ = strongest(value_Mn, torch.from_numpy(np.ascontiguousarray(panel.document)), TOP, QUANTILE)
        return exemplars_at(row_2nK, value_Mn, panel)

    def moments(self, layer: int) -> Moments:
        """Moments and activation frequency of each direction over the panel `train`."""
        value_Mn = self._panels["train"].values_Mn
        threshold = float(value_Mn.square().mean(dtype=torch.float64).sqrt())
        power, count = [], []
        for part in blocks(value_Mn.shape[1]):
            value_Mb = value_Mn[:, part].double()
            power.append(torch.stack([(value_Mb**p).sum(0) for p in (1, 2, 3, 4)]))
            count.append(torch.stack([(sign * value_Mb > threshold).sum(0) for sign in SIGNS]))
        return moments(torch.cat(power, 1), torch.cat(count, 1), len(value_Mn), threshold)


def exemplars_at(row_2nK: Tensor, value_Mn: Tensor, panel: Panel) -> Exemplars:
    """Contexts of a panel as exemplars.

    Args:
        row_2nK: the contexts of each entry, strongest first, −1 where it has no more.
        value_Mn: activations on the panel.
        panel: says where its contexts lie.
    """
    document_M, position_M = (torch.from_numpy(np.ascontiguousarray(a)) for a in (panel.document, panel.position))
    there_2nK, row_2nK = row_2nK >= 0, row_2nK.clamp_min(0)
    value_nM = value_Mn.T
    value_2nK = torch.stack([sign * value_nM.gather(1, row) for sign, row in zip(SIGNS, row_2nK, strict=True)])
    return Exemplars(
        torch.where(there_2nK, value_2nK, 0.0),
        torch.where(there_2nK, document_M[row_2nK], -1).int(),
        torch.where(there_2nK, position_M[row_2nK], -1).int(),
    )


@torch.no_grad()
def promoted_by(target: Target, site: Site, write_nd: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `scan.promoted`, for directions; a direction at an MLP's input writes nothing, so its lists are empty."""
    if site.kind == "mlp_in":
        nothing = torch.empty(2, 2, len(write_nd), 0)
        return nothing.long(), nothing
    return of_write_vectors(target, through_output(target, site, write_nd), k)
