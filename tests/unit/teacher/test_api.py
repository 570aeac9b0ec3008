import json
import logging
import subprocess
import sys
import textwrap
import threading
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nlae.errors import NlaeError
from nlae.teacher import AnthropicTeacher, OpenAITeacher
from nlae.teacher.base import Material, TeacherContext
from nlae.teacher.cache import AnswerCache
from nlae.teacher.describe import describe_contexts

FAST: dict[str, Any] = {"backoff": 0.01, "max_wait": 0.05, "timeout": 5.0, "yes": True}


def openai(server: Any, **settings: Any) -> OpenAITeacher:
    return OpenAITeacher(
        **{"model": "m", "base_url": f"{server.url}/v1", "key_env": "TEST_TEACHER_KEY", **FAST, **settings}
    )


def echo(helpers: SimpleNamespace) -> Any:
    def script(number: int, body: dict[str, Any]) -> Any:
        prefix = body["messages"][0]["content"].split("<text>\n")[1].split("\n</text>")[0]
        return helpers.Reply(body=helpers.chat(helpers.tagged(f"About {prefix.lower()}.")))

    return script


def run(teacher: Any, contexts: list[TeacherContext], material: Material, path: Path, **more: Any) -> dict[int, str]:
    return describe_contexts(teacher, contexts, material, path / "answers.jsonl", **more)


def test_every_context_is_answered_once(server, helpers, contexts, material, tmp_path):
    server.script = echo(helpers)
    texts = run(openai(server), contexts, material, tmp_path)
    assert texts[3] == "About the harbour number 3 was full of boats."
    assert set(texts) == set(range(12))
    assert len(server.requests) == 12
    assert set(server.paths) == {"/v1/chat/completions"}
    assert server.headers[0]["authorization"] == f"Bearer {helpers.KEY}"


def test_anthropic_speaks_the_messages_protocol(server, helpers, contexts, material, tmp_path):
    server.script = lambda n, body: helpers.Reply(body=helpers.messages(helpers.tagged("A harbour full of boats.")))
    teacher = AnthropicTeacher(model="m", base_url=server.url, key_env="TEST_TEACHER_KEY", **FAST)
    assert set(run(teacher, contexts, material, tmp_path).values()) == {"A harbour full of boats."}
    assert set(server.paths) == {"/v1/messages"}
    assert server.headers[0]["x-api-key"] == helpers.KEY
    assert server.headers[0]["anthropic-version"] == "2023-06-01"
    assert server.requests[0]["max_tokens"] == 200


def test_without_key_nothing_is_sent_and_nobody_is_asked(server, helpers, contexts, material, tmp_path):
    server.script = echo(helpers)
    teacher = openai(server, key_env=None, yes=False)
    assert not teacher.paid
    assert len(run(teacher, contexts, material, tmp_path, ask=lambda line: pytest.fail("asked"))) == 12
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, helpers, contexts, material, tmp_path, form):
    wait = "0.4" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    answer = echo(helpers)
    server.script = lambda n, body: (
        helpers.Reply(429, {"error": "slow down"}, {"Retry-After": wait}) if n == 1 else answer(n, body)
    )
    assert len(run(openai(server, max_wait=0.3), contexts[:1], material, tmp_path)) == 1
    assert server.times[1] - server.times[0] >= (0.4 if form == "seconds" else 0.9)


def test_server_errors_are_retried_with_growing_pauses(server, helpers, contexts, material, tmp_path):
    answer = echo(helpers)
    server.script = lambda n, body: helpers.Reply(503, {}) if n <= 3 else answer(n, body)
    teacher = openai(server, backoff=0.1, max_wait=5.0)
    assert len(run(teacher, contexts[:1], material, tmp_path)) == 1
    pauses = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True)] == [True] * 3


def test_timeout_is_retried(server, helpers, contexts, material, tmp_path):
    answer = echo(helpers)
    server.script = lambda n, body: helpers.Reply(delay=1.0) if n == 1 else answer(n, body)
    assert len(run(openai(server, timeout=0.3), contexts[:1], material, tmp_path)) == 1
    assert len(server.requests) == 2


