"""Asks a language model over HTTP, many prefixes at a time: what `openai` and `anthropic` share.

Retries: connection trouble, timeouts, 408, 409, 429, 5xx and junk answers, with exponential back-off that honours
Retry-After. 401 and 403 stop everything at once. The key is read from the environment when the first request is
made, lives only in the request header, and is cut out of whatever a server sends back. Left out: batch endpoints
(half the price, hours of delay).
"""

from __future__ import annotations

import abc
import logging
import os
import queue
import random
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, stop_after_attempt

from nlae.errors import NlaeError
from nlae.files.foreign import parse_json
from nlae.teacher import address
from nlae.teacher.answers import MIN_LETTERS, clean_answer, instruction
from nlae.teacher.base import Estimate, Material, OnResult, TeacherContext
from nlae.teacher.replies import RetryableError, hide, is_outage, retry_after, whole
from nlae.tracking import hide as hide_secrets
from nlae.tracking import learn
from nlae.tracking.redaction import secrets, variables_in

logger = logging.getLogger(__name__)
_RETRIED = frozenset({408, 409, 425, 429})
_MIN_ASKED = 10  # before this many answers a bad share says nothing
_SPARE = 2  # as many failures are never too many


@dataclass(kw_only=True)
class ApiTeacher(abc.ABC):
    """A teacher behind an HTTP endpoint; subclasses say how a request looks and where the text of an answer is.

    Attributes:
        model: name the server knows the model by.
        base_url: address without the last part of the path.
        key_env: name of the environment variable that holds the key; None for servers that want none.
        max_tokens: cap on an answer.
        temperature: of the server's sampling.
        concurrency: most requests at a time.
        timeout: seconds to wait for the server, per step of a request.
        attempts: tries per prefix, the first included.
        backoff: seconds before the second try, doubled each time.
        max_wait: most seconds between tries, unless the server asks for more (up to ten times as much).
        max_failed_share: share of prefixes given up on from which the run stops.
        max_prefix_chars: only the end of a longer prefix is sent.
        usd_per_million_input: price, None if unknown.
        usd_per_million_output: price, None if unknown.
        headers: further headers; what they hold is never written down, but a key belongs into `key_env`.
        retry_failed: ask again for prefixes that an earlier run gave up on before it stopped; one that finished is
            reused as it is.
        yes: agreed to pay.
    """

    asks_target = False

    name: ClassVar[str] = "api"
    role: ClassVar[str] = "teacher"  # as messages call it
    node: ClassVar[str] = "teacher"  # where it stands in the config
    instead: ClassVar[str] = "teacher=context"  # what needs no key

    model: str
    base_url: str
    key_env: str | None = None
    max_tokens: int = 200
    temperature: float = 0.0
    concurrency: int = 8
    timeout: float = 60.0
    attempts: int = 6
    backoff: float = 1.0
    max_wait: float = 60.0
    max_failed_share: float = 0.05
    max_prefix_chars: int = 6000
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_failed: bool = False
    yes: bool = False
    _instructions: str = field(default="", init=False, repr=False)
    _min_letters: int = field(default=MIN_LETTERS, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts", "max_tokens"):
            if getattr(self, name) < 1:
                raise NlaeError(f"{self.node}.{name}={getattr(self, name)} must be at least 1")
        if not address.is_address(self.base_url):
            raise NlaeError(
                f"{self.node}.base_url={self._where!r} is no http(s) address without ? and #; e.g. "
                "http://127.0.0.1:8000/v1"
            )
        self.base_url = self.base_url.rstrip("/")
        if self.key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.key_env):
            raise NlaeError(f"{self.node}.key_env is to be the *name* of an environment variable, not the key itself")

    @property
    def _where(self) -> str:
        """The address as it may be shown."""
        return hide_secrets(address.shown(self.base_url))

    @abc.abstractmethod
    def request(self, message: str, key: str | None) -> tuple[str, dict[str, str], dict[str, Any]]:
        """URL path, headers and JSON body of one question."""

    @abc.abstractmethod
    def read(self, answer: Any) -> str:
        """The text in a parsed answer; KeyError, IndexError or TypeError where it is not there."""

    def compose(self, text: str) -> str:
        """The user message about a text."""
        return instruction(self._instructions, text)

    def accept(self, answer: str) -> str | None:
        """What is kept of an answer; None if it is worth nothing."""
        return clean_answer(answer, min_letters=self._min_letters)

    @property
    def paid(self) -> bool:
        """False only where no key or header is sent and no price is set, as with one's own server."""
        return bool(self._secrets) or bool(self.usd_per_million_input or self.usd_per_million_output)

    @property
    def needs_consent(self) -> bool:
        """False only for a server on this machine that costs nothing and gets no secret."""
        return self.paid or not address.is_here(self.base_url)

    @property
    def _secrets(self) -> list[str]:
        """What is sent that need not be anybody's to read, named; a config may put any variable into any value."""
        # the name of this machine tells nobody anything
        url = httpx.URL(self.base_url).path if address.is_here(self.base_url) else self.base_url
        sent = [self.model, self._instructions, url, *map(str, self.headers.values())]
        named = {*variables_in(sent), *([] if self.key_env is None else [self.key_env])}
        found = [f"environment variable {name}" for name in sorted(named)]
        found += [f"header {name}" for name in self.headers]
        return found + (["what base_url holds beside the address"] if address.has_user(self.base_url) else [])

    @property
    def sends(self) -> str:
        """What goes where, for whoever is to agree to it."""
        plainly = self.base_url.startswith("http:") and not address.is_here(self.base_url)
        secrets = f" with {', '.join(self._secrets)}" if self._secrets else ""
        return f"texts{secrets} go to {self._where}{' unencrypted' if plainly else ''}"

    def identity(self) -> dict[str, Any]:
        """Model and sampling; where the server stands does not change the text."""
        kept = ("model", "max_tokens", "temperature", "max_prefix_chars")
        return {"teacher": self.name, **{key: getattr(self, key) for key in kept}}

    def prepare(self, material: Material) -> None:
        """Take the prompt's instructions."""
        self._instructions, self._min_letters = material.prompt.text, material.min_letters

    def estimate(self, contexts: Sequence[TeacherContext]) -> Estimate:
        """Tokens at four characters each; half of `max_tokens` per answer."""
        per_question = len(self.compose("")) // 4
        inputs = sum(per_question + min(len(c.text), self.max_prefix_chars) // 4 for c in contexts)
        outputs = len(contexts) * self.max_tokens // 2
        price_in, price_out = self.usd_per_million_input, self.usd_per_million_output
        usd = None if price_in is None or price_out is None else (inputs * price_in + outputs * price_out) / 1e6
        return Estimate(
            requests=len(contexts), input_tokens=inputs, output_tokens=outputs, usd=usd if self.paid else 0.0
        )

    def describe(self, contexts: Sequence[TeacherContext], on_result: OnResult) -> None:
        """Ask for every context, at most `concurrency` at a time.

        Raises:
            NlaeError: access refused, a request the server will never accept, or more failures than `max_failed_share`.
        """
        key = self._key()
        stop = threading.Event()
        done: queue.SimpleQueue[tuple[int, str | None, BaseException | None]] = queue.SimpleQueue()
        limits = httpx.Limits(max_connections=self.concurrency)
        with (
            httpx.Client(timeout=self.timeout, limits=limits, follow_redirects=False) as client,
            ThreadPoolExecutor(self.concurrency) as pool,
        ):
            for context in contexts:
                pool.submit(self._one, client, key, context, done, stop)
            try:
                self._collect(len(contexts), done, on_result)
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _collect(
        self, total: int, done: queue.SimpleQueue[tuple[int, str | None, BaseException | None]], on_result: OnResult
    ) -> None:
        failed, last = 0, ""
        for answered in range(1, total + 1):
            row, text, problem = done.get()
            if isinstance(problem, RetryableError):
                failed, last = failed + 1, str(problem)
                logger.warning(
                    "%s %s gave up on row %d after %d attempts: %s", self.role, self.name, row, self.attempts, last
                )
            elif problem is not None:
                raise problem
            if text is not None or not is_outage(last):
                on_result(row, text)
            enough = answered >= min(_MIN_ASKED, total)
            if enough and failed > max(_SPARE, self.max_failed_share * answered):
                raise NlaeError(
                    f"{self.role} {self.name}: {failed} of {answered} answers failed, last: {last}; check "
                    f"{self.node}.base_url and {self.node}.model, or raise {self.node}.max_failed_share; what was "
                    "answered is kept, so run the same command again to go on"
                )

    def _one(
        self,
        client: httpx.Client,
        key: str | None,
        context: TeacherContext,
        done: queue.SimpleQueue[tuple[int, str | None, BaseException | None]],
        stop: threading.Event,
    ) -> None:
        text: str | None = None
        problem: BaseException | None = None
        message = self.compose(context.text[-self.max_prefix_chars :])

        try:
            retrying = Retrying(
                stop=stop_after_attempt(self.attempts),
                wait=self._wait,
                retry=retry_if_exception_type(RetryableError),
                sleep=sleep_using_event(stop),
                reraise=True,
            )
            text = retrying(self._attempt, client, key, message, stop)
        except BaseException as error:  # handed to the caller's thread, which raises it
            problem = error
        done.put((context.row, text, problem))

    def _attempt(self, client: httpx.Client, key: str | None, message: str, stop: threading.Event) -> str:
        if stop.is_set():
            raise NlaeError(f"{self.role} {self.name}: stopped")
        path, headers, body = self.request(message, key)
        headers = {**self.headers, **headers}
        try:
            with client.stream("POST", self.base_url + path, headers=headers, json=body) as answer:
                said = whole(answer)
        except httpx.TimeoutException:
            raise RetryableError(f"no answer within {self.timeout:g} s") from None
        except httpx.TransportError as error:
            raise RetryableError(f"cannot reach {self._where} ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise NlaeError(
                f"{self.node}.base_url={self._where!r}: {type(error).__name__}; give an http(s) address"
            ) from None
        sent = list(secrets({"token": key, "headers": headers, "url": str(answer.request.url)}))
        self._check(answer, said, sent)
        try:
            text = self.accept(hide(self.read(parse_json(said)), *sent))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise RetryableError("junk: the answer is not the JSON that this kind of server sends") from None
        if text is None:
            raise RetryableError("junk: the answer holds nothing that was asked for")
        return text

    def _check(self, answer: httpx.Response, body: bytes, sent: Sequence[str]) -> None:
        if answer.status_code < 300:
            return
        said = hide(" ".join(body[:2000].decode("utf-8", "replace").split())[:200], *sent)
        if answer.status_code in (401, 403):
            where = (
                f"environment variable {self.key_env}"
                if self.key_env
                else f"{self.node}.key_env (null: no key was sent)"
            )
            raise NlaeError(
                f"{self.role} {self.name}: {self._where} refused access ({answer.status_code}); check {where}"
            )
        if answer.status_code in _RETRIED or answer.status_code >= 500:
            raise RetryableError(f"status {answer.status_code}: {said}", retry_after(answer))
        raise NlaeError(
            f"{self.role} {self.name}: {self._where} answers {answer.status_code}: {said}; "
            f"check {self.node}.model and {self.node}.base_url"
        )

    def _wait(self, state: RetryCallState) -> float:
        """Exponential back-off with jitter, never shorter than what the server asked for."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.wait if isinstance(error, RetryableError) else None
        grown = min(self.max_wait, self.backoff * 2 ** (state.attempt_number - 1))
        jittered = grown * (0.5 + random.random() / 2)  # spreads load, decides nothing
        return float(jittered if asked is None else max(jittered, min(asked, 10 * self.max_wait)))

    def _key(self) -> str | None:
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise NlaeError(
                f"{self.role} {self.name}: environment variable {self.key_env} is not set; "
                f"export it, or choose {self.instead}"
            )
        learn(None, key)
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise NlaeError(
                f"{self.role} {self.name}: environment variable {self.key_env} holds no valid key (blanks or odd signs)"
            )
        return key
