import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from nlae.errors import NlaeError
from nlae.pipeline.made import finished_dictionary
from nlae.report import build_report, numbers
from nlae.report.examples import examples, marked
from nlae.report.figures import held_out
from nlae.report.gather import gather, plain_path
from nlae.report.meanings import label, meaning
from nlae.stages import report as stage


class Recorder:
    def __init__(self) -> None:
        self.pages: list[tuple[str, Path]] = []

    def html(self, name: str, path: Path) -> None:
        self.pages.append((name, path))


def page_of(stages: dict[str, Path], folder: Path, **options: object) -> str:
    build_report(stages, folder, **options)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_what_a_reader_needs(stages, tmp_path: Path) -> None:
    run = Recorder()
    out = build_report(stages, tmp_path, run=run, command="nlae report seed=0")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert out == {"fve": 0.33, "fve_low": 0.30, "fve_high": 0.36}
    assert run.pages == [("report", tmp_path / "report.html")]
    for wanted in (
        "residual stream after block 19", "0.30 to 0.36", "Shuffled pairing", "0 is not chance", "nlae report seed=0",
        "reinforcement starts", "&lt;b&gt;Nobody&lt;/b&gt;", "What the teacher wrote", "0123456789ab", "{slot}",
        "Quoting the last 4 tokens", "something/new",
    ):  # fmt: skip
        assert wanted in page, wanted
    assert "smoke run" not in page.lower().replace("report.smoke", "")
    assert "/somewhere/private" not in page
    assert stages["evaluate"].name in page


def test_a_smoke_run_is_called_one(stages, tmp_path: Path) -> None:
    assert "This is a smoke run" in page_of(stages, tmp_path, smoke=True)


def test_a_target_without_a_chat_template_is_told(stages, tmp_path: Path) -> None:
    assert "raw form" not in page_of(stages, tmp_path / "with")
    assert "has no chat template" in page_of(stages, tmp_path / "without", chat_template=False)


def test_well_formed_and_with_unique_ids(stages, tmp_path: Path) -> None:
    class Checker(HTMLParser):
        void = frozenset({"meta", "br", "input", "line", "circle", "path"})

        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.ids: list[str] = []

        def handle_starttag(self, tag: str, attrs: list) -> None:
            self.ids += [value for name, value in attrs if name == "id"]
            if tag not in self.void:
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: list) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(page_of(stages, tmp_path))
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))


def test_verdict_follows_the_paired_intervals() -> None:
    metrics = {"fve": 0.3, "control/mean": -0.1, "control/mean_gap_low": 0.1, "control/mean_gap_high": 0.5}
    metrics |= {"control/teacher": 0.5, "control/teacher_gap_low": -0.3, "control/teacher_gap_high": -0.1}
    metrics |= {"control/pca_16": 0.3, "control/pca_16_gap_low": -0.1, "control/pca_16_gap_high": 0.1}
    better, worse, open_ = numbers.verdict(metrics)
    assert better.startswith("The words do better than the mean:")
    assert worse == "They do worse than the teacher's text."
    assert "16 PCA numbers" in open_


def test_without_intervals_nothing_is_claimed() -> None:
    assert "no comparison is claimed" in numbers.verdict({"fve": 0.9, "control/mean": -0.1})[0]
    assert "says nothing by itself" in numbers.verdict({"fve": 0.9})[0]


def test_the_quote_line_names_the_shortest_quote_that_wins() -> None:
    metrics = {"frontier/fve": 0.4, "frontier/quote_1": 0.2, "frontier/quote_2": 0.5, "frontier/quote_4": 0.6}
    assert numbers.quote_line(metrics) == ""
    metrics |= {"frontier/quote_1_gap_high": 0.3, "frontier/quote_2_gap_high": 0.01, "frontier/quote_4_gap_high": -0.1}
    metrics["frontier/quote_1_frozen_gap_high"] = -0.5
    assert numbers.quote_line(metrics).startswith("Quoting the last 4 tokens")
    assert "(0.60 against 0.40)" in numbers.quote_line(metrics)
    assert "last token of" in numbers.quote_line(metrics | {"frontier/quote_1_gap_high": -0.1})
    assert "No quote of up to 4" in numbers.quote_line(metrics | {"frontier/quote_4_gap_high": 0.2})
    assert numbers.quote_line({"fve": 0.1}) == ""


