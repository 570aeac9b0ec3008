"""Bad input that needs a trained pair, a disk or a server: one clear line, a non-zero exit, nothing half-written.

What needs none of these is in `tests/bad_inputs`.
"""

import json
import os
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from nlae.cli import main

SMOKE = ["target=tiny", "debug=smoke", "logger=none"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A warm-started pair and what it was made from."""
    folder = tmp_path_factory.mktemp("made")
    assert main(["warmstart", *SMOKE, f"paths.artifacts={folder}"]) == 0
    return folder


@pytest.fixture
def work(made, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "artifacts"))


@pytest.fixture
def pair(work):
    return sealed(work, "warmstart")


@pytest.fixture
def refused(capsys):
    """Run a command that must fail; returns its one line."""

    def run(*words: str) -> str:
        capsys.readouterr()
        status = main(list(words))
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.startswith("nlae: error: ")]
        assert (status, len(lines), captured.out) == (2, 1, ""), (words, captured)
        assert "Traceback" not in captured.err
        assert captured.err.splitlines()[-1] == lines[0]
        return lines[0]

    return run


def sealed(artifacts: Path, stage: str) -> Path:
    (manifest,) = (artifacts / stage).glob("*/manifest.json")
    return manifest.parent


def left(artifacts: Path) -> list[str]:
    """Files of stages that are not whole; locks are no output."""
    found = [path for path in artifacts.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return [str(path) for path in found if not (path.parent / "manifest.json").is_file()]


def test_a_shard_that_was_cut_or_spoilt_is_named(work, refused):
    shard = sealed(work, "extract") / "shard-00000.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:1000])
    words = ["warmstart", *SMOKE, "seed=1", f"paths.artifacts={work}"]
    assert f"{shard} has 1000 bytes instead of {len(content)}: delete" in refused(*words)
    shard.write_bytes(content[:3000] + b"XXXX" + content[3004:])
    assert f"{shard} is damaged" in refused(*words)
    shard.write_bytes(content)
    assert main(words) == 0


def test_a_sidecar_that_disagrees_is_refused(pair, refused):
    words = ["explain", f"checkpoint={pair}", "text=hello", "logger=none"]
    text = (pair / "nla_meta.yaml").read_text()
    whole = yaml.safe_load(text)
    (site,) = whole["sites"]
    other = {**site["tokens"], "injection_token_id": 3}
    for changes, said in (
        ({"sites": [{**site, "tokens": other}]}, "tokens.injection_token_id is 3"),
        ({"target_fingerprint": "other"}, "weights have changed since"),
        ({"sites": [{**site, "layer": 77}]}, "site.layer=77 is out of range"),
        ({"kind": "something"}, "does not describe a natural language autoencoder"),
    ):
        (pair / "nla_meta.yaml").write_text(yaml.safe_dump({**whole, **changes}))
        assert said in refused(*words)
    (pair / "nla_meta.yaml").write_text(": [")
    assert "cannot be read" in refused(*words)
    (pair / "nla_meta.yaml").write_text(text)
    line = refused(*words, "prompt=paper")
    assert "prompt.name='paper', but the checkpoint has 'short'" in line
    assert len(line) < 600
    (pair / "heads.safetensors").write_bytes(b"\x10")
    assert "weights cannot be read" in refused(*words)


def test_a_full_disk_loses_nothing(tmp_path, refused):
    """On a real full disk, a small one in memory, which then grows."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2000k", "tmpfs", small], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        words = ["warmstart", *SMOKE, f"paths.artifacts={small}"]
        line = refused(*words)
        assert "is full" in line or "No space left" in line
        done = sorted(path.parent for path in small.rglob("manifest.json"))
        assert {path.parent.name for path in done} >= {"corpus"}
        assert not any((small / "warmstart").glob("*/manifest.json"))
        stamps = {path: path.stat().st_mtime_ns for folder in done for path in folder.iterdir()}
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert main(words) == 0
        assert sealed(small, "warmstart")
        assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    finally:
        subprocess.run(["umount", "-l", small], check=True)  # lazily: Arrow files are still mapped


@pytest.fixture
def teacher():
    """A server that answers as the test says: (status, body, delay in seconds)."""
    plan = {"answer": (200, b"", 0.0)}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body, delay = plan["answer"]
            time.sleep(delay)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, format, *args):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    plan["url"] = f"http://127.0.0.1:{server.server_port}"
    yield plan
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"", 4.0), "no answer within 2 s"),
        ((403, b'{"error": "no access"}', 0.0), "403"),
        ((200, b"<html>no answer</html>", 0.0), "teacher"),
        ((200, b'{"choices": []}', 0.0), "teacher"),
    ],
    ids=["times out", "refuses", "junk", "an answer without a text"],
)
def test_a_teacher_that_does_not_teach(answer, said, teacher, work, refused, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    teacher["answer"] = answer
    words = [*SMOKE, f"paths.artifacts={work}", "teacher=openai", "teacher.key_env=null", "teacher.model=any"]
    words += [
        f"teacher.base_url={teacher['url']}/v1",
        "teacher.timeout=2.0",
        "teacher.attempts=1",
        "+teacher.backoff=0",
    ]
    words += ["teacher.usd_per_million_input=0", "teacher.usd_per_million_output=0"]
    line = refused("describe", *words)
    assert said in line
    assert len(list((work / "describe").glob("*/manifest.json"))) == 1  # that of the other teacher
    text = json.dumps({"choices": [{"message": {"content": "<explanation>A harbour full of boats.</explanation>"}}]})
    teacher["answer"] = (200, text.encode(), 0.0)
    assert main(["describe", *words, "teacher.retry_failed=true"]) == 0
    assert len(list((work / "describe").glob("*/manifest.json"))) == 2


def test_a_target_that_is_not_there_is_asked_for_once(refused, tmp_path, monkeypatch):
    """Offline, as all tests are; a name that nobody has cached."""
    asked, waited, ask = [], [], HfApi.model_info
    monkeypatch.setattr(HfApi, "model_info", lambda self, name, **how: asked.append(name) or ask(self, name, **how))
    monkeypatch.setattr(time, "sleep", waited.append)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    refused("extract", "target=hub", "target.model=nobody/nothing", "logger=none", f"paths.artifacts={tmp_path}/a")
    assert asked == ["nobody/nothing"]
    assert waited == []
    assert left(tmp_path) == []
