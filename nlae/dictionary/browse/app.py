"""The pages over HTTP: overview, neuron, compare, search. Reading only, for a browser on this machine.

Content comes from models and corpora and is treated as hostile: every template escapes, and the policy sent with each
answer allows nothing but this server's own style and script, no inline code and no other origin.
"""

import bisect
import json
import random
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from nlae.dictionary.browse.neuron import lead, pieces, side
from nlae.dictionary.browse.overview import TEMPLATES, glance, map_data
from nlae.dictionary.entries import Dictionary
from nlae.dictionary.query import Finder, named
from nlae.errors import NlaeError
from nlae.page import render
from nlae.page.environment import asset

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
    "icon.svg": ("image/svg+xml", ("icon.svg",)),
}
LONGEST = 300  # characters of a query
PAGE = 25  # entries on one page of answers


def make_app(dictionary: Dictionary) -> Starlette:
    """The application that shows one dictionary, read on demand; its `state.pages` can be warmed up."""
    pages = Pages(dictionary)
    routes = [
        Route("/", pages.overview),
        Route("/map.json", pages.map),
        Route("/neuron/{layer}/{neuron}", pages.neuron),
        Route("/peek/{layer}/{neuron}", pages.peek),
        Route("/search", pages.search),
        Route("/compare", pages.compare),
        Route("/static/{name}", static),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=guarded),
            # a page elsewhere that lets its name resolve to this machine is turned away
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
        exception_handlers=dict.fromkeys((NlaeError, HTTPException, Exception), pages.problem),
    )
    app.state.pages = pages
    return app


async def guarded(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Add the headers to an answer."""
    answer = await call_next(request)
    answer.headers.update(HEADERS)
    return answer


class Pages:
    """One handler per page. All run on the server's one loop, one after the other, so that nothing is locked."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.finder = Finder(dictionary)

    def warm(self) -> None:
        """Read indexes, overview and searched texts, so that no first visitor waits for them."""
        self.finder.warm()
        _ = self._glance, self._map
        if self._neurons:
            self._both_signs(*self._neurons[0])

    @cached_property
    def _glance(self) -> dict[str, Any]:
        return glance(self.dictionary, self.dictionary.metrics)

    @cached_property
    def _map(self) -> bytes:
        return json.dumps(map_data(self.dictionary), separators=(",", ":")).encode()

    @cached_property
    def _neurons(self) -> list[tuple[int, int]]:
        """Layer and number of every neuron, in order."""
        return self.dictionary.overview.select("layer", "neuron").unique(maintain_order=True).rows()

    def _both_signs(self, layer: int, neuron: int) -> dict[str, Any]:
        sides = [side(self.dictionary, entry) for entry in self.dictionary.neuron(layer, neuron)]
        return {"layer": layer, "neuron": neuron, "sides": sides}

    def _page(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        facts = self.dictionary.facts
        common = {"query": "", "here": "", "lead": lead, "pieces": pieces, "made_up": bool(facts.get("made_up"))}
        values = {**common, "name": str(facts.get("target") or "a language model"), **values}
        return HTMLResponse(render(template, TEMPLATES, status=status, **values), status)

    async def overview(self, request: Request) -> Response:
        """Figures, the map, and which entry to look at if any will do."""
        anyone = random.choice(self._neurons) if self._neurons else None
        return self._page("overview.html.j2", here="overview", live=True, anyone=anyone, **self._glance)

    async def map(self, request: Request) -> Response:
        """Bytes of the map."""
        return Response(self._map, media_type="application/json")

    async def neuron(self, request: Request) -> Response:
        """Both signs of one neuron."""
        place = _place(request)
        shown, at = self._both_signs(*place), bisect.bisect_left(self._neurons, place)
        before = self._neurons[at - 1] if at else None
        after = self._neurons[at + 1] if at + 1 < len(self._neurons) else None
        return self._page("neuron.html.j2", before=before, after=after, **shown)

    async def peek(self, request: Request) -> Response:
        """The words of one neuron, for the map's tooltip."""
        entries = self.dictionary.neuron(*_place(request))
        said = [f"{lead(e.description)} {e.description}" if e.passes else "no description holds" for e in entries]
        return JSONResponse(said)

    async def search(self, request: Request) -> Response:
        """Entries that match words, or all of a layer."""
        asked = request.query_params
        query, place = _text(request, "q"), named(_text(request, "q"))
        if place is not None and place in self._neurons:
            return RedirectResponse(f"/neuron/{place[0]}/{place[1]}", 303)
        layer, page, passing = _whole(asked.get("layer")), _whole(asked.get("page")) or 1, asked.get("passing") == "yes"
        found = self.finder.find(query, layer=layer, passing=passing, start=(page - 1) * PAGE, limit=PAGE)
        last = max(1, -(-found.total // PAGE))
        kept = {"q": query, "layer": "" if layer is None else layer, "passing": "yes" if passing else ""}
        steps = {n: "/search?" + urlencode({**kept, "page": n}) for n in (page - 1, page + 1) if 1 <= n <= last}
        values = {"query": query, "layer": layer, "passing": passing, "page": page, "last": last, "size": PAGE}
        layers = [row["layer"] for row in self.dictionary.layers]
        return self._page("search.html.j2", here="search", found=found, steps=steps, layers=layers, **values)

    async def compare(self, request: Request) -> Response:
        """Two neurons side by side, or some to pick."""
        asked = [_text(request, key) for key in ("a", "b")]
        places = [named(text) for text in asked]
        unnamed = [text for text, place in zip(asked, places, strict=True) if text and place is None]
        shown = [self._both_signs(*place) for place in places if place is not None]
        offered = [] if shown else self._glance["pairs"]
        return self._page("compare.html.j2", here="compare", asked=asked, unnamed=unnamed, shown=shown, offered=offered)

    async def problem(self, request: Request, error: Exception) -> Response:
        """An answer for what is not there, and for when reading failed."""
        if isinstance(error, HTTPException):
            return self._page("error.html.j2", error.status_code, detail="There is no such page.")
        if isinstance(error, NlaeError):
            return self._page("error.html.j2", 404, detail=str(error))
        answer = self._page("error.html.j2", 500, detail=f"{type(error).__name__}: {error}")
        answer.headers.update(HEADERS)  # made outside of every middleware
        return answer


async def static(request: Request) -> Response:
    """Style, script and icon, ours."""
    if request.path_params["name"] not in STATIC:
        raise HTTPException(404)
    media, files = STATIC[request.path_params["name"]]
    return Response("\n".join(asset(name, TEMPLATES) for name in files), media_type=media)


def _place(request: Request) -> tuple[int, int]:
    place = named("{layer}.{neuron}".format(**request.path_params))
    if place is None:
        raise HTTPException(404)
    return place


def _text(request: Request, key: str) -> str:
    return request.query_params.get(key, "")[:LONGEST].strip()


def _whole(text: str | None) -> int | None:
    """A number of a URL; Python makes none of more than 4,300 digits."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
