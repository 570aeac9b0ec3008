"""The pages over HTTP: overview, neuron, compare, search, about. Reading only, for a browser on this machine.

Content comes from models and corpora and is treated as hostile: every template escapes, and the policy sent with each
answer allows nothing but this server's own style and script, no inline code and no other origin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nlae.dictionary.browse.neuron import in_common, lead, pieces
from nlae.dictionary.browse.view import PAGE, DictionaryView
from nlae.dictionary.entries import Dictionary
from nlae.dictionary.query import ORDERS, named
from nlae.dictionary.schema import COLUMNS, GRADES, Entry
from nlae.errors import NlaeError
from nlae.page import render
from nlae.page.environment import asset

TEMPLATES = Path(__file__).parent / "templates"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
# names in a URL -> media type and the files that make it
STATIC: dict[str, tuple[str, tuple[str, ...]]] = {
    "style.css": ("text/css", ("base.css", "charts.css", "dictionary.css")),
    "map.js": ("text/javascript", ("map.js",)),
    "keys.js": ("text/javascript", ("keys.js",)),
    "icon.svg": ("image/svg+xml", ("icon.svg",)),
}
LONGEST = 300  # characters of a query
Handler = Callable[[Request], Response]


class Number(Convertor[int]):
    """Starlette's own takes any number of digits, and Python makes no integer of more than 4,300."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        """The number in a path."""
        return int(value)

    def to_string(self, value: int) -> str:
        """The number as a path has it."""
        return str(value)


register_url_convertor("number", Number())


