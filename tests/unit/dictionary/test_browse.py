"""The pages of a dictionary: what stands on them, what is refused, and that nothing in them is ever code."""

import base64
import dataclasses
import json
import re

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary import Dictionary, write_dictionary
from nlae.dictionary.browse import listen, make_app, write_overview
from nlae.dictionary.browse.app import HEADERS, STATIC
from nlae.dictionary.browse.neuron import LEVELS, WHY, exemplars, lead, pieces, score_chart, windows
from nlae.dictionary.browse.overview import KINDS, NONE, SCALE, headlines, map_data
from nlae.dictionary.browse.server import LOOPBACK, address
from nlae.dictionary.entries import OVERVIEW
from nlae.dictionary.schema import REASONS
from nlae.errors import NlaeError
from nlae.pipeline.browsing import read, reads_dictionary

LAYERS, NEURONS = 3, 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_up_dictionary(tmp_path_factory.mktemp("dictionary"), layers=LAYERS, neurons=NEURONS)


@pytest.fixture
def client(made):
    return TestClient(
        make_app(made), base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False
    )


def test_every_reason_is_explained():
    assert set(WHY) == set(REASONS)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
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
        ("/search?q=river&layer=1&passing=yes&page=2", 200),
        ("/search?q=river&layer=x&page=-3", 200),
        ("/search?q=goverment", 200),
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
    for path in (
        "/",
        "/neuron/1/3",
        "/compare",
        "/compare?a=0.1&b=1.2",
        "/search?q=goverment",
        "/neuron/9/9",
    ):
        text = client.get(path).text
        assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=|https?://(?!127)", text), path


def test_what_is_missing_is_told_readably(client):
    text = client.get("/neuron/7/0").text
    assert "no entry for layer 7, neuron 0, sign +; it has layers 0 (12 neurons), 1 (12 neurons)" in text
    assert "names no neuron: write layer.neuron" in client.get("/compare?a=0.1&b=nonsense").text


def test_a_failure_is_a_guarded_page_too(client):
    client.app.state.pages.__dict__["_glance"] = None
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
    failing = next(entry for entry in entries if not entry.passes and entry.auroc is not None)
    good = client.get(f"/neuron/{passing.layer}/{passing.neuron}").text
    assert f"<span>fires on</span> <b>{passing.description}</b>" in good
    for wanted in ("This description", f">{passing.grade}</span>", f">{passing.label}</span>", passing.writes):
        assert wanted in good, wanted
    assert f"b={passing.nearest_entry[:-1]}" in good
    bad = client.get(f"/neuron/{failing.layer}/{failing.neuron}").text
    assert "No description holds" in bad
    assert f"<span>best words tried:</span> <b>{failing.description}</b>" in bad
    assert WHY[failing.reason] in bad
    for name in ("auroc", "nearest", "mismatched", "permuted", "last_token", "token_list", "lens", "skyline"):
        assert f">{getattr(failing, name):.2f}</text>" in bad, name


@pytest.mark.parametrize(
    ("text", "said"),
    [("of, in or by, after part", "fires on"), ("after part, near law", "fires"), ("after or before", "fires on")],
)
def test_words_are_framed_and_not_changed(text, said):
    assert lead(text) == said


def test_unscored_entries_have_no_chart(made):
    unscored = next(entry for entry in map(made.at, range(len(made))) if entry.auroc is None)
    assert score_chart(unscored) is None


def test_unseen_windows_are_shaded_at_every_token(made, client):
    entry = made.entry(1, 3)
    found = windows(made, entry)
    assert [item["source"] for item in found] == [made.context(document).source for document in entry.unseen_document]
    for item, peak in zip(found, entry.unseen_peak, strict=True):
        shades = [shade for _, shade, _ in item["tokens"]]
        assert max(shades) == shades[peak] <= LEVELS
    text, shade, value = found[0]["tokens"][entry.unseen_peak[0]]
    assert f'<span class="m{shade}" title="{value}">{text}</span>' in client.get("/neuron/1/3").text
    with pytest.raises(NlaeError, match="do not fit its unseen passages"):
        windows(made, dataclasses.replace(entry, unseen_level=[1]))


