"""Secrets are planted wherever a command can be given one, and then looked for wherever it writes or speaks."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nlae.cli import main

CANARY = "canary"  # part of every secret below, in the middle of it
BASIC = base64.b64encode(b"me:canary-6-pass").rstrip(b"=")
ENVIRONMENT = {
    "MY_LLM": "key-canary-7f3e",  # named by key_env only
    "HF_TOKEN": "hf_canaryABCDEFGHIJKLMNOPQ",
}
HEADERS = {
    "x-api-key": "canary1",
    "Authorization": "Bearer canary-2-abcdef",
    "Cookie": "session=canary-3-abcdef; theme=dark",
    "X-Custom": "canary-4-of-an-unknown-name",
}
WORDS = [
    "target=tiny",
    "debug=smoke",
    "teacher=openai",
    "teacher.key_env=MY_LLM",
    "teacher.yes=true",
    "+teacher.backoff=0.01",
    "teacher.model=sk-canary-5-0123456789abcdef",
    *(f"+teacher.headers.{name}='{value}'" for name, value in HEADERS.items()),
]


@pytest.fixture
def server():
    """A teacher that answers, and now and then complains with the key in its mouth."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(dict(self.headers))
            said = f"about {len(seen)}, and {self.headers['Authorization']}"
            body = {"choices": [{"message": {"content": f"<explanation>{said}</explanation>"}}]}
            failed = len(seen) % 5 == 1
            data = json.dumps({"error": f"{dict(self.headers)}"} if failed else body).encode()
            self.send_response(500 if failed else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{running.server_port}"
    yield f"http://me:canary-6-pass@{address}/v1", address, seen
    running.shutdown()
    running.server_close()


@pytest.fixture
def planted(server, tmp_path, monkeypatch):
    """The words of a command, and a look at everything that it left behind."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    url = server[0]
    words = [
        *WORDS,
        f"teacher.base_url='{url}'",
        f"paths.artifacts={tmp_path}/artifacts",
        f"logger.dir={tmp_path}/wandb",
    ]

    def leaks(*more: str) -> list[str]:
        texts = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        texts |= {f"screen {i}": text.encode() for i, text in enumerate(more)}
        assert len(texts) > 5
        return [f"{name}: {text[max(0, text.find(b'canary') - 60) :][:120]!r}" for name, text in texts.items()
                if CANARY.encode() in text or BASIC in text]  # fmt: skip

    return words, leaks


def test_a_whole_report_holds_no_secret(planted, server, tmp_path, capfd):
    words, leaks = planted
    assert main(["report", *words]) == 0
    screen = capfd.readouterr()
    assert list(tmp_path.rglob("report.html"))
    assert leaks(*screen) == []
    # what was asked for was sent all the same, and its place and its variable were named
    sent = {name.lower(): value for name, value in server[2][0].items()}
    assert (sent["x-api-key"], sent["x-custom"]) == ("canary1", HEADERS["X-Custom"])
    assert sent["authorization"].startswith("Basic ")  # what stands in the address goes before the key
    assert "environment variable MY_LLM" in screen.err
    assert f"go to http://{server[1]}/v1" in screen.err


def test_neither_do_sweeps_errors_and_printed_configs(planted, capfd):
    words, leaks = planted
    assert main(["describe", "-m", "teacher.max_tokens=20,0", *words]) == 2  # the second job fails
    assert main(["describe", *words, "+teacher.password=canary-8-abcdef"]) == 2
    assert main(["describe", *words, "teacher.api_key=[canary-9"]) == 2
    assert main(["report", *words, "--cfg", "job"]) == 0
    screen = capfd.readouterr()
    assert "jobs failed" in screen.err
    assert "headers:" in screen.out
    assert leaks(*screen) == []


def test_redaction_does_not_change_what_is_reused(planted, capfd):
    words, _ = planted
    assert main(["describe", *words]) == 0
    first = capfd.readouterr().out.splitlines()[-1]
    assert main(["describe", *words]) == 0
    screen = capfd.readouterr()
    assert screen.out.splitlines()[-1] == first
    assert "up to date" in screen.err