def test_no_interval_is_said(tmp_path: Path, make_stages) -> None:
    page = page_of(make_stages(tmp_path / "a", intervals=False), tmp_path)
    assert "no interval" in page
    assert "12 source works" in page


def test_a_foreign_pair_shows_cosines(tmp_path: Path, stages) -> None:
    path = stages["evaluate"] / "metrics.json"
    metrics = {"cosine": 0.8, "control_cosine/mean": 0.7, "control_cosine/shuffled": 0.6, "cosine_mean": 0.8}
    path.write_text(json.dumps(metrics))
    page = page_of(stages, tmp_path)
    assert "mean cosine: this checkpoint holds no training mean" in page
    assert "Shuffled pairing" in page


def test_an_undefined_figure_is_a_dash_and_no_bar(stages, tmp_path: Path) -> None:
    path = stages["evaluate"] / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kept/half": None, "control/half": None}))
    page = page_of(stages, tmp_path)
    assert "Kept, half" in page
    metrics = gather(stages)["evaluate"].metrics
    assert metrics["kept/half"] != metrics["kept/half"], "NaN for whoever computes with it"
    assert "First half of the words" not in [bar.label for bar in numbers.bars(metrics)]


def test_an_evaluation_alone_is_enough(stages, tmp_path: Path) -> None:
    evaluate = stages["evaluate"]
    for name in ("rows.parquet", "frontier.json", "notes.json", "config.yaml", "manifest.json"):
        (evaluate / name).unlink()
    page = page_of({"evaluate": evaluate}, tmp_path)
    assert "Beside its controls" in page
    assert "Beside quoting the text" in page
    assert "What it says" not in page


def test_reinforcement_goes_on_where_the_warm_start_ended(stages) -> None:
    found = gather(stages)
    assert "warmstart" in found
    drawing = held_out(found)
    points = drawing.wide.lines[0].series.points
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[-1][0] > 298
    assert drawing.wide.marks


def test_copied_words_are_marked() -> None:
    assert marked("Notes: the words in a <b>string</b>.", "Return THE WORDS in a list") == (
        ("Notes: ", False),
        ("the words in a", True),
        (" <b>string</b>.", False),
    )
    assert marked("words", "the words") == (("words", False),)
    assert marked("", "x") == ()


def test_a_null_stands_beside_its_figure_and_is_none_of_its_own() -> None:
    metrics = {"claims/topics_recall": 0.4, "claims/topics_recall_null": 0.1, "claims/topics_recall_null_low": 0.05}
    (shown,) = numbers.rows(metrics)
    assert (shown.value, shown.null) == (0.4, 0.1)
    assert "context teacher" in shown.meaning


