"""Who is asked about finished words, in which windows, beside which nulls, and what a teacher is shown."""

import math
import re
import zlib
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from nlae.dictionary.builder import DictionaryBuilder
from nlae.dictionary.judge.examiner import LENGTH, Examiner, stratified_sample
from nlae.dictionary.scan.folder import Panel
from nlae.dictionary.words import teaching
from nlae.target import TinyTarget

RUNS, N, TRAIN = 60, 3, 500
LAYERS = [2, 5]
OTHERS = {
    (layer, place, name): f"{name} {layer} {place}"
    for layer in LAYERS
    for place in range(2 * N)
    for name in ("mismatched", "token_lists")
    if (layer, place) != (5, 1)
}


def panel(runs, length):
    run = np.repeat(np.arange(runs), length)
    position = np.tile(np.arange(8, 8 + length), runs)
    token = (np.arange(len(run)) * 7) % 50
    return Panel(run.copy(), position, token, run, np.asarray([f"work {r}" for r in run], dtype=object))


class Columns:
    """Activations drawn by chance, of two layers of three columns."""

    layers, width, signed = LAYERS, N, True

    def __init__(self):
        self.panels = {"test": panel(RUNS, LENGTH), "train": panel(TRAIN, 1)}
        source = torch.Generator().manual_seed(0)
        self.values = {(L, r): torch.randn(len(p), N, generator=source) for L in LAYERS for r, p in self.panels.items()}

    def panel(self, role):
        return self.panels[role]

    def inputs(self, layer, role):
        return self.values[layer, role]

    def activations(self, layer, inputs_MD):
        return inputs_MD


class Embedder:
    """A vector by chance for every text."""

    def embed(self, texts):
        rows = [torch.randn(6, generator=torch.Generator().manual_seed(zlib.crc32(text.encode()))) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1)


def view():
    return SimpleNamespace(word=lambda token: f" w{token}", ids=lambda document: list(range(document, document + 90)))


def made(subjects, folder, **asked):
    target = SimpleNamespace(tokenizer=SimpleNamespace(encode=lambda text, **_: text.split()))
    return Examiner(DictionaryBuilder(active_quantile=0.99, **asked), subjects, view(), target, folder)


def entries():
    rows = [(layer, neuron, sign) for layer in LAYERS for neuron in range(N) for sign in "+-"]
    said = {"description": [f"own {i}" for i in range(len(rows))], "passes": [i % 2 == 0 for i in range(len(rows))]}
    return pl.DataFrame(rows, schema=["layer", "neuron", "sign"], orient="row").with_columns(
        *(pl.Series(name, value) for name, value in said.items()), frequency=pl.lit(0.01)
    )


def test_nobody_is_asked_where_nobody_is_named(tmp_path):
    subjects = Columns()
    assert not made(subjects, tmp_path).wanted
    assert made(subjects, tmp_path, steered=1).wanted
    assert made(subjects, tmp_path, embedding=Embedder()).wanted


def test_an_embedding_judge_hears_windows_in_which_an_entry_fires(tmp_path, naive_auroc):
    subjects, of_b = Columns(), entries()
    columns, flat = made(subjects, tmp_path, embedding=Embedder()).examine(of_b, OTHERS)
    windows_WT = torch.from_numpy(subjects.panel("test").token_id).view(RUNS, LENGTH)
    window_WD = Embedder().embed(["".join(f" w{t}" for t in row) for row in windows_WT.tolist()])
    known = 0
    for row, area in zip(of_b.rows(named=True), columns["embedding"].to_list(), strict=True):
        sign = 1.0 if row["sign"] == "+" else -1.0
        train_M, test_M = (sign * subjects.values[row["layer"], role][:, row["neuron"]] for role in ("train", "test"))
        threshold = train_M.sort(descending=True).values[round(0.01 * TRAIN)].clamp_min(0)
        fires_W = (test_M.view(RUNS, LENGTH) > threshold).any(-1)
        if not 8 <= int(fires_W.sum()) <= RUNS - 8:
            assert area is None
            continue
        said_W = window_WD @ Embedder().embed([row["description"]])[0]
        assert area == pytest.approx(naive_auroc(said_W, fires_W), abs=1e-5)
        known += 1
    assert known > 4
    assert flat["embedding/entries"] in (known, known - 1)  # one has no mismatched words
    assert {f"embedding/detection{end}" for end in ("", "_mismatched", "_token_list", "_passing")} <= set(flat)


def test_nothing_is_said_of_no_entries(tmp_path):
    columns, flat = made(Columns(), tmp_path, embedding=Embedder(), steered=2).examine(entries().head(0), {})
    assert (len(columns), flat) == (0, {})


class Hears:
    """Says yes where the word that an entry is said to fire on stands in the text."""

    def odds(self, questions, cache):
        said = [re.findall(r"own (\w+)", asked.description) for asked in questions]
        heard = [bool(words) and words[0] in asked.text.split() for words, asked in zip(said, questions, strict=True)]
        return torch.tensor(heard).float()


