"""The one redaction: keeps secrets out of whatever is written down or shown, by key and by value.

`redact` goes through configs, manifests and statuses; `hide` through a line of text: a log record, an error, a command.
What stood under a secret-sounding key once is hidden everywhere from then on, whatever the text around it. Data is left
as it is: documents, explanations and tables may hold what merely looks like a secret.
"""

import base64
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["hide", "learn", "redact", "variables_in"]

HIDDEN = "***"
SHORTEST = 6  # a shorter value is hidden under its key, but not wherever else it occurs
_NAME = (
    r"(?:(?:api|access|secret|private|subscription|account|signing|encryption)_?keys?|secrets?|pass(?:words?|wds?|phrases?)|pwd"
    r"|token|authorization|auth|cookies?|credentials?|bearer|signature|sig|jwt|session_?id)"
)
SECRET_NAME = re.compile(rf"(?:^|_){_NAME}$")
WORDS_OF_MODELS = re.compile(
    r"(?:^|_)(?:bos|eos|pad|unk|sep|cls|mask|start|end|stop|first|last|next|special|per)_token$"
)
HEADERS = re.compile(r"(?:^|_)headers?$")
# repetitions are bounded where a hostile text could make a search take forever
URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{0,20}://)([^\s'\"<>]*)")
# as those who issue them write them
TOKENS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abeoprs]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{30,}|(?<=Basic )[A-Za-z0-9+/]{8,}=*)"
)
BEARER = re.compile(r"(?<=Bearer )\b[\w.~+/-]{8,}=*")
# tried once a word, where two dots follow: tried at every eyJ, a long word of them would be read over and over
JWT = re.compile(r"(?<![\w-])(?=[\w-]++\.[\w-]{8,}+\.)[\w-]*?\beyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*")
# what follows = and : after a name
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&}\])]+)"
VALUE = re.compile(_VALUE)
# The end of a name, as of x-api-key=…, in overrides and queries; what stands before it is read only where = follows.
# First letters come first, here and below, as the search goes over long texts letter by letter.
SAID = re.compile(rf"(?=[a-ceijps-t]){_NAME.replace('_?', '[-_]?')}[\"']?=", re.IGNORECASE)
BACKWARDS = re.compile(r"[^\w.-].*", re.DOTALL)  # from the first sign that is none of a name's
LONGEST = 80  # what is read of a name
# `x-api-key: …` and `'password': '…'`; words that a sentence puts before a colon (token, auth) are not taken for names
QUOTED_SAID = re.compile(
    r"((?=[acps])(?:(?:api|access|secret|private)[-_]?key|password|passwd|cookie|authorization)s?"
    rf"[\"']?\s{{0,3}}:\s{{0,3}})(?!Bearer |Basic ){_VALUE}",
    re.IGNORECASE,
)
HEADER_SAID = re.compile(r"(\bheaders(?:\.[\w-]++)?[\"']?=)(?:\{[^}]{0,3000}+\}|\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE)
_known: set[str] = set()


def redact(value: Any) -> Any:
    """A copy of nested dicts and lists without secrets: `***` for values under secret-sounding names and all headers.

    In other strings users, passwords and queries of URLs are hidden, tokens as their issuers write them, and whatever
    `learn` has seen. A name that holds the *name* of an environment variable (`api_key_env`) is kept: it is no secret.
    """
    learn(value)
    return _redact(value)


def hide(text: str) -> str:
    """A text without secrets."""
    for secret in sorted({*_known, *_environment()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = URL.sub(_plain_url, text)
    text = BEARER.sub(HIDDEN, text)
    if "eyJ" in text:
        text = JWT.sub(HIDDEN, text)
    text = TOKENS.sub(HIDDEN, text)
    if "=" in text:
        text = HEADER_SAID.sub(rf"\1{HIDDEN}", text)
    if ":" in text:
        text = QUOTED_SAID.sub(rf"\1{HIDDEN}", text)
    return _hide_said(text) if "=" in text else text


def _hide_said(text: str) -> str:
    """Without the values of `name=value` where the name is a secret's."""
    kept, done = [], 0
    for found in SAID.finditer(text):
        if found.start() < done:  # in a value
            continue
        before = text[max(done, found.start() - LONGEST) : found.start()]
        name = BACKWARDS.sub("", before[::-1])[::-1] + found[0].rstrip("='\"")
        value = VALUE.match(text, found.end()) if is_secret(name) else None
        if value is not None:
            kept += [text[done : found.end()], HIDDEN]
            done = value.end()
    return "".join([*kept, text[done:]])


def learn(value: Any, *more: str) -> None:
    """Remember every secret in nested dicts and lists, and in environment variables that they name (`…_env`).

    Args:
        value: a config, or part of one.
        more: secrets themselves.
    """
    _known.update(secrets(value), (secret for secret in more if len(secret) >= SHORTEST))


def _redact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {hide(name) if isinstance(name, str) else name: _entry(str(name), one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(entry) for entry in value]
    return hide(value) if isinstance(value, str) else value


def _entry(name: str, entry: Any) -> Any:
    if entry is None:
        return None
    if is_secret(name) and not isinstance(entry, bool | Mapping):
        return HIDDEN
    if is_secret(name) or HEADERS.search(_norm(name)):  # cookies: {sid: …}
        return dict.fromkeys(entry, HIDDEN) if isinstance(entry, Mapping) else HIDDEN
    return _redact(entry)


def is_secret(name: str) -> bool:
    """Whether what stands under a key of this name is a secret, in whatever case and with whatever signs between."""
    name = _norm(name)
    return SECRET_NAME.search(name) is not None and WORDS_OF_MODELS.search(name) is None


def _norm(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()


def secrets(value: Any) -> Iterator[str]:
    """Every secret in nested dicts and lists, those of URLs and of environment variables that are named included."""
    yield from (secret for secret in _secrets(value) if len(secret) >= SHORTEST)


def _secrets(value: Any, name: str = "", header: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _secrets(entry, str(key), bool(HEADERS.search(_norm(name))) or is_secret(name))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _secrets(entry, name, header)
    elif isinstance(value, str):
        if is_secret(name):
            yield value
        if is_secret(name) or header:
            # "Bearer x", "session=x; other=y": the parts too; of a harmless-looking header only what looks random
            words = re.split(r"[\s;=]+", value)
            yield from (word for word in words if len(word) >= 12 and re.search(r"\d", word))
        if _norm(name).endswith("_env"):
            yield os.environ.get(value, "").strip()
        yield from _of_urls(value)


def _of_urls(text: str) -> Iterator[str]:
    for found in URL.finditer(text):
        try:
            parts = urlsplit(found[0])
            password = parts.password
        except ValueError:
            continue
        if password:
            pair = f"{unquote(parts.username or '')}:{unquote(password)}"
            yield from (password, unquote(password), base64.b64encode(pair.encode()).decode().rstrip("="))
        yield from (value for name, value in parse_qsl(parts.query) if is_secret(name) or len(value) >= 12)


def _plain_url(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2]
    place, mark, _ = rest.partition("?")
    before, _, behind = place.rpartition("@")
    _, colon, port = before.partition("/")[0].partition(":")
    if "/" in before and colon and not port.isdigit():  # no port: a password with a slash
        place = f"{HIDDEN}@{behind}"
    host, slash, path = place.partition("/")
    _, at, host = host.rpartition("@")
    return f"{scheme}{HIDDEN if at else ''}{at}{host}{slash}{path}{f'?{HIDDEN}' if mark else ''}"


def _environment() -> Iterator[str]:
    """Values of environment variables that are secrets by their names; the shell's PWD and other places are none."""
    for name, value in os.environ.items():
        if is_secret(name) and may_be_secret(value):
            yield value


def may_be_secret(value: str) -> bool:
    """Whether what an environment variable holds may be one: long enough, and no place on this machine."""
    return len(value) >= 8 and not os.path.exists(value)


def variables_in(texts: Iterable[str]) -> list[str]:
    """Names of the environment variables whose values stand in these texts, however they came there."""
    whole = "\n".join(texts)
    return sorted(name for name, value in os.environ.items() if may_be_secret(value) and value in whole)
