"""The dictionary's pages in a real Chromium, served as `nlae browse` serves them: no trouble in the console, ever."""

import random
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from experiments.benchmarks.made_up import make_up_dictionary
from nlae.dictionary.browse import listen, make_app, write_overview
from nlae.dictionary.browse.server import address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
LAYERS, NEURONS = 4, 150

# WCAG contrast of an element's own text with what lies behind it
CONTRAST = """node => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = colours => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = c => c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = [];
  for (let n = node; n; n = n.parentElement) behind.unshift(getComputedStyle(n).backgroundColor);
  const style = getComputedStyle(node);
  const [a, b] = [light(rgb([node.closest("svg") ? style.fill : style.color])), light(rgb(behind))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""

# how many different colours the map shows
COLOURS = """() => {
  const map = document.querySelector("#map canvas");
  const bytes = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
  const seen = new Set();
  for (let i = 0; i < bytes.length; i += 4) if (bytes[i + 3] === 255) seen.add(bytes.slice(i, i + 3).join());
  return seen.size;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[str]:
    made = make_up_dictionary(tmp_path_factory.mktemp("dictionary"), layers=LAYERS, neurons=NEURONS)
    opened = listen()
    server = uvicorn.Server(uvicorn.Config(make_app(made), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield address(opened)
    server.should_exit = True
    thread.join()
    opened.close()


@pytest.fixture
def visit(browser, site) -> Iterator[object]:
    contexts, troubles = [], []

    def open_page(path: str = "", **options: object):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(f"{page.url}: {message.text}"))
        page.on("dialog", lambda dialog: (troubles.append("dialog"), dialog.dismiss()))
        page.on(
            "request", lambda request: None if request.url.startswith((site, "file:")) else troubles.append(request.url)
        )
        page.goto(path if path.startswith("file:") else site + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def test_a_hundred_random_pages_open_without_an_error(visit, site) -> None:
    page = visit()
    draw = random.Random(7)
    for _ in range(100):
        layer, neuron = draw.randrange(LAYERS), draw.randrange(NEURONS)
        answer = page.goto(f"{site}neuron/{layer}/{neuron}")
        assert answer is not None
        assert answer.status == 200
        assert page.locator("h1").text_content() == f"Neuron {neuron}"
        assert page.locator("article.side").count() == 2


def test_the_map_answers_to_the_mouse(visit) -> None:
    page = visit()
    page.wait_for_selector("#map[data-ready]")
    canvas = page.locator("#map canvas")
    canvas.hover(position={"x": 60, "y": 4})
    page.wait_for_selector(".tip .words")
    assert "AUROC" in page.locator(".tip").text_content()
    name = page.locator(".tip b").text_content()
    canvas.click(position={"x": 60, "y": 4})
    page.wait_for_url(f"**/neuron/{name.replace('.', '/')}")


@pytest.mark.parametrize("measure", ["auroc", "kind"])
def test_the_map_paints_every_measure(visit, measure: str) -> None:
    page = visit()
    page.wait_for_selector("#map[data-ready]")
    page.select_option("select[name=measure]", measure)
    colours = page.evaluate(COLOURS)
    assert colours >= 2
    assert page.locator(".ramp li").count() >= 2


def test_a_search_leads_to_a_neuron_and_on_to_the_next(visit) -> None:
    page = visit()
    page.locator("#q").fill("river")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=river")
    page.locator(".answers .id").first.click()
    page.wait_for_url("**/neuron/**")
    page.goto(f"{page.url.split('/neuron')[0]}/neuron/0/0")
    page.locator("#after").click()
    page.wait_for_url("**/neuron/0/1")


def test_two_are_compared_from_a_page(visit) -> None:
    page = visit("neuron/1/5")
    page.locator("#b").fill("2.7")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?a=1.5&b=2.7")
    assert page.locator(".sides > div > h2").all_text_contents() == ["1.5", "2.7"]
    assert page.locator("article.side").count() == 4


def test_compare_offers_pairs_one_click_each(visit) -> None:
    page = visit("compare")
    page.locator(".offered li > a").first.click()
    page.wait_for_url("**/compare?a=*&b=*")
    page.locator(".sides h2 a").first.click()
    page.locator(".nearest a").first.click()
    page.wait_for_url("**/compare?a=*&b=*")


def test_what_finds_nothing_leads_on(visit) -> None:
    page = visit("search?q=goverment")
    page.get_by_role("link", name="government").click()
    page.wait_for_url("**/search?q=government")
    assert page.locator(".answers .said").count() > 5


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1200])
def test_pages_fit_and_are_legible(visit, site, scheme: str, width: int) -> None:
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in ("", "neuron/1/5", "search?q=river", "search?q=goverment", "compare", "compare?a=1.5&b=2.7"):
        page.goto(site + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        for selector in (
            "h1", ".lede", ".said b", ".said span", ".tried b", ".writes span", ".verdict span", ".facts dt",
            ".chips li", ".exemplars p span", ".under", ".exemplars .num", ".answers dt", ".bar nav a", "svg text",
            "button",
        ):  # fmt: skip
            for node in page.locator(selector).locator("visible=true").all()[:8]:
                assert node.evaluate(CONTRAST) >= 4.5, (path, selector, node.text_content())


def test_the_overview_file_needs_no_server(visit, tmp_path) -> None:
    made = make_up_dictionary(tmp_path, layers=2, neurons=20)
    page = visit(write_overview(made).as_uri())
    page.wait_for_selector("#map[data-ready]")
    page.locator("#map canvas").hover(position={"x": 60, "y": 4})
    assert "AUROC" in page.locator(".tip").text_content()