def test_examples_are_drawn_by_seed_from_three_tenths(stages) -> None:
    path = stages["evaluate"] / "rows.parquet"
    table = pl.read_parquet(path).filter(~pl.col("early")).sort("fve", descending=True)
    best, middle, worst = examples(path, 5, 0)
    assert all(example.fve >= table["fve"][len(table) // 10] for example in best.examples)
    assert all(example.fve <= table["fve"][len(table) * 9 // 10] for example in worst.examples)
    assert min(e.fve for e in best.examples) > max(e.fve for e in middle.examples) > max(e.fve for e in worst.examples)
    assert examples(path, 5, 0)[0] == best
    assert examples(path, 5, 1)[0] != best
    assert not any(example.position % 50 == 40 for group in (best, middle, worst) for example in group.examples)


def test_broken_or_missing_evaluations_are_named(stages, tmp_path: Path) -> None:
    with pytest.raises(NlaeError, match="nlae evaluate"):
        build_report({"corpus": stages["corpus"]}, tmp_path)
    (stages["evaluate"] / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(NlaeError, match=r"rows\.parquet"):
        build_report(stages, tmp_path)
    (stages["evaluate"] / "metrics.json").write_text("{")
    with pytest.raises(NlaeError, match=r"metrics\.json"):
        build_report(stages, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_every_figure_the_evaluation_promises_has_a_meaning() -> None:
    keys = (
        *("fve", "fve_calibrated", "fve_greedy", "raw_r2", "control/mean", "control/last_token", "control/pca_16"),
        *("control/word_shuffle", "control/no_quotes", "neurons/r2", "ceiling/linear"),
        *("control/shuffled", "control/no_injection", "control/teacher", "frontier/quote_1", "frontier/quote_32"),
        *("frontier/quote_8_frozen", "tokens_mean", "extraction_rate", "early/fve", "closed_rate", "match/reader"),
    )
    for key in keys:
        assert meaning(key), key
        assert label(key) != key
    assert "16" in label("control/pca_16")
    assert label("no/such") == "no/such"


def test_paths_of_this_machine_do_not_travel() -> None:
    assert plain_path("artifacts: /home/me/x/artifacts\nurl: a/b") == "artifacts: …/artifacts\nurl: a/b"
    assert not re.search("/srv", plain_path("cache: '/srv/cache'"))


def make_dictionary(root: Path, parents: dict[str, str], name: str = "fedcba", started: str = "2020") -> Path:
    """The small files of a finished dictionary, as its stage seals them."""
    folder = root / "dictionary" / name
    folder.mkdir(parents=True)
    metrics = {"entries": 92160.0, "scored": 80000.0, "passing": 40000.0, "bag/pass_share": 0.434}
    metrics |= {"bag/rotated_share": 0.0004, "bag/median_auroc": 0.712, "skyline/median_auroc": 0.834}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "dictionary.html").write_text("overview")
    manifest = {"complete": True, "fingerprint": name, "parents": parents, "started": started}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_dictionary_is_summarised_and_linked(stages, tmp_path: Path) -> None:
    root = stages["evaluate"].parent.parent
    folder = make_dictionary(root, {})
    at = root / "report" / "abc"
    page = page_of({**stages, "dictionary": folder}, at)
    wanted_words = (
        "92,160 entries", "43\N{NO-BREAK SPACE}%", "Randomly rotated neurons", "0.040\N{NO-BREAK SPACE}%", "0.834",
        "dictionary/fedcba", "0.712", "What passes, and what should not",
    )  # fmt: skip
    for wanted in wanted_words:
        assert wanted in page, wanted
    (href,) = re.findall(r'<a href="([^"]+dictionary[.]html)"', page)
    assert (at / href).read_text() == "overview"
    assert "What judges make of the words" not in page
    assert "Another entry" not in page, "a null that was not measured is not shown"


def test_a_count_that_is_missing_is_called_missing(stages, tmp_path: Path) -> None:
    folder = make_dictionary(stages["evaluate"].parent.parent, {})
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({key: metrics[key] for key in ("scored", "bag/pass_share")}))
    page = page_of({**stages, "dictionary": folder}, tmp_path)
    assert "How many entries it has is not known: its metrics.json lacks entries, passing." in page
    assert "0 entries" not in page


def test_without_a_dictionary_the_page_has_no_place_for_one(stages, tmp_path: Path) -> None:
    page = page_of(stages, tmp_path)
    assert "Its dictionary" not in page
    assert not (stages["evaluate"].parent.parent / "dictionary").exists()


def test_only_a_finished_dictionary_of_the_same_autoencoder_is_taken(tmp_path: Path) -> None:
    assert finished_dictionary(tmp_path, {"reinforce": "mine"}) is None
    make_dictionary(tmp_path, {"reinforce": "other"}, "a")
    half = make_dictionary(tmp_path, {"reinforce": "mine"}, "b")
    (half / "manifest.json").unlink()
    assert finished_dictionary(tmp_path, {"reinforce": "mine"}) is None
    make_dictionary(tmp_path, {"corpus": "c", "reinforce": "mine"}, "d", "2021")
    make_dictionary(tmp_path, {"corpus": "c", "reinforce": "mine"}, "c", "2022")
    assert finished_dictionary(tmp_path, {"reinforce": "mine"}) == tmp_path / "dictionary" / "c"
    assert finished_dictionary(tmp_path, {"subject": "mine"}) is None


def test_the_stage_takes_the_dictionary_of_the_pair_that_was_evaluated(tmp_path: Path) -> None:
    evaluation = tmp_path / "evaluate" / "e"
    evaluation.mkdir(parents=True)
    manifest = {"parents": {"corpus": "c", "extract": "x", "describe": "d", "warmstart": "mine"}}
    (evaluation / "manifest.json").write_text(json.dumps(manifest))
    assert stage._dictionary(evaluation) == {}
    make_dictionary(tmp_path, {"corpus": "c", "warmstart": "mine"}, "f")
    assert stage._dictionary(evaluation) == {"dictionary": tmp_path / "dictionary" / "f"}
