"""The whole evaluation on autoencoders whose answers are known; expected values are computed here by other means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from measured import evaluation
from nlae.activations import ActivationStore, Descriptions
from nlae.functional.scaling import unit

SMALL = {"pca": {"components": (1, 4, 12)}, "no_injection": {"samples": 4}}


def fit_nothing(
    autoencoder: Any, texts: Callable[[int], list[str]], activations: Callable[[int], Tensor], **how: Any
) -> Callable[[list[str]], Tensor]:
    """A reader that learns one constant: the mean of what it was shown."""
    shown = []
    for update in range(how["updates"]):
        assert len(texts(update)) == how["batch_size"] == len(activations(update))
        shown.append(unit(activations(update)))
        how["progress"](1)
    constant = unit(torch.cat(shown).mean(0))
    return lambda given: constant.expand(len(given), -1)


QUOTES = {"quote_lengths": (1, 4, 32), "updates": 3, "batch_size": 8, "lr": 0.1, "fit_reader": fit_nothing}


def run(
    autoencoder: Any,
    store: ActivationStore,
    folder: Path,
    changes: dict[str, dict[str, Any] | None] | None = None,
    settings: dict[str, Any] | None = None,
    **how: Any,
) -> tuple[dict[str, float], pl.DataFrame]:
    made = evaluation(
        SMALL | {"frontier": QUOTES} | (changes or {}), **{"max_rows": None, "resamples": 200} | (settings or {})
    )
    metrics = made(autoencoder, store, folder, **how)
    return metrics, pl.read_parquet(folder / "rows.parquet")


@pytest.fixture
def main(store: ActivationStore) -> tuple[Tensor, Tensor]:
    """Unit vectors of the main test rows, and the training mean."""
    rows = store.split("test", early=False)
    return unit(rows.all()).double(), store.statistics.mean_D.double()


def test_a_perfect_pair(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    metrics, rows = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    for key in ("fve", "fve_greedy", "fve_calibrated", "early/fve", "frontier/fve", "shrink_factor"):
        assert metrics[key] == pytest.approx(1.0, abs=1e-5), key
    assert metrics["rank_median"] == 1.0
    assert metrics["match/reader"] == 1.0
    assert metrics["control/shuffled"] == pytest.approx(-1.0, abs=0.35)
    # every number in it: as many components as the width lose nothing
    assert metrics["control/pca_12"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["control/pca_1"] < metrics["control/pca_4"] < 1
    assert metrics["fve_low"] == pytest.approx(1.0, abs=1e-5)
    assert rows["fve"].to_list() == pytest.approx([1.0] * len(rows), abs=1e-4)


def test_a_pair_that_says_nothing_is_the_mean_control(
    fakes: SimpleNamespace, store: ActivationStore, main: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    metrics, _ = run(fakes.Autoencoder(fakes.truth(), store.statistics, blind=True), store, tmp_path)
    truth_ND, mean_D = main
    constant = mean_D / mean_D.norm()
    expected = 1 - float((truth_ND - constant).square().sum() / (truth_ND - mean_D).square().sum())
    assert expected < 0
    for key in ("fve", "control/mean", "control/no_injection", "control/shuffled"):
        assert metrics[key] == pytest.approx(expected, abs=1e-5), key
    for key in ("control/mean_gap", "control/mean_gap_low", "control/shuffled_gap_high"):
        assert metrics[key] == pytest.approx(0.0, abs=1e-5), key
    assert metrics["fve_calibrated"] == pytest.approx(0.0, abs=0.03)
    assert metrics["closed_rate"] == 0.0


def test_controls_against_their_definitions(
    fakes: SimpleNamespace, store: ActivationStore, main: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    metrics, rows = run(fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2), store, tmp_path)
    truth_ND, mean_D = main
    spread = (truth_ND - mean_D).square().sum()
    train, test = store.split("train", early=False), store.split("test", early=False)
    seen = unit(train.all()).double()
    table = torch.stack([seen[torch.from_numpy(train.token_id == t)].mean(0) for t in range(6)])
    table = table / table.norm(dim=-1, keepdim=True)
    error = (truth_ND - table[torch.from_numpy(test.token_id)]).square().sum()
    assert metrics["control/last_token"] == pytest.approx(1 - float(error / spread), abs=1e-5)
    axes = np.linalg.svd((seen - seen.mean(0)).numpy())[2][:4]
    flat = mean_D.numpy() + (truth_ND - mean_D).numpy() @ axes.T @ axes
    flat = torch.from_numpy(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    error = (truth_ND - flat).square().sum()
    assert metrics["control/pca_4"] == pytest.approx(1 - float(error / spread), abs=1e-4)
    assert metrics["control/shuffled"] < metrics["control/mean"] < metrics["fve"] < 1
    gap = metrics["fve"] - metrics["control/shuffled"]
    assert metrics["control/shuffled_gap"] == pytest.approx(gap)
    assert metrics["control/shuffled_gap_low"] < gap < metrics["control/shuffled_gap_high"]
    main_rows = rows.filter(~pl.col("early"))
    assert metrics["fve"] == pytest.approx(1 - main_rows["error"].sum() / main_rows["spread"].sum())


def test_shuffled_pairs_rows_of_different_documents(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    _, rows = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    # a perfect pair errs only by the pairing: no row may have met itself
    assert rows.filter(~pl.col("early"))["error_shuffled"].min() > 1e-3
    assert rows.filter(pl.col("early"))["error_shuffled"].null_count() == rows["early"].sum()


def test_all_the_names_that_scripts_rely_on(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    texts = {int(row): f"row {row} noise 1" for row in store.split("test").row}
    metrics, rows = run(
        fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2),
        store,
        tmp_path,
        {"pca": {}, "frontier": {**QUOTES, "quote_lengths": (1, 2, 4, 8, 16, 32)}},
        {"max_rows": 2000, "resamples": 50},
        descriptions=Descriptions(texts),
        extraction={"extraction_rate": 123.0},
    )
    names = ["fve", "fve_greedy", "fve_calibrated", "raw_r2", "frontier/fve", "early/fve"]
    plain = ["mean", "last_token", "pca_1", "pca_4", "pca_16", "pca_64", "shuffled", "no_injection", "teacher"]
    plain += ["word_shuffle", "half", "empty"]
    names += [f"control/{name}" for name in plain] + [f"control/{name}_gap" for name in plain]
    names += [f"frontier/quote_{n}{kind}" for n in (1, 2, 4, 8, 16, 32) for kind in ("", "_frozen")]
    for name in names:
        assert metrics[f"{name}_low"] <= metrics[name] + 1e-9, name
        assert metrics[f"{name}_high"] >= metrics[name] - 1e-9, name
    for name in ("tokens_mean", "closed_rate", "rank_median", "extraction_rate", "clusters", "massive/rows"):
        assert name in metrics
    assert metrics["extraction_rate"] == 123.0
    undefined = {key for key, value in metrics.items() if math.isnan(value)}
    lacking = ("no_quotes", "fewer_tokens", "only_quotes", "sentence_shuffle", "synonyms", "paraphrase", "entity_swap")
    assert undefined <= {f"{kind}/{name}" for name in lacking for kind in ("kept", "ratio")}
    assert all(isinstance(value, float) for value in metrics.values())
    assert {"row", "explanation", "teacher", "rank", "error_teacher", "error_quote_4_frozen"} <= set(rows.columns)


def test_lengths_count_all_that_the_reader_reads(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    metrics, _ = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    # four words and the fake's two template tokens
    assert metrics["tokens_mean"] == 6.0
    assert metrics["explanation_tokens_mean"] == 4.0
    points = {(p["name"], p["n"]): p for p in json.loads((tmp_path / "frontier.json").read_text())["points"]}
    assert points["quote", 4]["tokens"] == 6.0
    assert points["quote_frozen", 4]["tokens"] == 5.0
    assert points["explanation", None]["text_tokens"] == 4.0


def test_frontier_takes_rows_with_longer_contexts_only(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    metrics, rows = run(fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2), store, tmp_path)
    long = rows.filter(~pl.col("early") & (pl.col("position") >= 32))
    assert metrics["frontier/rows"] == len(long)
    assert metrics["frontier/fve"] == pytest.approx(1 - long["error"].sum() / long["spread"].sum())
    assert rows.filter(pl.col("position") < 32)["error_quote_1"].null_count() == len(rows) - len(long)
    # the frozen reader's answer is the activation at the quote's last token, which the fake looks up by id
    noisy_units = unit(fakes.truth())
    first = long.row(0, named=True)
    index = store.split("test").row.tolist().index(first["row"])
    last = store.split("test").context_ids(index)[-1]
    expected = float((noisy_units[last] - noisy_units[first["row"]]).double().square().sum())
    assert first["error_quote_4_frozen"] == pytest.approx(expected, abs=1e-5)


def test_early_and_massive_rows_stand_apart(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    metrics, rows = run(fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.2), store, tmp_path)
    early = rows.filter(pl.col("early"))
    assert (early["position"] < store.min_position).all()
    assert metrics["early/rows"] == len(early) > 0
    assert metrics["early/fve"] == pytest.approx(1 - early["error"].sum() / early["spread"].sum())
    assert metrics["massive/rows"] == 0
    assert "massive/fve" not in metrics


def test_too_few_works_give_no_interval_and_say_so(fakes: SimpleNamespace, tmp_path: Path) -> None:
    small = fakes.build_store(tmp_path / "store", works=60)
    metrics, _ = run(fakes.Autoencoder(fakes.truth(), small.statistics), small, tmp_path / "out")
    assert metrics["clusters"] == 20
    assert not [key for key in metrics if key.endswith(("_low", "_high")) and not key.startswith("match/")]
    assert any("20 source works" in note for note in json.loads((tmp_path / "out" / "notes.json").read_text()))


def test_a_foreign_pair_without_statistics_shows_cosines(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    metrics, _ = run(fakes.Autoencoder(fakes.truth(), None), store, tmp_path)
    assert not [key for key in metrics if "fve" in key or key.startswith(("control/pca", "control/mean"))]
    assert metrics["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert 0 < metrics["control_cosine/shuffled"] < metrics["control_cosine/pca_4"] < 1
    assert metrics["frontier_cosine/explanation"] == pytest.approx(1.0, abs=1e-5)
    assert any("no training mean" in note for note in json.loads((tmp_path / "notes.json").read_text()))


def test_raw_r2_with_one_scalar_and_with_a_head(fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path) -> None:
    plain, _ = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path / "a")
    raw, train = store.split("test", early=False).all().double(), store.split("train", early=False).all().double()
    scale = float(train.norm(dim=-1).mean())
    total = (raw - train.mean(0)).square().sum()
    expected = 1 - float((raw - scale * raw / raw.norm(dim=-1, keepdim=True)).square().sum() / total)
    assert plain["raw_r2"] == pytest.approx(expected, abs=1e-3)

    class WithHead(fakes.Autoencoder):
        def reconstruct_norm(self, texts: list[str]) -> Tensor:
            return fakes.truth()[[int(text.split()[1]) for text in texts]].norm(dim=-1)

    headed, _ = run(WithHead(fakes.truth(), store.statistics), store, tmp_path / "b")
    assert headed["raw_r2"] == pytest.approx(1.0, abs=1e-6)


def test_the_same_numbers_twice_and_after_a_kill(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    def fresh() -> Any:
        return fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.3)

    first, _ = run(fresh(), store, tmp_path / "a")
    again, _ = run(fresh(), store, tmp_path / "b")
    assert first == again

    class Dies(fakes.Autoencoder):
        def verbalize(self, *args: Any, **how: Any) -> Any:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().verbalize(*args, **how)

    with pytest.raises(KeyboardInterrupt):
        run(Dies(fakes.truth(), store.statistics, noise=0.3), store, tmp_path / "c")
    kept = sorted((tmp_path / "c" / "texts").iterdir())
    assert len(kept) == 2
    resumed = fresh()
    whole = fresh()
    run(whole, store, tmp_path / "d")
    third, _ = run(resumed, store, tmp_path / "c")
    assert third == first
    assert resumed.calls == whole.calls - 2
    assert not (tmp_path / "c" / "texts").exists()


def test_the_sampling_seed_moves_the_noise_but_not_the_rows(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    changes, settings = {"frontier": None, "matching": None}, {"max_rows": 100, "resamples": 20}
    pair = fakes.Autoencoder(fakes.truth(), store.statistics, noise=0.3)
    one, first = run(pair, store, tmp_path / "a", changes, settings, seed=0)
    two, second = run(pair, store, tmp_path / "b", changes, settings, seed=1)
    assert first["row"].to_list() == second["row"].to_list()
    assert one["fve"] != two["fve"]
    assert one["rows"] == 100
    assert one["clusters"] == fakes.WORKS // 3


def test_teacher_rows_that_are_missing_are_left_out_and_said(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    described = store.split("test", early=False).row[:200]
    texts = Descriptions({int(row): f"row {row} noise 0" for row in described})
    metrics, rows = run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path, descriptions=texts)
    assert metrics["control/teacher_rows"] == 200
    assert metrics["control/teacher"] == pytest.approx(1.0, abs=1e-5)
    assert rows["teacher"].null_count() == len(rows) - 200
    assert any("has not described" in note for note in json.loads((tmp_path / "notes.json").read_text()))


def test_the_sheet_is_blind_and_the_key_is_apart(
    fakes: SimpleNamespace, store: ActivationStore, tmp_path: Path
) -> None:
    run(fakes.Autoencoder(fakes.truth(), store.statistics), store, tmp_path)
    sheet = [json.loads(line) for line in (tmp_path / "matching.jsonl").read_text().splitlines()]
    key = [json.loads(line) for line in (tmp_path / "matching_key.jsonl").read_text().splitlines()]
    assert len(sheet) == len(key) == 40
    for shown, answer in zip(sheet, key, strict=True):
        assert set(shown) == {"item", "explanation", "candidates"}
        assert len(shown["candidates"]) == 4
        assert shown["explanation"].startswith(f"row {answer['row']} ")
    assert len({answer["answer"] for answer in key}) == 4
