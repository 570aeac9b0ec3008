"""Independent opinions of finished words: an embedding judge of all neurons B, a language model and steering of some.

All of them see test works alone, in windows that are the runs of the scan's test panel. Left out: any say in which
words are chosen, but for a teacher, whose words are candidates like others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.judge.sample import Sample, examine, stratified_sample
from nlae.dictionary.judge.trials import Windows
from nlae.dictionary.schema import SIGNS
from nlae.dictionary.score.population import Population
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.corpus_view import CorpusView
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import derive_seed, generator
from nlae.target import Target
from nlae.terminal.progress import Bar

Others = Mapping[tuple[int, int, str], str]
LENGTH = 32  # tokens of a window; shorter runs are left out, as judges compare windows of one length
CONTEXT = 64  # tokens before an exemplar's peak that a teacher sees
EMBEDDED = ("description", "mismatched", "token_list")


class Examiner:
    """Asks whoever is configured.

    Args:
        asked: of the dictionary: whom and how much.
        subjects: columns and their inputs.
        view: of the corpus.
        target: the model itself.
        folder: of the dictionary; gets answers of a judge or teacher that is slow or paid.
    """

    def __init__(
        self, asked: DictionaryBuilder, subjects: Subjects, view: CorpusView, target: Target, folder: Path
    ) -> None:
        self._asked, self._subjects, self._target, self._folder = asked, subjects, target, folder
        self._view = view

    @property
    def wanted(self) -> bool:
        """Whether anybody is asked about finished words."""
        return self._asked.embedding is not None or self._asked.judge is not None or bool(self._asked.steered)

    def taught(self, layer: int, population: Population) -> dict[int, str]:
        """Descriptions by a teacher of this layer's share of the entries that it is asked about."""
        from nlae.dictionary.words.teaching import Exemplar, taught

        asked, n = self._asked, population.n
        layers = self._subjects.layers if asked.layers is None else list(asked.layers)
        count = asked.taught // len(layers) + (sorted(layers).index(layer) < asked.taught % len(layers))
        chosen = torch.randperm(2 * n, generator=generator(asked.seed, "taught", layer))[:count].tolist()
        panel = self._subjects.panel("train")
        shown = []
        for entry in chosen:
            rows = [row for row in population.row_EK[entry].tolist() if row >= 0]
            places = [(int(panel.document[row]), int(panel.position[row])) for row in rows]
            shown.append([Exemplar(*self._around(document, position)) for document, position in places])
        tokenizer = self._target.tokenizer
        texts = taught(
            asked.teacher,
            shown,
            self._folder / f"taught-{layer:03d}.jsonl",
            asked.tokens,
            count=lambda text: len(tokenizer.encode(text, add_special_tokens=False)),
        )
        return {entry: text for entry, text in zip(chosen, texts, strict=True) if text}

    def _around(self, document: int, position: int) -> tuple[str, str, str]:
        words = [self._view.word(token) for token in self._view.ids(document)]
        before, after = words[max(0, position - CONTEXT) : position], words[position + 1 : position + 1 + CONTEXT // 4]
        return "".join(before), words[position], "".join(after)

    def examine(self, of_b: pl.DataFrame, others: Others) -> tuple[pl.DataFrame, dict[str, float]]:
        """Columns of entries and flat numbers.

        Args:
            of_b: entries of neurons B.
            others: (layer, place of an entry in its block, `mismatched` or `token_lists`) -> another text about it.
        """
        keys = of_b.select("layer", "neuron", "sign")
        flat: dict[str, float] = {}
        if self._asked.embedding is not None and len(of_b):
            area_E3 = self._embedded(of_b, others)
            keys = keys.with_columns(embedding=pl.Series(area_E3[:, 0].numpy()).fill_nan(None).cast(pl.Float32()))
            flat |= self._summary(of_b, area_E3)
        if (self._asked.judge is not None or self._asked.steered) and len(of_b):
            chosen = self._sample(of_b)
            scores, numbers = examine(
                self._target, self._as_sample(of_b[chosen], others), self._windows, self._asked, self._folder
            )
            keys = keys.join(scores, on=["layer", "neuron", "sign"], how="left")
            flat |= numbers
        return keys, flat

    @cached_property
    def _rows(self) -> Tensor:
        """Rows of the test panel in windows of one length, int64 (W, T)."""
        panel = self._subjects.panel("test")
        runs = np.split(np.arange(len(panel)), np.flatnonzero(np.diff(panel.run)) + 1)
        length = min(LENGTH, max(len(run) for run in runs))
        return torch.from_numpy(np.stack([run[:length] for run in runs if len(run) >= length]))

    @cached_property
    def _windows(self) -> Windows:
        """The windows as text."""
        panel = self._subjects.panel("test")
        ids_WT = torch.from_numpy(panel.token_id)[self._rows]
        tokens = [[self._view.word(token) for token in ids] for ids in ids_WT.tolist()]
        return Windows(ids_WT, tokens, [str(panel.source[row]) for row in self._rows[:, 0].tolist()])

    def _activations(self, entries: pl.DataFrame) -> tuple[Tensor, Tensor]:
        """Sign · activation in every window, (E, W, T), and what counts as firing, (E,)."""
        shape = (len(entries), *self._rows.shape)
        value_EWT, threshold_E = torch.empty(shape), torch.empty(len(entries))
        layers = entries["layer"].to_numpy()
        for layer in np.unique(layers).tolist():
            places = torch.from_numpy(np.flatnonzero(layers == layer))
            part = entries[places.numpy()]
            neuron = torch.tensor(part["neuron"].to_list())
            sign = torch.tensor([1.0 if sign == SIGNS[0] else -1.0 for sign in part["sign"]])
            test, train = (
                self._subjects.activations(layer, self._subjects.inputs(layer, role))[:, neuron] * sign
                for role in ("test", "train")
            )
            value_EWT[places] = test.T[:, self._rows]
            threshold_E[places] = _quantiles(train, self._asked.active_quantile)
        return value_EWT, threshold_E

    def _embedded(self, of_b: pl.DataFrame, others: Others) -> Tensor:
        """Detection of own words, mismatched ones and token lists, (E, 3); NaN where it cannot be told."""
        from nlae.dictionary.judge.embedding import detection

        judge = self._asked.embedding
        texts = _texts(of_b, others, self._subjects.width)
        windows = ["".join(tokens) for tokens in self._windows.tokens]
        with Bar("texts embedded", 3 * len(of_b) + len(windows)) as bar:
            window_WD = judge.embed(windows, progress=bar.advance)
            said = {name: judge.embed(texts[name], progress=bar.advance) for name in EMBEDDED}
        area_E3 = torch.full((len(of_b), len(EMBEDDED)), torch.nan)
        layers = of_b["layer"].to_numpy()
        for layer in np.unique(layers).tolist():
            places = np.flatnonzero(layers == layer)
            value_eWT, threshold_e = self._activations(of_b[places])
            fires_eW = (value_eWT > threshold_e[:, None, None]).any(-1)
            for column, name in enumerate(EMBEDDED):
                area_e = detection(said[name][places], window_WD, fires_eW)
                known_e = torch.tensor([bool(texts[name][place]) for place in places.tolist()])
                area_E3[places, column] = torch.where(known_e, area_e, torch.nan)
        return area_E3

    def _summary(self, of_b: pl.DataFrame, area_E3: Tensor) -> dict[str, float]:
        """Means over the entries that all three texts were judged of, with intervals over neurons."""
        known_E = area_E3.isfinite().all(-1)
        if not known_E.any():
            return {}
        neurons = of_b.select("layer", "neuron").rows()
        bootstrap = ClusterBootstrap(neurons, derive_seed(self._asked.seed, "embedding"))
        passes_E = torch.from_numpy(of_b["passes"].to_numpy().copy())
        flat = {"embedding/entries": float(known_E.sum())}
        names = ("embedding/detection", "embedding/detection_mismatched", "embedding/detection_token_list")
        for column, name in enumerate(names):
            for suffix, kept_E in (("", known_E), ("_passing", known_E & passes_E)):
                if kept_E.any():
                    flat[f"{name}{suffix}"] = float(area_E3[kept_E, column].mean())
                    if interval := bootstrap.mean(area_E3[:, column].nan_to_num(), kept_E):
                        flat[f"{name}{suffix}_low"], flat[f"{name}{suffix}_high"] = interval
        return flat

    def _sample(self, of_b: pl.DataFrame) -> list[int]:
        count = self._asked.judged if self._asked.judge is not None else self._asked.steered
        return stratified_sample(of_b["layer"].to_list(), of_b["frequency"].to_list(), count, self._asked.seed)

    def _as_sample(self, entries: pl.DataFrame, others: Others) -> Sample:
        value_EWT, threshold_E = self._activations(entries)
        texts = _texts(entries, others, self._subjects.width)
        signs = [SIGNS.index(sign) for sign in entries["sign"]]
        ids = {
            layer: self._subjects.promoted(layer, max(1, self._asked.promoted))[0] for layer in set(entries["layer"])
        }
        places = zip(entries["layer"], signs, entries["neuron"], strict=True)
        return Sample(
            layer=entries["layer"].to_list(),
            neuron=entries["neuron"].to_list(),
            sign=entries["sign"].to_list(),
            description=texts["description"],
            mismatched=texts["mismatched"],
            tokens=entries["tokens"].to_list(),
            passes=entries["passes"].to_list(),
            threshold=threshold_E.tolist(),
            promoted=[ids[layer][sign, 0, neuron].tolist() for layer, sign, neuron in places],
            activation_EWT=value_EWT,
        )


def _texts(entries: pl.DataFrame, others: Others, width: int) -> dict[str, list[str]]:
    """Own words, mismatched ones and token lists of some entries."""
    rows = entries.select("layer", "neuron", "sign").rows()
    places = [(layer, neuron + width * SIGNS.index(sign)) for layer, neuron, sign in rows]
    return {
        "description": entries["description"].to_list(),
        "mismatched": [others.get((*place, "mismatched"), "") for place in places],
        "token_list": [others.get((*place, "token_lists"), "") for place in places],
    }


def _quantiles(value_Me: Tensor, quantile: float) -> Tensor:
    """Quantiles of large columns, float32 (e,)."""
    above = round((1 - quantile) * len(value_Me))
    return value_Me.topk(above + 1, dim=0).values[-1].clamp_min(0)
