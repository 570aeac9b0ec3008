"""Independent opinions of finished words: an embedding judge of all neurons B, a language model and steering of some.

All of them see test works alone, in windows that are the runs of the scan's test panel. Left out: any say in which
words are chosen, but for a teacher, whose words are candidates like others.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.judge.detection import Subject, detect
from nlae.dictionary.schema import SIGNS
from nlae.dictionary.score.population import Population
from nlae.dictionary.subjects.neurons import Subjects
from nlae.dictionary.words.corpus_view import CorpusView
from nlae.functional.bootstrap import ClusterBootstrap
from nlae.functional.randomness import derive_seed, generator
from nlae.target import Target
from nlae.terminal.progress import track

Others = Mapping[tuple[int, int, str], str]
LENGTH = 32  # tokens of a window; shorter runs are left out, as judges compare windows of one length
CONTEXT = 64  # tokens before an exemplar's peak that a teacher sees
STEERED_IN = 8  # windows
KEYS = ["layer", "neuron", "sign"]


class Examiner:
    """Asks whoever the dictionary configures; answers that are slow or paid for are kept in its folder."""

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
        asked, keys, flat = self._asked, of_b.select(KEYS), dict[str, float]()
        if asked.embedding is not None and len(of_b):
            score_E3 = self._embedded(of_b, others)
            keys = keys.with_columns(embedding=score_E3[:, 0].numpy())
            flat |= _figures("embedding", of_b, score_E3, derive_seed(asked.seed, "embedding"))
        if (asked.judge is not None or asked.steered) and len(of_b):
            count = asked.judged if asked.judge is not None else asked.steered
            chosen = stratified_sample(of_b["layer"].to_list(), of_b["frequency"].to_list(), count, asked.seed)
            some, scores = of_b[chosen], {}
            if asked.judge is not None:
                score_E3 = self._judged(some, others)
                scores["detection"] = score_E3[:, 0].numpy()
                flat |= _figures("judge", some, score_E3, asked.seed)
            if asked.steered:
                score_E2, known = self._steered(some), ClusterBootstrap(some.select(KEYS[:2]).rows(), asked.seed)
                scores["output_score"] = score_E2[:, 0].numpy()
                for column, name in enumerate(("output_score", "output_score/null")):
                    flat |= _mean(name, score_E2[:, column], score_E2[:, column].isfinite(), known)
            keys = keys.join(some.select(KEYS).with_columns(**scores), on=KEYS, how="left")
        return keys.with_columns(pl.col(pl.Float32).fill_nan(None)), flat

    @cached_property
    def _rows(self) -> Tensor:
        """Rows of the test panel in windows of one length, int64 (W, T)."""
        panel = self._subjects.panel("test")
        runs = np.split(np.arange(len(panel)), np.flatnonzero(np.diff(panel.run)) + 1)
        length = min(LENGTH, max(len(run) for run in runs))
        return torch.from_numpy(np.stack([run[:length] for run in runs if len(run) >= length]))

    @cached_property
    def _windows(self) -> list[str]:
        """The windows as text."""
        ids_WT = self._subjects.panel("test").token_id[self._rows]
        return ["".join(self._view.word(token) for token in ids) for ids in ids_WT.tolist()]

    def _peaks(self, entries: pl.DataFrame) -> tuple[Tensor, Tensor]:
        """Strongest sign · activation in every window, (E, W), and what counts as firing, (E,)."""
        peak_EW, threshold_E = torch.empty(len(entries), len(self._rows)), torch.empty(len(entries))
        for layer in sorted(set(entries["layer"])):
            places = (entries["layer"] == layer).arg_true()
            part, rows_e = entries[places], torch.from_numpy(places.to_numpy().astype(np.int64))
            neuron = torch.tensor(part["neuron"].to_list())
            sign = torch.tensor([1.0 if sign == SIGNS[0] else -1.0 for sign in part["sign"]])
            test_Me, train_Me = (
                self._subjects.activations(layer, self._subjects.inputs(layer, role))[:, neuron] * sign
                for role in ("test", "train")
            )
            peak_EW[rows_e] = test_Me[self._rows].amax(1).T
            above = round((1 - self._asked.active_quantile) * len(train_Me))
            threshold_E[rows_e] = train_Me.topk(above + 1, dim=0).values[-1].clamp_min(0)
        return peak_EW, threshold_E

    def _embedded(self, of_b: pl.DataFrame, others: Others) -> Tensor:
        """Detection of own words, mismatched ones and token lists, (E, 3); NaN where it cannot be told."""
        from nlae.dictionary.judge.embedding import detection

        judge = self._asked.embedding
        peak_EW, threshold_E = self._peaks(of_b)
        window_WD, scores = judge.embed(self._windows), []
        for texts in _texts(of_b, others, self._subjects.width):
            score_E = detection(judge.embed(texts), window_WD, peak_EW > threshold_E[:, None])
            scores.append(torch.where(torch.tensor([bool(text) for text in texts]), score_E, torch.nan))
        return torch.stack(scores, 1)

    def _judged(self, entries: pl.DataFrame, others: Others) -> Tensor:
        """The same by a judge that reads."""
        own, mismatched, _ = _texts(entries, others, self._subjects.width)
        lists = [", ".join(f'"{token.strip()}"' for token in row if token.strip()) for row in entries["tokens"]]
        texts = (own, mismatched, [f"The tokens {listed}" if listed else "" for listed in lists])
        peak_EW, threshold_E = self._peaks(entries)
        names = [f"{layer}.{neuron}{sign}" for layer, neuron, sign in entries.select(KEYS).rows()]
        places = [(row, c) for row in range(len(entries)) for c, column in enumerate(texts) if column[row].strip()]
        subjects = [Subject(names[row], texts[c][row], peak_EW[row], float(threshold_E[row])) for row, c in places]
        score_E3 = torch.full((len(entries), len(texts)), torch.nan)
        cache = self._folder / "answers.jsonl"
        score_S = detect(self._asked.judge, subjects, self._windows, self._asked.seed, cache)
        score_E3[[row for row, _ in places], [c for _, c in places]] = score_S
        return score_E3

    def _steered(self, entries: pl.DataFrame) -> Tensor:
        """Output scores of a random part of the entries, and their null, float32 (E, 2); NaN where there are none."""
        from nlae.dictionary.judge.steering import output_scores

        asked, ids_WT = self._asked, torch.from_numpy(self._subjects.panel("test").token_id)[self._rows]
        context_BT = ids_WT[torch.linspace(0, len(ids_WT) - 1, min(STEERED_IN, len(ids_WT))).long()]
        chosen = torch.randperm(len(entries), generator=generator(asked.seed, "steered"))[: asked.steered]
        score_E2 = torch.full((len(entries), 2), torch.nan)
        layers = sorted({entries["layer"][place] for place in chosen.tolist()})
        for layer in track(layers, description="blocks steered"):
            places = [place for place in sorted(chosen.tolist()) if entries["layer"][place] == layer]
            neuron = entries["neuron"][places].to_list()
            sign = [SIGNS.index(sign) for sign in entries["sign"][places]]
            ids = self._subjects.promoted(layer, max(1, asked.promoted))[0][sign, 0, neuron]
            ends = [1 - 2 * side for side in sign]
            scores = output_scores(self._target, layer, neuron, ends, ids, context_BT, seed=asked.seed)
            score_E2[places] = torch.stack(scores, 1)
        return score_E2


def stratified_sample(layer: Sequence[int], frequency: Sequence[float], count: int, seed: int) -> list[int]:
    """Rows of a random sample spread evenly over layers, and within each over quarters of its frequencies.

    No score is looked at: a sample chosen by any score would measure the choice.
    """
    by_layer: dict[int, list[int]] = {}
    for row, number in enumerate(layer):
        by_layer.setdefault(int(number), []).append(row)
    ranked: list[tuple[int, int, int]] = []
    for number, rows in sorted(by_layer.items()):
        rows.sort(key=lambda row: (frequency[row], row))
        size = -(-len(rows) // 4)
        for quarter, start in enumerate(range(0, len(rows), size)):
            part = rows[start : start + size]
            order = torch.randperm(len(part), generator=generator(seed, "sample", number, quarter)).tolist()
            # of the last round, a random few of the strata
            stratum = derive_seed(seed, "stratum", number, quarter)
            ranked += [(depth, stratum, part[place]) for depth, place in enumerate(order)]
    return sorted(row for _, _, row in sorted(ranked)[:count])


def _figures(judge: str, entries: pl.DataFrame, score_E3: Tensor, seed: int) -> dict[str, float]:
    """Means over the entries that all three texts were judged of, with intervals over neurons."""
    known_E = score_E3.isfinite().all(-1)
    if not known_E.any():
        return {}
    bootstrap = ClusterBootstrap(entries.select(KEYS[:2]).rows(), seed)
    passes_E = torch.from_numpy(entries["passes"].to_numpy().copy())
    flat = {f"{judge}/entries": float(known_E.sum())}
    for column, text in enumerate(("", "_mismatched", "_token_list")):
        for suffix, kept_E in (("", known_E), ("_passing", known_E & passes_E)):
            flat |= _mean(f"{judge}/detection{text}{suffix}", score_E3[:, column], kept_E, bootstrap)
    return flat


def _mean(name: str, score_E: Tensor, kept_E: Tensor, bootstrap: ClusterBootstrap) -> dict[str, float]:
    """Mean of the kept scores and, with 30 neurons or more, its interval; nothing of nobody."""
    if not kept_E.any():
        return {}
    flat = {name: float(score_E[kept_E].mean())}
    if interval := bootstrap.mean(score_E.nan_to_num(), kept_E):
        flat[f"{name}_low"], flat[f"{name}_high"] = interval
    return flat


def _texts(entries: pl.DataFrame, others: Others, width: int) -> tuple[list[str], list[str], list[str]]:
    """Own words, mismatched ones and token lists of some entries."""
    rows = entries.select(KEYS).rows()
    places = [(layer, neuron + width * SIGNS.index(sign)) for layer, neuron, sign in rows]
    mismatched, lists = ([others.get((*place, name), "") for place in places] for name in ("mismatched", "token_lists"))
    return entries["description"].to_list(), mismatched, lists
