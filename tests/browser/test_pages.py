"""Both pages in a real Chromium: no request, no script error, hostile text shown as text, all within reach of keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nlae.explain.reading import Reading, ReadingRow
from nlae.explain.tokens import Passage, Turn
from nlae.page import Bar, Series, dot_chart, line_chart, render
from nlae.report import build

TEMPLATES = Path(build.__file__).with_name("templates")
pytestmark = pytest.mark.browser

PIECES = ("<script>", "alert(1)", "</script>", " \"quoted'", " 🙂👩‍👩‍👧", " שלום", "\n", "&amp;", " tail", " unread")
SAID = "</script><img src=x onerror=alert(1)> says “hello” 🙂 عربى {{ 7*7 }}"


def reading() -> Reading:
    rows = [
        ReadingRow(
            passage=0, index=i, token=piece, token_id=i, role="user", generated=False, sample=s,
            explanation=f"{SAID} {i}.{s}", fve=-0.9 + 0.2 * i, shuffled=-1.1, rank=float(i + 1), cosine=0.5,
            alignment=None, norm=3.0,
            closed=i != 3, n_tokens=9, mark="Outside: training positions start at 1." if i == 0 else "",
        )
        for i, piece in enumerate(PIECES[:-1])
        for s in range(2)
    ]  # fmt: skip
    chat = Passage(
        "<b>chat</b>", "chat", tuple(range(10)), PIECES, (Turn("user", 0, 6), Turn("assistant", 6, 10, True))
    )
    return Reading(tuple(rows), (chat,), {"target": "t<i>", "site": "resid.1"}, ("A <note>",), 100)


@pytest.fixture
def open_page(browser, tmp_path: Path) -> Iterator[object]:
    contexts = []

    def visit(html: str, **options: object):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append((context, []))
        page = context.new_page()
        troubles = contexts[-1][1]
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("dialog", lambda dialog: (troubles.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: troubles.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield visit
    for context, troubles in contexts:
        context.close()
        assert troubles == []


def test_hostile_text_is_text(open_page) -> None:
    page = open_page(reading().to_html())
    assert page.title() == "<b>chat</b>"
    words = page.locator(".token .word").all_text_contents()
    assert words == [piece if piece != "\n" else "↵" for piece in PIECES[:-1]]
    assert page.locator("#text .plain").all_text_contents() == [" unread"]
    assert page.locator("#panel .said").first.text_content() == f"{SAID} 1.0"
    assert page.locator("img").count() == 0


def test_a_click_shows_the_explanation_and_its_numbers(open_page) -> None:
    page = open_page(reading().to_html())
    page.locator(".token").nth(3).click()
    said = page.locator("#panel .said").all_text_contents()
    assert said == [f"{SAID} 3.0 … cut at the length limit", f"{SAID} 3.1 … cut at the length limit"]
    panel = page.locator("#panel").text_content()
    assert "FVE \u22120.30" in panel
    assert "rank 4 of 101" in panel
    assert "shuffled \u22121.10" in panel
    assert page.locator(".token[aria-pressed=true]").count() == 1
    assert page.locator(".token .value").nth(3).text_content() == "\u22120.30"


def test_the_keyboard_reaches_every_token(open_page) -> None:
    page = open_page(reading().to_html())
    assert page.locator('.token[tabindex="0"]').count() == 1
    page.locator('.token[tabindex="0"]').focus()
    page.keyboard.press("Home")
    assert page.locator("#panel .said").first.text_content() == f"{SAID} 0.0"
    assert "start at 1" in page.locator("#panel .mark").text_content()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.querySelector('.word').textContent") == " שלום"
    page.keyboard.press("ArrowDown")
    assert page.locator("#panel .said").first.text_content().split()[-1] in ("6.0", "7.0", "8.0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    assert page.locator("#panel .said").first.text_content() == f"{SAID} 8.0"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#panel .said").first.text_content() == f"{SAID} 7.0"


def test_colour_follows_the_fixed_scale(open_page) -> None:
    page = open_page(reading().to_html())
    tints = [node.evaluate("n => n.style.getPropertyValue('--tint')") for node in page.locator(".token").all()]
    assert "--below) 43.2%" in tints[0]
    assert "--accent) 38.5%" in tints[8]
    page.locator("#numbers").uncheck()
    assert not page.locator(".token .value").first.is_visible()


def test_finding_and_the_table(open_page) -> None:
    page = open_page(reading().to_html())
    page.locator("#find").fill("4.1")
    assert page.locator("#found").text_content() == "1 of 9"
    assert page.locator(".token.faded").count() == 8
    page.locator("#rows summary").click()
    page.wait_for_selector("#rows table")
    assert page.locator("#rows td.said").count() == 18


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_text_is_legible_in_both_schemes_and_fits_the_screen(open_page, scheme: str, width: int) -> None:
    page = open_page(reading().to_html(), color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("h1", ".lede", ".token .word", ".token .value", "#panel .said", "#panel .facts"):
        for node in page.locator(selector).all():
            assert node.evaluate(CONTRAST) >= 4.5, selector


# WCAG contrast of an element's own text with what lies behind it; the colours of color-mix come back as color(srgb …)
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
  const [a, b] = [light(rgb([getComputedStyle(node).color])), light(rgb(behind))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


def report() -> str:
    bars = [Bar("own <b>", 0.3, 0.25, 0.35, own=True), Bar("The mean", -0.14, -0.2, -0.1)]
    lines = [Series("Quotes", [(1, 0.1), (2, 0.3), (32, 0.8)], dots=True), Series("The words", [(20, 0.3)], own=True)]

    def drawing(name: str, lay) -> dict:
        return {"name": name, "title": "T", "about": "A", "wide": lay(720), "narrow": lay(340), "legend": lines}

    values = dict.fromkeys(("own", "learning", "commit", "command", "template_tokens"))
    values |= {"extras": [], "notes": [], "curves": [], "rows": [], "prompt": [], "lineage": [], "verdict": ["V"]}
    example = {
        "before": "<script>alert(1)</script>", "token": " end", "explanation": [(SAID, False)], "closed": True,
        "fve": 0.5, "rank": 3.0, "teacher": SAID,
    }  # fmt: skip
    return render(
        "report.html.j2", TEMPLATES, title="t", site="s", smoke=True, lede="l", versions={}, config="",
        dictionary=None, kinds=[],
        controls=drawing("controls", lambda width: dot_chart(bars, width)),
        frontier=drawing("frontier", lambda width: line_chart(lines, width=width, log2=True)),
        groups=[{"title": "G", "examples": [example]}], **values,
    )  # fmt: skip


@pytest.mark.parametrize(("width", "shown"), [(390, ".narrow"), (1200, ".wide")])
def test_the_report_draws_the_layout_that_fits(open_page, width: int, shown: str) -> None:
    page = open_page(report(), viewport={"width": width, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    visible = page.locator("svg:visible")
    assert visible.count() == 2
    assert all(node.evaluate(f"n => n.parentElement.matches('{shown}')") for node in visible.all())
    assert page.locator("svg:visible text.name.own").first.text_content() == "own <b>"
    assert page.locator(".example .said").text_content() == SAID
    assert page.get_by_role("img", name="T").count() == 2


def test_a_notebook_frame_runs_and_stays_inside(open_page) -> None:
    page = open_page(f"<p id=outer>outer</p>{reading()._repr_html_()}")
    frame = page.frame_locator("iframe")
    frame.locator(".token").nth(2).click()
    assert frame.locator("#panel .said").first.text_content() == f"{SAID} 2.0"
