"""A real scan of a tiny random target over invented text, made once per session in about a second."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
import torch

from experiments.benchmarks.made_up import make_up_dictionary
from invented import Invented
from nlae.corpus import Corpus, build_corpus
from nlae.dictionary import Context, Dictionary, write_dictionary
from nlae.dictionary.scan import Scanner
from nlae.dictionary.scan.folder import Scan
from nlae.target import Target, TinyTarget

SETTINGS = Scanner(
    top=5,
    min_position=4,
    window_tokens=512,
    panels={"train": 300, "select": 80, "bar": 60, "test": 60},
    runs={"select": 4, "bar": 4, "test": 12},
    per_passage=6,
    checkpoint_every=3,
)


@dataclasses.dataclass(frozen=True)
class Scanned:
    """What was scanned, and the result."""

    target: Target
    corpus: Corpus
    settings: Scanner
    scan: Scan
    metrics: dict[str, float]


@pytest.fixture(scope="session")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The invented corpus in the tiny target's tokens."""
    folder = tmp_path_factory.mktemp("invented")
    tokenizer: Any = TinyTarget(layers=3).load_tokenizer()
    build_corpus(Invented(works=40, sentences=6, longer=1, max_tokens=64, min_tokens=8), tokenizer, folder)
    return Corpus.open(folder)


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory, invented: Corpus) -> Scanned:
    """A scan of the tiny target: 3 layers of 192 neurons, width 64."""
    target = TinyTarget(layers=3).load()
    folder = tmp_path_factory.mktemp("scan")
    metrics = SETTINGS.scan(target, invented, folder, seed=1)
    return Scanned(target, invented, SETTINGS, Scan.open(folder), metrics)


@pytest.fixture(scope="session")
def naive_auroc() -> Callable[[torch.Tensor, torch.Tensor], float]:
    """AUROC as it is defined: how often an active context is predicted higher than another, ties half; one entry."""

    def area(prediction_M: torch.Tensor, active_M: torch.Tensor) -> float:
        active, rest = prediction_M[active_M].tolist(), prediction_M[~active_M].tolist()
        won = sum((a > b) + 0.5 * (a == b) for a in active for b in rest)
        return won / (len(active) * len(rest)) if active and rest else math.nan

    return area


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)> [bold]{{ 7*7 }} \u202eabc'


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Dictionary:
    """A dictionary in which every text that a model or corpus may write tries to be code; half of it passes."""
    made = make_up_dictionary(tmp_path_factory.mktemp("harmless"), layers=1, neurons=6)
    texts = [pl.lit(HOSTILE).alias(name) for name in ("description", "writes", "label", "grade", "nearest_entry")]
    lists = [pl.col(name).list.eval(pl.lit(HOSTILE)).alias(name) for name in ("tokens", "promoted", "suppressed")]
    frame = made.frame().with_columns(*texts, *lists, passes=pl.col("sign") == "+").collect()
    contexts = [Context(i, HOSTILE, [HOSTILE] * 64) for i in range(40)]
    folder = tmp_path_factory.mktemp("hostile")
    facts = {**made.facts, "target": HOSTILE, "made_up": False}
    write_dictionary(folder, [frame], contexts=contexts, layers=made.layers, facts=facts)
    return Dictionary.open(folder)