class Guarded:
    """Adds the headers to every answer, errors included.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


def make_app(dictionary: Dictionary) -> Starlette:
    """The application that shows one dictionary.

    Args:
        dictionary: opened; it is read on demand.
    """
    pages = Pages(DictionaryView(dictionary))
    routes = [
        Route("/", pages.overview),
        Route("/map.json", pages.map),
        Route("/neuron/{layer:number}/{neuron:number}", pages.neuron),
        Route("/peek/{layer:number}/{neuron:number}", pages.peek),
        Route("/search", pages.search),
        Route("/compare", pages.compare),
        Route("/random", pages.random),
        Route("/about", pages.about),
        Route("/static/{name}", static),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guarded),
            # a page elsewhere that lets its name resolve to this machine is turned away
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
        exception_handlers={HTTPException: pages.refused, Exception: pages.broken},
    )
    app.state.view = pages.view
    return app


def found(handler: Callable[[Any, Request], Response]) -> Callable[[Any, Request], Response]:
    """What a handler cannot find becomes a page that says so."""

    @functools.wraps(handler)
    def guarded(self: Any, request: Request) -> Response:
        try:
            return handler(self, request)
        except NlaeError as error:
            raise HTTPException(404, str(error)) from error

    return guarded


class Pages:
    """One handler per page; synchronous, as all of them read files.

    Args:
        view: what is shown.
    """

    def __init__(self, view: DictionaryView) -> None:
        self.view = view
        self._draw = np.random.default_rng()

    def _page(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        common = {"name": self.view.name, "made_up": bool(self.view.dictionary.facts.get("made_up"))}
        values = {"query": "", "here": "", **common, **values}
        return HTMLResponse(render(template, TEMPLATES, status=status, **values), status)

    def overview(self, request: Request) -> Response:
        """Figures, the map, curves."""
        layers = sorted(self.view.dictionary.layers, key=lambda row: int(row["layer"]))
        return self._page("overview.html.j2", here="overview", layers=layers, live=True, **self.view.glance)

    def map(self, request: Request) -> Response:
        """Bytes of the map."""
        return Response(self.view.map, media_type="application/json")

    @found
    def neuron(self, request: Request) -> Response:
        """Both signs of one neuron."""
        layer, neuron = request.path_params["layer"], request.path_params["neuron"]
        entries = self.view.pages(layer, neuron)
        before, after = self.view.neighbours(layer, neuron)
        return self._page(
            "neuron.html.j2", layer=layer, neuron=neuron, sides=self.view.sides(entries), before=before, after=after
        )

    @found
    def peek(self, request: Request) -> Response:
        """The words of one neuron, for the map's tooltip."""
        entries = self.view.pages(request.path_params["layer"], request.path_params["neuron"])
        return JSONResponse([_words(entry) for entry in entries])

    def search(self, request: Request) -> Response:
        """Entries that match words, or all of a layer."""
        asked = request.query_params
        query = asked.get("q", "")[:LONGEST].strip()
        place = named(query)
        if place is not None and place[0] in self.view.neurons and place[1] in self.view.neurons[place[0]]:
            return RedirectResponse(f"/neuron/{place[0]}/{place[1]}", 303)
        layer, page = _whole(asked.get("layer")), max(1, _whole(asked.get("page")) or 1)
        passing, order = asked.get("passing") == "yes", asked.get("order", "relevance")
        order = order if order in ORDERS else "relevance"
        result = self.view.find(query, layer, passing, order, page)
        kept = {"q": query, "layer": layer, "passing": "yes" if passing else None, "order": order}
        kept = {key: value for key, value in kept.items() if value not in (None, "", "relevance")}
        last = max(1, -(-result.total // PAGE))
        asked_for = {"query": query, "layer": layer, "passing": passing, "order": order, "page": page, "last": last}
        steps = {
            "before": _link("/search", {**kept, "page": page - 1}) if page > 1 else None,
            "after": _link("/search", {**kept, "page": page + 1}) if page < last else None,
        }
        shown = {"found": result, "size": PAGE, "layers": list(self.view.neurons), "pieces": pieces, "lead": lead}
        return self._page("search.html.j2", here="search", **asked_for, **steps, **shown)

    @found
    def compare(self, request: Request) -> Response:
        """Two neurons side by side."""
        asked = [request.query_params.get(key, "")[:LONGEST].strip() for key in ("a", "b")]
        pairs: list[tuple[Entry, ...]] = []
        problem = ""
        for text in asked:
            place = named(text) if text else None
            if text and place is None:
                problem = f"“{text}” names no neuron: write layer.neuron, such as 12.345"
            if place is not None:
                pairs.append(self.view.pages(*place))
        sides = [{"layer": pair[0].layer, "neuron": pair[0].neuron, "sides": self.view.sides(pair)} for pair in pairs]
        common = in_common(pairs[0], pairs[1]) if len(pairs) == 2 else []
        offered = [] if pairs else self.view.pairs
        values = {
            "asked": asked,
            "problem": problem,
            "shown": sides,
            "common": common,
            "offered": offered,
            "lead": lead,
        }
        return self._page("compare.html.j2", here="compare", **values)

    @found
    def random(self, request: Request) -> Response:
        """Any neuron."""
        layer, neuron = self.view.random(self._draw)
        return RedirectResponse(f"/neuron/{layer}/{neuron}", 303)

    def about(self, request: Request) -> Response:
        """Every column in one sentence."""
        facts = self.view.dictionary.facts
        rules = {"bar": facts.get("bar"), "min_auroc": facts.get("min_auroc", GRADES["fair"])}
        return self._page("about.html.j2", here="about", columns=COLUMNS, facts=_plain(facts), rules=rules)

    def refused(self, request: Request, error: Exception) -> Response:
        """An answer for what is not there."""
        assert isinstance(error, HTTPException)
        detail = "There is no such page." if error.detail == "Not Found" else error.detail
        return self._page("error.html.j2", error.status_code, detail=detail)

    def broken(self, request: Request, error: Exception) -> Response:
        """An answer when reading failed."""
        detail = f"{type(error).__name__}: {error}"
        answer = self._page("error.html.j2", 500, detail=detail)
        answer.headers.update(HEADERS)  # made outside of every middleware
        return answer


def static(request: Request) -> Response:
    """Style, script and icon, ours."""
    if request.path_params["name"] not in STATIC:
        raise HTTPException(404)
    media, files = STATIC[request.path_params["name"]]
    return Response("\n".join(asset(name, TEMPLATES) for name in files), media_type=media)


def _words(entry: Entry) -> dict[str, Any]:
    said = f"{lead(entry.description)} {entry.description}" if entry.passes else "no description holds"
    return {"sign": entry.sign, "passes": entry.passes, "text": said}


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _link(path: str, values: dict[str, Any]) -> str:
    return f"{path}?{urlencode(values)}"


def _plain(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts that fit on a line."""
    shown = {key: value for key, value in facts.items() if not isinstance(value, list | dict)}
    return [(key.replace("_", " "), str(value)) for key, value in shown.items()]
