"""The pages of a dictionary: what stands on them, what is refused, and that nothing in them is ever code."""

import base64
import json
import re

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from nlae.dictionary import Dictionary, write_dictionary
from nlae.dictionary.browse import listen, make_app, write_overview
from nlae.dictionary.browse.app import HEADERS, STATIC
from nlae.dictionary.browse.columns import COLUMNS
from nlae.dictionary.browse.neuron import WHY, exemplars, histogram, piece, score_chart
from nlae.dictionary.browse.overview import NONE, SCALE, headlines, map_data
from nlae.dictionary.browse.server import LOOPBACK, address
from nlae.dictionary.entries import OVERVIEW
from nlae.dictionary.made_up import make_up_dictionary
from nlae.dictionary.schema import REASONS, SCHEMA
from nlae.errors import NlaeError
from nlae.pipeline.reading import read, reads_dictionary

LAYERS, NEURONS = 3, 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_up_dictionary(tmp_path_factory.mktemp("dictionary"), layers=LAYERS, neurons=NEURONS)


@pytest.fixture
def client(made):
    return TestClient(
        make_app(made), base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False
    )


def test_every_column_and_reason_is_explained():
    assert set(COLUMNS) == set(SCHEMA)
    assert set(WHY) == set(REASONS)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/about", 200),
        ("/compare", 200),
        ("/compare?a=0.1&b=nonsense", 200),
        ("/compare?a=0.1&b=99.1", 404),
        ("/map.json", 200),
        ("/neuron/0/0", 200),
        ("/neuron/0/99999999999999999999", 404),
        ("/neuron/7/0", 404),
        ("/neuron/" + "9" * 5000 + "/0", 404),
        ("/peek/0/" + "9" * 5000, 404),
        ("/neuron/999999999/999999999", 404),
        ("/search?q=" + "9" * 5000 + "." + "9" * 5000 + "&page=" + "9" * 5000 + "&layer=" + "9" * 5000, 200),
        ("/compare?a=" + "9" * 5000 + ".1&b=999999999.999999999", 404),
        ("/neuron/x/0", 404),
        ("/nothing", 404),
        ("/peek/1/3", 200),
        ("/search", 200),
        ("/search?q=river&layer=1&passing=yes&order=number&page=2", 200),
        ("/search?q=river&layer=x&order=x&page=-3", 200),
        *[(f"/static/{name}", 200) for name in sorted(STATIC)],
        ("/static/..%2f..%2fenvironment.py", 404),
    ],
)
def test_every_answer_is_guarded(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert answer.headers[name] == value


def test_pages_use_nothing_that_the_policy_forbids(client):
    for path in ("/", "/neuron/1/3", "/compare?a=0.1&b=1.2", "/search?q=river", "/about", "/neuron/9/9"):
        text = client.get(path).text
        assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=|https?://(?!127)", text), path


def test_what_is_missing_is_told_readably(client):
    text = client.get("/neuron/7/0").text
    assert "no neuron 0 in layer 7; it has layers 0–2" in text
    assert "layer 1 has 12 neurons, 0–11" in client.get("/neuron/1/12").text


def test_a_failure_is_a_guarded_page_too(client):
    client.app.state.view.__dict__["headlines"] = None
    answer = client.get("/")
    assert answer.status_code == 500
    assert "That did not work" in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]


def test_another_name_for_this_machine_is_turned_away(client):
    answer = client.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]


def test_entries_are_described_or_said_not_to_be(client, made):
    entries = [made.at(place) for place in range(len(made))]
    passing = next(entry for entry in entries if entry.passes)
    failing = next(entry for entry in entries if not entry.passes and entry.prediction is not None)
    good = client.get(f"/neuron/{passing.layer}/{passing.neuron}").text
    assert f'<p class="said" dir="auto">{passing.description}</p>' in good
    assert "This description" in good
    bad = client.get(f"/neuron/{failing.layer}/{failing.neuron}").text
    assert "No description found" in bad
    assert failing.candidate in bad
    assert WHY[failing.reason] in bad
    for score in (failing.prediction, failing.prediction_null, failing.last_token, failing.skyline):
        assert f">{score:.2f}</text>" in bad


