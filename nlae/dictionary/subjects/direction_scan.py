"""What a scan would hold of directions, from its panels: their site is read again at the panels' positions.

It is read there and no further: exemplars and moments are those of the panel `train`, not of a whole pass. Activations
are computed a few passages at a time, so that memory does not grow with rows times directions.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.exemplars import Streams
from nlae.dictionary.scan.folder import Exemplars, Moments, Panel, Scan, moments
from nlae.dictionary.subjects.directions import Directions
from nlae.dictionary.subjects.output_side import promoted_by
from nlae.functional.batching import token_batches
from nlae.target import Site, Target
from nlae.target.model import pad_right
from nlae.target.trunk import Trunk

_VALUES = 1 << 24  # activations in memory at once


class DirectionSubjects:
    """Directions at one site, as the columns of one layer; their inputs are what stands at the site. See `Subjects`.

    Of the scan of the same target and corpus they take the panels' places.
    """

    def __init__(self, scan: Scan, directions: Directions, target: Target, corpus: Corpus) -> None:
        self._directions, self._target, self._corpus, self._top = directions, target, corpus, int(scan.facts["top"])
        self.site = directions.site.resolve(target.n_layers)
        self.layers = [self.site.index]
        self.width, self.d_model = directions.write_nd.shape
        self.signed = directions.signed
        self.panel = scan.panel
        self._inputs: dict[str, Tensor] = {}

    def inputs(self, layer: int, role: str) -> Tensor:
        """Raw activations at the site; read when they are first asked for, and kept."""
        if role not in self._inputs:
            self._inputs[role] = read_site(self._target, self.site, self._corpus, self.panel(role))
        return self._inputs[role]

    def activations(self, layer: int, inputs_MD: Tensor) -> Tensor:
        """Of every direction, float32 [M, n]."""
        return self._directions.activations(inputs_MD)

    def exemplars(self, layer: int) -> Exemplars:
        """Of the panel `train`."""
        return self._summary[0]

    def moments(self, layer: int) -> Moments:
        """Over the panel `train`."""
        return self._summary[1]

    def promoted(self, layer: int, k: int) -> tuple[Tensor, Tensor]:
        """Empty lists for directions at an MLP's input."""
        return promoted_by(self._target, self.site, self._directions.write_nd, k)

    @cached_property
    def _summary(self) -> tuple[Exemplars, Moments]:
        return summarise(self._directions, self.inputs(self.site.index, "train"), self.panel("train"), self._top)


@torch.no_grad()
def read_site(target: Target, site: Site, corpus: Corpus, panel: Panel, batch_tokens: int = 4096) -> Tensor:
    """Raw activations at a site at a panel's positions, float32 [M, width], on the CPU.

    Args:
        target: the model as it is, without adapters.
        site: where to read.
        corpus: passages.
        panel: which positions are wanted.
        batch_tokens: most tokens read at a time, padding included.
    """
    trunk = Trunk(target.model, site.resolve(target.n_layers))
    read_Md = torch.empty(len(panel), trunk.width)
    rows_of = _passages(panel)
    passages = [corpus.input_ids(int(panel.document[rows[0]]))[: int(panel.position[rows[-1]]) + 1] for rows in rows_of]
    for batch in token_batches([len(ids) for ids in passages], batch_tokens):
        ids_BT, mask_BT = pad_right([passages[place] for place in batch], target.pad_id)
        hidden_BTd = trunk(ids_BT.to(target.device), attention_mask=mask_BT.to(target.device)).float().cpu()
        for index, place in enumerate(batch):
            rows = rows_of[place]
            read_Md[rows] = hidden_BTd[index, torch.from_numpy(panel.position[rows])]
    return read_Md


def summarise(directions: Directions, input_Md: Tensor, panel: Panel, top: int) -> tuple[Exemplars, Moments]:
    """The strongest passages of each direction in a panel, one position per passage, and its moments over the panel.

    Args:
        directions: n of them.
        input_Md: what was read at the panel's positions.
        panel: says where they lie.
        top: passages kept, k.
    """
    streams = Streams(1, len(directions), top)
    square = sum(
        float(directions.activations(input_Md[rows]).square().sum(dtype=torch.float64))
        for rows, _ in _few(panel, len(directions))
    )
    streams.tensors["threshold"].fill_((square / (len(panel) * len(directions))) ** 0.5)
    for rows, row_BT in _few(panel, len(directions)):
        padding_BT = row_BT < 0
        value_Mn = directions.activations(input_Md[rows])
        grid_BTn = value_Mn[(row_BT - int(rows[0])).clamp_min(0)]
        document_B = torch.from_numpy(panel.document)[row_BT[:, 0]].int()
        streams.update(0, grid_BTn, padding_BT, document_B)
    kept = {name: tensor[0] for name, tensor in streams.tensors.items()}
    # the streams count a passage's panel rows; where those stand in it the panel says
    first_row_2nk = torch.from_numpy(np.searchsorted(panel.document, kept["document"].numpy()))
    row_2nk = (first_row_2nk + kept["position"]).clamp_min(0)
    position_2nk = torch.where(kept["document"] < 0, -1, torch.from_numpy(panel.position)[row_2nk]).int()
    exemplars = Exemplars(kept["value"], kept["document"], position_2nk)
    return exemplars, moments(kept["power"], kept["count"], len(panel))


def _passages(panel: Panel) -> list[np.ndarray]:
    """Rows of each passage, int64, in the panel's order."""
    starts = np.flatnonzero(np.diff(panel.document)) + 1
    return np.split(np.arange(len(panel)), starts)


def _few(panel: Panel, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Some passages at a time: their rows [m], and rows as a grid of passages [B, T], −1 behind a passage's last."""
    passages = _passages(panel)
    longest = max(len(rows) for rows in passages)
    step = max(1, _VALUES // (longest * n))
    for start in range(0, len(passages), step):
        few = [torch.from_numpy(rows) for rows in passages[start : start + step]]
        yield torch.cat(few), torch.nn.utils.rnn.pad_sequence(few, batch_first=True, padding_value=-1)
