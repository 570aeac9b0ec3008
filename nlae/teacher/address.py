"""The address of a server as whoever agrees to a request must read it: the host that is really asked, and no secrets.

Read by the library that sends the request, so that no sign in an address means one thing here and another there.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re

import httpx

_PLAIN = re.compile(r"https?://[^\s?#]+")  # a path is put behind it, which a query or a fragment would swallow


def is_address(text: str) -> bool:
    """Whether it is an http(s) address of a server, without query and fragment."""
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        return _PLAIN.fullmatch(text) is not None and bool(httpx.URL(text).host)
    return False


def shown(text: str) -> str:
    """Scheme, host, port and path; what cannot be read is not shown at all."""
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        url = httpx.URL(text)
        return f"{url.scheme}://{url.netloc.decode()}{url.path.rstrip('/')}"
    return "(unreadable)"


def has_user(text: str) -> bool:
    """Whether an address holds a user or a password."""
    return bool(httpx.URL(text).userinfo)


def is_here(text: str) -> bool:
    """Whether the host of an address is this machine."""
    host = httpx.URL(text).host
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