@pytest.fixture
def spoken(monkeypatch):
    """Columns whose neuron n fires on word n of forty, six runs of eight a passage; what they are said to fire on."""
    subjects = Columns()
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(40)]
    source = torch.Generator().manual_seed(5)
    subjects.panels["test"] = panel(300, 8)
    subjects.panels["test"].token_id[:] = torch.randint(40, (2400,), generator=source).numpy()
    token_M = torch.from_numpy(subjects.panels["test"].token_id)
    for layer in LAYERS:
        subjects.values[layer, "test"] = (token_M[:, None] == torch.arange(N)).float()
        subjects.values[layer, "train"] = torch.zeros(TRAIN, N)
    frame = entries().filter(pl.col("sign") == "+").with_columns(tokens=pl.lit([" x"], pl.List(pl.String())))
    said = [f"own {words[neuron]}" for neuron in frame["neuron"]]
    frame = frame.with_columns(description=pl.Series(["", *said[1:]]), passes=pl.Series([False, True] * N))

    def asked(folder, **settings):
        found = made(subjects, folder, **settings)
        found._view = SimpleNamespace(word=lambda token: f" {words[int(token)]}")
        return found.examine(frame, OTHERS)

    return asked


def test_a_judge_tells_own_words_from_mismatched_ones(spoken, tmp_path):
    columns, flat = spoken(tmp_path, judge=Hears(), judged=6)
    assert columns["detection"].to_list() == [None] + [1.0] * 5  # the first has no words
    assert "output_score" not in columns
    assert flat["judge/detection"] == flat["judge/detection_passing"] == 1.0
    assert flat["judge/detection_mismatched"] == flat["judge/detection_token_list"] == 0.5
    assert flat["judge/entries"] == 4  # and one has no mismatched words
    assert "judge/detection_low" not in flat  # of four


@pytest.fixture(scope="module")
def tiny():
    return TinyTarget(layers=6, width=32, vocabulary=400).load()


def test_steering_stands_beside_its_null_and_takes_as_many_as_are_asked_for(tiny, tmp_path):
    down_DN = tiny.architecture.down_weight(tiny.architecture.blocks(tiny.model)[2]).detach()
    logit_NV = down_DN.T @ tiny.model.get_output_embeddings().weight.detach().T
    ids = torch.stack([logit_NV[:N].topk(3).indices, (-logit_NV)[:N].topk(3).indices])  # sign, neuron
    subjects = Columns()
    subjects.layers = [2]
    subjects.promoted = lambda layer, k: (ids[:, None].expand(2, 2, N, 3), None)
    examiner = made(subjects, tmp_path, steered=5)
    examiner._target = tiny
    of_b = entries().filter(pl.col("layer") == 2)
    columns, flat = examiner.examine(of_b, {})
    assert columns["output_score"].count() == 5
    assert flat["output_score"] > 0.7 > flat["output_score/null"]
    assert math.isclose(flat["output_score"], columns["output_score"].mean(), rel_tol=1e-5)
    assert examiner.examine(of_b, {})[0].equals(columns)


def test_a_stratified_sample_covers_layers_and_frequencies():
    layer = [row // 100 for row in range(300)]
    frequency = [(row * 37 % 100) / 100 for row in range(300)]
    chosen = stratified_sample(layer, frequency, 60, seed=1)
    assert chosen == sorted(set(chosen))
    assert [sum(layer[row] == number for row in chosen) for number in range(3)] == [20, 20, 20]
    quarters = [sum(int(frequency[row] * 4) == quarter for row in chosen) for quarter in range(4)]
    assert quarters == [15] * 4
    assert stratified_sample(layer, frequency, 60, seed=2) != chosen
    assert stratified_sample(layer, frequency, 999, seed=1) == list(range(300))


def test_a_teacher_is_shown_its_share_of_each_layer_with_the_peaks_apart(tmp_path, monkeypatch):
    seen = {}

    def taught(teacher, shown, cache, tokens, *, count):
        seen[cache.name] = shown
        assert (teacher, tokens, count("two words")) == ("teacher", 20, 2)
        return [None, *("said" for _ in shown[1:])]

    monkeypatch.setattr(teaching, "taught", taught)
    examiner = made(Columns(), tmp_path, teacher="teacher", taught=5)
    population = SimpleNamespace(n=N, row_EK=torch.tensor([[3, 40, -1]] * 2 * N))
    texts = [examiner.taught(layer, population) for layer in LAYERS]
    assert [len(seen[f"taught-{layer:03d}.jsonl"]) for layer in LAYERS] == [3, 2]  # five over two layers
    assert [len(found) for found in texts] == [2, 1]  # one answer was none
    for exemplars in seen["taught-002.jsonl"]:
        assert [exemplar.peak for exemplar in exemplars] == [" w11", " w48"]  # passages 3 and 40, eighth token
        assert exemplars[0].before.endswith(" w9 w10")
        assert exemplars[0].after.startswith(" w12 w13")
