"""Readers that are fitted anew: what another language costs them, a code they were never told, and the lens beside."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from nlae.activations import ActivationStore
from nlae.errors import NlaeError
from nlae.evaluation import Evaluation
from nlae.evaluation.measures import Cross, Kept, KeptRefit
from nlae.evaluation.other_base import OtherBase
from nlae.functional.scaling import unit
from nlae.rewording import Empty, PerText
from nlae.target import TinyTarget

BUDGET = {"updates": 60, "batch_size": 32, "lr": 0.1, "rows": 200}


def fit_table(
    autoencoder: Any, texts: Callable[[int], list[str]], activations: Callable[[int], Tensor], **how: Any
) -> Callable[[Sequence[str]], Tensor]:
    """A reader that learns the mean direction of every text it has seen, and of all for the others."""
    sums: dict[str, Tensor] = {}
    for update in range(how["updates"]):
        for text, vector_D in zip(texts(update), unit(activations(update)), strict=True):
            sums[text] = sums.get(text, torch.zeros_like(vector_D)) + vector_D
        how["progress"](1)
    everything = unit(torch.stack(list(sums.values())).sum(0))
    return lambda given: torch.stack([unit(sums[text]) if text in sums else everything for text in given])


class Cipher(PerText):
    """Says the same in letters that the pair's own reader has never seen."""

    def one(self, text: str, seed: int) -> str:
        return text.translate(str.maketrans("abcdef", "uvwxyz"))


@pytest.fixture
def public(fakes: SimpleNamespace) -> type[Any]:
    """Names a row's last token, of which there are six, by a word that anybody can learn; reads only such words."""

    class Public(fakes.Autoencoder):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **how: Any) -> None:
            super().__init__(*args, **how)
            self.target.d_model = 0
            kinds = torch.arange(len(self.vectors)) % fakes.TOKENS
            self.kinds = {"abcdef"[k]: unit(self.vectors[kinds == k].mean(0)) for k in range(fakes.TOKENS)}

        def verbalize(self, *args: Any, **how: Any) -> list[Any]:
            said = super().verbalize(*args, **how)
            kinds = [int(one.text.split()[1]) % fakes.TOKENS for one in said]
            return [type(one)("abcdef"[kind], True, 2) for one, kind in zip(said, kinds, strict=True)]

        def _one(self, text: str) -> Tensor:
            return self.kinds[text] if text in self.kinds else super()._one("")

    return Public


def measure(pair: Any, store: ActivationStore, folder: Path, **measures: Any) -> dict[str, float]:
    return Evaluation(measures, max_rows=None, resamples=50)(pair, store, folder)


def test_a_language_that_can_be_learned_is_kept_by_a_reader_that_learns_it(
    fakes: SimpleNamespace, store: ActivationStore, public: type[Any], tmp_path: Path
) -> None:
    rewordings = {"cipher": Cipher(), "silence": Empty(), "none": None}
    pair = public(fakes.truth(), store.statistics)
    metrics = measure(
        pair,
        store,
        tmp_path,
        kept=Kept(rewordings),
        refit=KeptRefit(rewordings, fit_reader=fit_table, **BUDGET),  # type: ignore[arg-type]
    )
    assert metrics["fve"] > 0.4
    assert metrics["kept/cipher"] == pytest.approx(0.0, abs=1e-5), "the pair's own reader cannot read it"
    assert metrics["refit/fve"] > 0.4
    assert metrics["kept_refit/cipher"] == pytest.approx(1.0, abs=1e-3), "one that was taught can"
    assert metrics["kept_refit/silence"] == pytest.approx(0.0, abs=0.05), "nothing can be taught of nothing"
    assert metrics["kept_refit/cipher_low"] <= metrics["kept_refit/cipher"] <= metrics["kept_refit/cipher_high"]
    assert math.isnan(metrics["kept_refit/none"])
    assert metrics["refit/silence"] < 0.05


def test_a_private_code_is_caught_by_another_reader(
    fakes: SimpleNamespace, store: ActivationStore, public: type[Any], tmp_path: Path
) -> None:
    """The fake pair names rows by number: a table that both share, and nobody else can learn for rows unseen."""
    private = fakes.Autoencoder(fakes.truth(), store.statistics)
    caught = measure(private, store, tmp_path / "a", cross=Cross(lens_words=None, fit_reader=fit_table, **BUDGET))  # type: ignore[arg-type]
    assert caught["fve"] == pytest.approx(1.0, abs=1e-5)
    assert caught["cross/reader"] < 0.05
    assert caught["cross/reader_kept"] < 0.1
    assert caught["cross/reader_gap_low"] > 0.8
    pair = public(fakes.truth(), store.statistics)
    shared = measure(pair, store, tmp_path / "b", cross=Cross(lens_words=None, fit_reader=fit_table, **BUDGET))  # type: ignore[arg-type]
    assert shared["cross/reader_kept_low"] > 0.9
    assert shared["cross/reader_gap"] == pytest.approx(0.0, abs=0.05)
    assert shared["cross/reader_null_high"] < shared["cross/reader_low"], (
        "paired with other works' rows it says nothing"
    )