def test_unscored_entries_have_no_chart(made):
    unscored = next(entry for entry in map(made.at, range(len(made))) if entry.prediction is None)
    assert score_chart(unscored) is None


def test_steps_lead_across_layers(client):
    first, last = client.get("/neuron/0/0").text, client.get("/neuron/2/11").text
    assert 'id="before"' not in first
    assert 'href="/neuron/0/1"' in first
    assert 'id="after"' not in last
    assert 'href="/neuron/1/0"' in client.get("/neuron/0/11").text


def test_a_name_in_the_search_field_opens_the_neuron(client):
    answer = client.get("/search?q=1.3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/neuron/1/3")
    assert client.get("/search?q=77.3").status_code == 200
    assert re.fullmatch(r"/neuron/\d+/\d+", client.get("/random").headers["location"])


def test_pages_of_answers_keep_what_was_asked(client):
    text = client.get("/search?q=river&layer=1&order=number").text
    following = re.search(r'id="after" href="([^"]+)"', client.get("/search?order=number").text)
    assert following is not None
    assert "order=number" in following[1]
    assert "page=2" in following[1]
    assert "Entries for" in text


def test_hostile_text_stays_text(hostile):
    client = TestClient(make_app(hostile), base_url="http://127.0.0.1")
    for path in ("/", "/neuron/0/0", "/neuron/0/1", "/compare?a=0.0&b=0.1", "/search", "/search?q=%22%3E%3Cscript%3E"):
        text = client.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert '"><script>' not in text, path
    assert "&lt;script&gt;alert" in client.get("/search").text
    assert client.get("/peek/0/0").headers["content-type"] == "application/json"


def test_the_map_holds_every_entry(made):
    data = map_data(made)
    assert data["layers"] == [{"layer": layer, "width": NEURONS} for layer in range(LAYERS)]
    scores = np.frombuffer(base64.b64decode(data["prediction"]), np.uint8).reshape(LAYERS, 2, NEURONS)
    passes = np.frombuffer(base64.b64decode(data["passes"]), np.uint8).reshape(LAYERS, 2, NEURONS)
    for place in range(len(made)):
        entry = made.at(place)
        at = (entry.layer, int(entry.sign == "-"), entry.neuron)
        assert passes[at] == entry.passes
        assert scores[at] == (NONE if entry.prediction is None else round(entry.prediction * SCALE))


def test_the_rules_told_are_the_dictionarys_own(client, tmp_path):
    assert "q ≤ 0.05, AUROC ≥ 0.7 and 0.05 above" in client.get("/about").text
    made = make_up_dictionary(tmp_path, layers=1, neurons=2)
    made.facts |= {"fdr": 0.1, "min_auroc": 0.65, "min_margin": 0.02}
    other = TestClient(make_app(made), base_url="http://127.0.0.1")
    assert "q ≤ 0.1, AUROC ≥ 0.65 and 0.02 above" in other.get("/about").text


def test_directions_that_are_never_negative_are_called_so(made, tmp_path):
    plus = made.frame().filter(pl.col("sign") == "+").collect()
    contexts = [made.context(i) for i in range(40)]
    write_dictionary(tmp_path, [plus], contexts=contexts, layers=made.layers, facts={**made.facts, "directions": "sae"})
    under = headlines(Dictionary.open(tmp_path))[0].under
    assert under == f"{int(plus['passes'].sum())} of {len(plus)} ({len(plus)} directions)"


def test_headlines_are_the_dictionarys_own(made):
    passing = sum(made.at(place).passes for place in range(len(made)))
    first, decoys = headlines(made)[:2]
    assert first.under == f"{passing} of {len(made)} (both signs of {LAYERS * NEURONS} neurons)"
    assert decoys.value == "1.0\N{NO-BREAK SPACE}%"


def test_exemplars_mark_their_token(made):
    entry = made.entry(1, 3)
    found = exemplars(made, entry)
    assert len(found) == len(entry.exemplar_value)
    for item, document, position in zip(found, entry.exemplar_document, entry.exemplar_position, strict=True):
        assert item.peak == made.context(document).tokens[position].strip()
    assert [item.level for item in found] == sorted((item.level for item in found), reverse=True)
    assert found[0].level == 6


