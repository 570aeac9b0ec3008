"""Answers that come late, broken or not at all: what is asked again, and what stops a run."""

import time
from email.utils import formatdate

import pytest

from nlae.errors import NlaeError
from nlae.teacher import OpenAITeacher
from remote_teacher import FAST, echo, openai, run


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