def test_explanations_are_written_once_where_a_folder_keeps_them(
    fakes: SimpleNamespace, store: ActivationStore, public: type[Any], tmp_path: Path
) -> None:
    calls = []
    for name in ("first", "second"):
        pair = public(fakes.truth(), store.statistics)
        cross = Cross(lens_words=None, fit_reader=fit_table, cache_dir=str(tmp_path / "kept"), **BUDGET)  # type: ignore[arg-type]
        measure(pair, store, tmp_path / name, cross=cross)
        calls.append(pair.calls)
    assert calls[1] < calls[0]
    other = fakes.Autoencoder(fakes.truth(), store.statistics)
    cross = Cross(lens_words=None, fit_reader=fit_table, cache_dir=str(tmp_path / "kept"), **BUDGET)  # type: ignore[arg-type]
    found = measure(other, store, tmp_path / "third", cross=cross)
    assert found["cross/reader"] < 0.05, "another verbalizer's explanations are not taken for its own"
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_without_a_budget_nothing_is_fitted_and_it_is_said(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    pair = fakes.Autoencoder(fakes.truth(), store.statistics)
    measure(pair, store, tmp_path, cross=Cross(updates=None), refit=KeptRefit({"silence": Empty()}, updates=None))
    notes = " ".join(json.loads((tmp_path / "notes.json").read_text()))
    assert "measures.cross.updates" in notes
    assert "measures.kept_refit.updates" in notes


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: KeptRefit({}, rows=1), r"kept_refit\.rows"),
        (lambda: Cross(rows=3), r"cross\.rows"),
        (lambda: Cross(lens_words=0), r"cross\.lens_words"),
        (lambda: Cross(other_depth=2.0), r"cross\.other_depth"),
    ],
)
def test_settings_that_measure_nothing_are_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(NlaeError, match=said):
        build()


def test_another_base_reads_what_its_states_tell_apart() -> None:
    """Six words, each with a direction of its own: a ridge map on a random model's states finds them again."""
    source = torch.Generator().manual_seed(0)
    words = ["river", "town", "people", "rain", "book", "night"]
    direction_KD = unit(torch.randn(6, 16, generator=source))
    which = torch.arange(240) % 6
    noisy_ND = unit(direction_KD[which] + 0.1 * torch.randn(240, 16, generator=source))
    base = OtherBase(TinyTarget(layers=3, width=32, vocabulary=400).load(), batch_size=7)
    texts = [f"about the {words[k]}" for k in which.tolist()]
    read = base.fit(texts, noisy_ND)
    found = read([f"about the {word}" for word in words])
    assert (found @ direction_KD.T).argmax(1).tolist() == list(range(6))
    assert torch.allclose(found.norm(dim=-1), torch.ones(6), atol=1e-5)
    # padding changes nothing
    assert torch.allclose(base.states(texts[:1]), base.states([*texts[:1], "a much longer text " * 4])[:1], atol=1e-5)


def test_columns_of_the_lens_are_words_of_the_unembedding(tmp_path: Path) -> None:
    from nlae.evaluation.lens import lens_words

    target = TinyTarget(layers=2, width=32, vocabulary=400).load()
    pair = SimpleNamespace(target=target)
    weight_VD = target.model.get_output_embeddings().weight[: target.n_tokens].float()
    raw_ND = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))
    texts = lens_words(pair, raw_ND, count=3, batch_size=2, name="x")
    norm = getattr(target.architecture.decoder(target.model), target.architecture.final_norm_name)
    for row, text in enumerate(texts):
        order = (weight_VD @ norm(raw_ND[row])).argsort(descending=True).tolist()
        words: list[str] = []
        for token in order:
            word = target.tokenizer.decode([token]).strip()
            if word and word.lower() not in [w.lower() for w in words]:
                words.append(word)
        assert text == ", ".join(words[:3])


def test_the_lens_stands_in_the_table_where_the_site_is_as_wide(
    fakes: SimpleNamespace, store: ActivationStore, public: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = public(fakes.truth(), store.statistics)
    cross = Cross(fit_reader=fit_table, **BUDGET)  # type: ignore[arg-type]
    metrics = measure(pair, store, tmp_path / "narrow", cross=cross)
    assert "cross/lens" not in metrics
    assert any("no cross/lens" in note for note in json.loads((tmp_path / "narrow" / "notes.json").read_text()))
    pair.target.d_model = pair.vectors.shape[1]
    # a lens that says the same of everything
    monkeypatch.setattr("nlae.evaluation.measures.cross.lens_words", lambda a, raw_ND, *how: ["the"] * len(raw_ND))
    metrics = measure(pair, store, tmp_path / "wide", cross=cross)
    assert metrics["cross/lens"] < 0.05
    assert metrics["cross/lens_gap"] == pytest.approx(metrics["cross/reader"] - metrics["cross/lens"])
    assert metrics["cross/lens_gap_low"] > 0.3, "explanations say more"
    assert set(pl.read_parquet(tmp_path / "wide" / "rows.parquet")["lens"]) == {"the"}