JUNK = {
    "no tags": {"choices": [{"message": {"content": "A harbour full of boats."}}]},
    "never closed": {"choices": [{"message": {"content": "<explanation>A harbour full of"}}]},
    "empty": {"choices": [{"message": {"content": "<explanation> </explanation>"}}]},
    "null": {"choices": [{"message": {"content": None}}]},
    "no choices": {"choices": []},
    "wrong type": ["nonsense"],
    "not JSON": b"<html>gateway</html>",
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_junk_is_retried_then_recorded_as_failure(server, helpers, contexts, material, tmp_path, junk):
    answer = echo(helpers)
    server.script = lambda n, body: (
        helpers.Reply(body=junk) if "number 3 " in body["messages"][0]["content"] else answer(n, body)
    )
    teacher = openai(server, attempts=3, max_failed_share=0.2)
    texts = run(teacher, contexts, material, tmp_path)
    assert set(texts) == set(range(12)) - {3}
    assert len(server.requests) == 11 + 3
    run(teacher, contexts, material, tmp_path)  # a recorded failure is not asked again,
    assert len(server.requests) == 14
    server.script = answer
    assert 3 in run(openai(server, retry_failed=True), contexts, material, tmp_path)  # unless told to
    assert len(server.requests) == 15


def test_too_many_failures_stop_the_run(server, helpers, contexts, material, tmp_path):
    server.script = lambda n, body: helpers.Reply(body=helpers.chat("no tags here"))
    with pytest.raises(NlaeError, match=r"10 of 10 answers failed.*teacher\.max_failed_share"):
        run(openai(server, attempts=2), contexts, material, tmp_path)


def test_an_outage_is_asked_again_by_the_next_run(server, helpers, contexts, material, tmp_path):
    server.script = lambda n, body: helpers.Reply(500, {"error": "down"})
    with pytest.raises(NlaeError, match="status 500"):
        run(openai(server, attempts=2), contexts, material, tmp_path)
    server.script = echo(helpers)
    assert len(run(openai(server), contexts, material, tmp_path)) == 12


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_stops_at_once_in_one_line(server, helpers, contexts, material, tmp_path, status):
    server.script = lambda n, body: helpers.Reply(status, {"error": f"bad key {helpers.KEY}"})
    with pytest.raises(NlaeError, match="TEST_TEACHER_KEY") as caught:
        run(openai(server, concurrency=1), contexts, material, tmp_path)
    assert "\n" not in str(caught.value)
    assert helpers.KEY not in str(caught.value)
    assert len(server.requests) <= 2


def test_a_request_the_server_rejects_is_not_retried(server, helpers, contexts, material, tmp_path):
    server.script = lambda n, body: helpers.Reply(404, {"error": f"no such model; key {helpers.KEY}"})
    with pytest.raises(NlaeError, match=r"404.*no such model.*teacher\.model") as caught:
        run(openai(server, concurrency=1), contexts, material, tmp_path)
    assert helpers.KEY not in str(caught.value)
    assert len(server.requests) <= 2


def test_unreachable_server(contexts, material, tmp_path):
    teacher = OpenAITeacher(model="m", base_url="http://127.0.0.1:9", attempts=2, **FAST)
    with pytest.raises(NlaeError, match=r"cannot reach http://127\.0\.0\.1:9"):
        run(teacher, contexts, material, tmp_path)


@pytest.mark.parametrize(("key", "said"), [("", "is not set"), ("two words", "no valid key"), ("clé", "no valid key")])
def test_missing_or_broken_key(monkeypatch, contexts, material, tmp_path, key, said):
    monkeypatch.setenv("SOME_KEY", key)
    teacher = OpenAITeacher(model="m", base_url="http://127.0.0.1:9", key_env="SOME_KEY", **FAST)
    with pytest.raises(NlaeError, match=f"SOME_KEY.*{said}") as caught:
        run(teacher, contexts, material, tmp_path)
    assert not key or key not in str(caught.value)


def test_bad_address_is_named():
    with pytest.raises(NlaeError, match=r"teacher\.base_url"):
        OpenAITeacher(model="m", base_url="localhost:8000")


def test_concurrency_limit_is_kept_and_used(server, helpers, contexts, material, tmp_path):
    answer = echo(helpers)

    def slow(number: int, body: dict[str, Any]) -> Any:
        reply = answer(number, body)
        reply.delay = 0.1
        return reply

    server.script = slow
    run(openai(server, concurrency=3), contexts, material, tmp_path)
    assert server.most_active == 3


def test_a_resume_asks_only_what_is_missing(server, helpers, contexts, material, tmp_path):
    server.script = echo(helpers)
    run(openai(server), contexts[:5], material, tmp_path)
    assert len(server.requests) == 5
    texts = run(openai(server, concurrency=2, timeout=9.0), contexts, material, tmp_path)
    assert len(server.requests) == 12
    assert len(texts) == 12
    run(openai(server, model="other"), contexts, material, tmp_path)
    assert len(server.requests) == 24


def test_equal_prefixes_are_asked_once(server, helpers, material, tmp_path):
    server.script = echo(helpers)
    same = [TeacherContext(row, row, "The harbour was full of boats", [1, 2, 3]) for row in range(5)]
    assert len(run(openai(server), same, material, tmp_path)) == 5
    assert len(server.requests) == 1


_CHILD = """
    import sys
    from pathlib import Path
    from types import SimpleNamespace
    from nlae.teacher import OpenAITeacher
    from nlae.teacher.base import Material, TeacherContext
    from nlae.teacher.describe import describe_contexts
    from nlae.teacher.words import DocumentFrequencies
    url, path = sys.argv[1:]
    style = {"form": "sentences", "max_sentences": 2}
    prompt = SimpleNamespace(text="Say what the text is about.", style=style, max_tokens=64)
    material = Material(prompt=prompt, load_target=None, frequencies=lambda: DocumentFrequencies(0, {}, {}))
    contexts = [TeacherContext(r, r // 2, f"The harbour number {r} was full of boats", [1, 2, r]) for r in range(12)]
    teacher = OpenAITeacher(model="m", base_url=url, key_env="TEST_TEACHER_KEY", concurrency=1, yes=True)
    describe_contexts(teacher, contexts, material, Path(path))
"""


def test_killed_and_resumed_asks_nothing_twice(server, helpers, contexts, material, tmp_path):
    answer = echo(helpers)
    stuck = threading.Event()

    def script(number: int, body: dict[str, Any]) -> Any:
        reply = answer(number, body)
        if number == 7:
            stuck.set()
            reply.delay = 3.0
        return reply

    server.script = script
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_CHILD), f"{server.url}/v1", str(tmp_path / "answers.jsonl")]
    )
    assert stuck.wait(60)
    child.kill()  # while the seventh answer is under way
    child.wait()
    with (tmp_path / "answers.jsonl").open("ab") as handle:
        handle.write(b'{"key": "torn')  # a kill in the middle of a line
    server.script = answer
    texts = run(openai(server), contexts, material, tmp_path)
    assert len(texts) == 12
    asked = [body["messages"][0]["content"] for body in server.requests]
    # the answer that was under way is asked again, and at most one more that the kill caught before it was written
    assert 13 <= len(asked) <= 14
    assert len(set(asked)) == 12