def test_compare_offers_the_strongest_beside_their_nearest(client, made):
    text = client.get("/compare").text
    links = re.findall(r'href="/compare\?a=([\d.]+)&amp;b=([\d.]+)"', text)
    assert 0 < len(links) <= LAYERS
    for a, b in links:
        assert client.get(f"/compare?a={a}&b={b}").status_code == 200
    best = max((e for e in map(made.at, range(len(made))) if e.passes), key=lambda entry: entry.auroc)
    assert any(a == best.name[:-1] and b == best.nearest_entry[:-1] for a, b in links)
    assert best.description in text
    assert best.description in client.get("/").text


def test_what_finds_nothing_links_to_what_is_near(client):
    text = client.get("/search?q=goverment").text
    assert "Nothing matches" in text
    assert '<a href="/search?q=government">' in text


def test_steps_lead_across_layers(client):
    first, last = client.get("/neuron/0/0").text, client.get("/neuron/2/11").text
    assert 'id="before"' not in first
    assert 'href="/neuron/0/1"' in first
    assert 'id="after"' not in last
    assert 'href="/neuron/1/0"' in client.get("/neuron/0/11").text


def test_a_name_in_the_search_field_opens_the_neuron_and_any_will_do(client):
    answer = client.get("/search?q=1.3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/neuron/1/3")
    assert client.get("/search?q=77.3").status_code == 200
    assert re.search(r'<a href="/neuron/\d+/\d+">A random neuron', client.get("/").text)


def test_pages_of_answers_keep_what_was_asked(client):
    text = client.get("/search?q=r&passing=yes").text
    assert "Entries for" in text
    following = re.search(r'id="after" href="([^"]+)"', client.get("/search").text)
    assert following is not None
    assert "page=2" in following[1]
    filtered = re.search(r'id="before" href="([^"]+)"', client.get("/search?layer=1&page=2&passing=").text)
    assert filtered is None  # one page of a layer is all there is
    assert "page 1 of 1" in client.get("/search?layer=1").text


def test_hostile_text_stays_text(hostile):
    client = TestClient(make_app(hostile), base_url="http://127.0.0.1")
    for path in (
        "/",
        "/neuron/0/0",
        "/neuron/0/1",
        "/compare",
        "/compare?a=0.0&b=0.1",
        "/search",
        "/search?q=%22%3E%3Cscript%3E",
    ):
        text = client.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert '"><script>' not in text, path
    assert "&lt;script&gt;alert" in client.get("/search").text
    assert client.get("/peek/0/0").headers["content-type"] == "application/json"


def test_the_map_holds_every_entry(made):
    data = map_data(made)
    assert data["layers"] == [{"layer": layer, "width": NEURONS} for layer in range(LAYERS)]
    scores, kinds = (
        np.frombuffer(base64.b64decode(data[name]), np.uint8).reshape(LAYERS, 2, NEURONS) for name in ("auroc", "kind")
    )
    for entry in map(made.at, range(len(made))):
        at = (entry.layer, int(entry.sign == "-"), entry.neuron)
        failed = "not scored" if entry.auroc is None else "does not pass"
        assert KINDS[kinds[at]] == (entry.label if entry.passes else failed)
        assert scores[at] == (NONE if entry.auroc is None else round(entry.auroc * SCALE))


def test_the_rules_told_are_the_dictionarys_own(client, tmp_path):
    assert "AUROC of at least 0.7 and of at least 0.700" in client.get("/").text
    made = make_up_dictionary(tmp_path, layers=1, neurons=2)
    made.facts |= {"bar": 0.731, "min_auroc": 0.65}
    other = TestClient(make_app(made), base_url="http://127.0.0.1")
    assert "AUROC of at least 0.65 and of at least 0.731" in other.get("/").text


def test_directions_that_are_never_negative_are_called_so(made, tmp_path):
    plus = made.frame().filter(pl.col("sign") == "+").collect()
    contexts = [made.context(i) for i in range(40)]
    write_dictionary(tmp_path, [plus], contexts=contexts, layers=made.layers, facts={**made.facts, "directions": "sae"})
    under = headlines(Dictionary.open(tmp_path), {}, "bag")[0][2]
    assert under == f"{int(plus['passes'].sum())} of {len(plus)} ({len(plus)} directions)"