def test_histogram_bars_grow_with_counts(made):
    entry = made.entry(0, 0)
    shape = histogram(entry, made.facts["histogram_edges"])
    assert shape is not None
    counts = [count for count in entry.histogram if count]
    tall = [bar[3] for bar in shape.bars]
    assert np.argsort(tall, kind="stable").tolist() == np.argsort(counts, kind="stable").tolist()
    assert histogram(entry, [0.0, 1.0]) is None


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" a", (True, "a")), ("a", (False, "a")), ("\n", (False, "↵")), (" ", (False, "␣")), ("", (False, "∅"))],
)
def test_pieces_make_the_invisible_visible(token, shown):
    assert piece(token) == shown


def test_the_overview_is_one_file(made, tmp_path):
    path = write_overview(made, tmp_path)
    assert path == tmp_path / OVERVIEW
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=", text)
    data = re.search(r'<script id="map-data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1]) == map_data(made)


def test_what_was_measured_of_the_whole_stands_on_both_overviews(tmp_path):
    made = make_up_dictionary(tmp_path, layers=1, neurons=4)
    titles = ("What a judge makes of the words", "What of a neuron&#39;s variance survives")
    measured = {"judge/detection/ours": 0.712, "judge/detection/ours_entries": 40.0, "r2": 0.123}
    said = write_overview(made, metrics=measured).read_text(encoding="utf-8")
    assert [title in said for title in titles] == [True, True]
    assert ("0.712" in said, "0.123" in said) == (True, True)
    assert "What passes by chance" not in said
    (tmp_path / "metrics.json").write_text(json.dumps(measured))
    served = TestClient(make_app(Dictionary.open(tmp_path)), base_url="http://127.0.0.1").get("/").text
    assert [title in served for title in titles] == [True, True]
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(NlaeError, match="damaged, no flat numbers"):
        _ = Dictionary.open(tmp_path).metrics


def test_without_figures_of_the_whole_there_is_no_place_for_them(client):
    assert "Figures of the whole dictionary" not in client.get("/").text


def test_small_rates_of_a_layer_are_told_from_zero(tmp_path):
    made = make_up_dictionary(tmp_path, layers=1, neurons=4)
    made.layers[0] |= {"pass_rate": 0.0006, "pass_rate_low": 0.0, "pass_rate_decoy": 0.00004}
    page = TestClient(make_app(made), base_url="http://127.0.0.1").get("/").text.replace("\N{NO-BREAK SPACE}", " ")
    assert ("0.060 %" in page, ">0 % to" in page, "0.0040 %" in page) == (True, True, True)


def test_the_server_listens_on_this_machine_only():
    with listen() as opened:
        assert opened.getsockname()[0] == LOOPBACK
        assert address(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}/"
        with pytest.raises(NlaeError, match="cannot be used"):
            listen(opened.getsockname()[1])
    with pytest.raises(NlaeError, match="port=99999"):
        listen(99999)


def test_which_commands_read():
    assert reads_dictionary("browse", {})
    assert reads_dictionary("dictionary", {"query": "rivers"})
    assert not reads_dictionary("dictionary", {"query": None})
    assert not reads_dictionary("explain", {"query": "rivers"})


def test_a_question_is_answered_on_the_terminal(made, capsys):
    config = {"file": str(made.folder), "query": "river"}
    assert read(config, lambda: pytest.fail("no plan is needed"), "dictionary", "", "nlae browse") == made.folder
    out = capsys.readouterr().out
    assert "stands for" in out
    assert "nlae browse" in out


def test_without_a_dictionary_the_command_that_makes_it_is_named(tmp_path):
    class NoPlan:
        def artifact(self, stage: str):
            assert stage == "dictionary"
            return self

        def is_complete(self) -> bool:
            return False

    with pytest.raises(NlaeError, match="run `nlae dictionary target=tiny` first"):
        read({"query": "x"}, NoPlan, "dictionary", "nlae dictionary target=tiny", "")
    with pytest.raises(NlaeError, match="no dictionary here"):
        read({"file": str(tmp_path)}, NoPlan, "browse", "", "")
    with pytest.raises(NlaeError, match="query= is empty"):
        read({"query": " ", "file": str(tmp_path)}, NoPlan, "dictionary", "", "")