def test_paid_calls_need_consent(server, helpers, contexts, material, tmp_path, monkeypatch):
    server.script = echo(helpers)
    priced = openai(server, yes=False, usd_per_million_input=100.0, usd_per_million_output=200.0)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(NlaeError, match=r"12 requests.*about \$0\.\d\d.*teacher\.yes=true"):
        run(priced, contexts, material, tmp_path)
    lines: list[str] = []
    with pytest.raises(NlaeError, match="not confirmed"):
        run(priced, contexts, material, tmp_path, ask=lambda line: bool(lines.append(line)))
    assert server.requests == []
    assert len(run(priced, contexts, material, tmp_path, ask=lambda line: True)) == 12
    run(priced, contexts, material, tmp_path, ask=lambda line: pytest.fail("nothing left to pay for"))


def test_estimate_grows_with_the_prefix_and_knows_the_price(contexts, material):
    teacher = OpenAITeacher(
        model="m", base_url="http://x", key_env="K", usd_per_million_input=1.0, usd_per_million_output=10.0
    )
    teacher.prepare(material)
    short = teacher.estimate(contexts)
    assert (short.requests, short.output_tokens) == (12, 1200)
    assert short.usd == pytest.approx((short.input_tokens + 12_000) / 1e6)
    longer = teacher.estimate([TeacherContext(0, 0, "x" * 4000, [])])
    assert longer.input_tokens - short.input_tokens // 12 == pytest.approx(1000, abs=20)


def test_the_key_is_nowhere(server, helpers, contexts, material, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    answer = echo(helpers)

    def script(number: int, body: dict[str, Any]) -> Any:
        if number in (1, 2):
            return helpers.Reply(500, {"error": f"key {helpers.KEY} is tired"})
        return helpers.Reply(body=b"junk") if "number 4 " in str(body) else answer(number, body)

    server.script = script
    teacher = openai(server, attempts=4, max_failed_share=0.5)
    run(teacher, contexts, material, tmp_path)
    out = capfd.readouterr()
    records = [record.getMessage() for record in caplog.records]
    everything = [*records, out.out, out.err, (tmp_path / "answers.jsonl").read_text(), repr(teacher)]
    everything += [json.dumps(teacher.identity()), repr(vars(teacher))]
    assert records
    assert not [text for text in everything if helpers.KEY in text]


def test_cache_survives_a_torn_last_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    with AnswerCache(path) as cache:
        cache.add("a", "first")
        cache.add("b", None)
    with path.open("ab") as handle:
        handle.write(b'{"key": "c", "te')
    with AnswerCache(path) as cache:
        assert (len(cache), cache["a"], cache["b"], "c" in cache) == (2, "first", None, False)
        cache.add("c", "third\nline")
    with AnswerCache(path) as cache:
        assert cache["c"] == "third\nline"


def test_full_disk_is_one_line(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "answers.jsonl").symlink_to("/dev/full")
    cache = AnswerCache(tmp_path / "answers.jsonl")
    with pytest.raises(NlaeError, match="free some space"), cache:
        cache.add("a", "text")
