"""A real HTTP server on 127.0.0.1 whose behaviour each test scripts, and a prompt for teachers."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from nlae.teacher.base import Material, TeacherContext
from nlae.teacher.words import DocumentFrequencies

KEY = "sk-test-do-not-leak-8f3b2a"


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class FakeServer:
    """Counts what is asked; `script(n, body)` decides the answer to the n-th request."""

    url: str = ""
    script: Callable[[int, dict[str, Any]], Reply] = lambda n, body: Reply()
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def chat_answer(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def messages_answer(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def tagged(text: str) -> str:
    return f"<explanation>{text}</explanation>"


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.active += 1
                server.most_active = max(server.most_active, server.active)
                server.requests.append(body)
                server.paths.append(self.path)
                server.times.append(time.monotonic())
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                number = len(server.requests)
            try:
                reply = server.script(number, body)
                time.sleep(reply.delay)
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                with server.lock:
                    server.active -= 1
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEST_TEACHER_KEY", KEY)
    fake = FakeServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    http.daemon_threads = True
    http.block_on_close = False
    fake.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def helpers() -> SimpleNamespace:
    return SimpleNamespace(KEY=KEY, Reply=Reply, chat=chat_answer, messages=messages_answer, tagged=tagged)


@pytest.fixture
def material() -> Material:
    prompt = SimpleNamespace(
        text="Say what the text is about.", style={"form": "sentences", "max_sentences": 2}, max_tokens=64
    )

    def no_target() -> Any:
        raise AssertionError("this teacher must not load the target")

    return Material(prompt=prompt, load_target=no_target, frequencies=lambda: DocumentFrequencies(0, {}, {}))  # type: ignore[arg-type]


@pytest.fixture
def contexts() -> list[TeacherContext]:
    return [
        TeacherContext(row, row // 2, f"The harbour number {row} was full of boats", [1, 2, row]) for row in range(12)
    ]