def test_headlines_stand_beside_their_nulls(made):
    passing = sum(made.at(place).passes for place in range(len(made)))
    (first,) = headlines(made, {}, "bag")
    assert first[2] == f"{passing} of {len(made)} (both signs of {LAYERS * NEURONS} neurons)"
    metrics = {"bag/pass_share": 0.46, "bag/pass_share_low": 0.44, "bag/pass_share_high": 0.48}
    metrics |= {"bag/rotated_share": 0.012, "bag/false_share": 0.04, "bag/median_auroc": 0.71, "token_share": 0.2}
    metrics |= {"context_share": 0.3}
    shown = headlines(made, metrics, "bag")
    assert [item[1].replace("\N{NO-BREAK SPACE}", " ") for item in shown[:4]] == ["46 %", "1.2 %", "4.0 %", "0.71"]
    assert "44\N{NO-BREAK SPACE}% to 48\N{NO-BREAK SPACE}%" in shown[0][2]
    assert "20\N{NO-BREAK SPACE}%" in shown[4][2]


def test_exemplars_mark_their_token(made):
    entry = made.entry(1, 3)
    found = exemplars(made, entry)
    assert len(found) == len(entry.exemplar_value)
    for item, document, position in zip(found, entry.exemplar_document, entry.exemplar_position, strict=True):
        assert item["tokens"][1][0] == made.context(document).tokens[position]
    levels = [[level for _, level, _ in item["tokens"]] for item in found]
    assert all(row[0] == row[2] == 0 < row[1] <= LEVELS for row in levels)
    assert [row[1] for row in levels] == sorted((row[1] for row in levels), reverse=True)
    assert levels[0][1] == LEVELS


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" a", (True, "a")), ("a", (False, "a")), ("\n", (False, "↵")), (" ", (False, "␣")), ("", (False, "∅"))],
)
def test_pieces_make_the_invisible_visible(token, shown):
    assert pieces([token, token]) == [shown]


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
    measured = {"embedding/detection": 0.712, "bag/headline": 0.4321}
    wanted = ("What judges make of the words", "0.712", "What passes, and what should not", "43\N{NO-BREAK SPACE}%")
    said = write_overview(made, metrics=measured).read_text(encoding="utf-8")
    (tmp_path / "metrics.json").write_text(json.dumps(measured))
    served = TestClient(make_app(Dictionary.open(tmp_path)), base_url="http://127.0.0.1").get("/").text
    for page in (said, served):
        assert [text for text in wanted if text not in page] == []
        assert "How well the words predict</h3>" not in page
        assert "block\N{NO-BREAK SPACE}0" in page
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(NlaeError, match="damaged, no flat numbers"):
        _ = Dictionary.open(tmp_path).metrics


def test_small_rates_of_a_layer_are_told_from_zero(tmp_path):
    made = make_up_dictionary(tmp_path, layers=1, neurons=4)
    made.layers[0] |= {"pass_share": 0.0006, "pass_share_low": 0.0, "rotated_share": 0.00004}
    page = TestClient(make_app(made), base_url="http://127.0.0.1").get("/").text.replace("\N{NO-BREAK SPACE}", " ")
    assert ("0.060 % (0 % to" in page, "0.0040 %" in page) == (True, True)


def test_the_server_listens_on_this_machine_only():
    with listen() as opened:
        assert opened.getsockname()[0] == LOOPBACK
        assert address(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}/"
        with pytest.raises(NlaeError, match="cannot be used"):
            listen(opened.getsockname()[1])


def test_which_commands_read():
    assert reads_dictionary("browse", {})
    assert reads_dictionary("dictionary", {"query": "rivers"})
    assert not reads_dictionary("dictionary", {"query": None})
    assert not reads_dictionary("explain", {"query": "rivers"})


def test_a_question_is_answered_on_the_terminal(made, capsys):
    config = {"file": str(made.folder), "query": "river"}
    assert read(config, lambda: pytest.fail("no plan is needed"), "dictionary", "", "nlae browse") == made.folder
    out = capsys.readouterr().out
    assert "fires on" in out
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
