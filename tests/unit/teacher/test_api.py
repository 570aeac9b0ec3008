"""Teachers over HTTP: the protocols, consent, price, concurrency, and where the key does not go."""

import contextlib
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from nlae.errors import NlaeError
from nlae.teacher import AnthropicTeacher, OpenAITeacher
from nlae.teacher.base import TeacherContext
from remote_teacher import FAST, echo, openai, run


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


def test_concurrency_limit_is_kept_and_used(server, helpers, contexts, material, tmp_path):
    answer = echo(helpers)

    def slow(number: int, body: dict[str, Any]) -> Any:
        reply = answer(number, body)
        reply.delay = 0.1
        return reply

    server.script = slow
    run(openai(server, concurrency=3), contexts, material, tmp_path)
    assert server.most_active == 3


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


def test_the_line_before_the_first_call_names_what_goes_where(server, helpers, contexts, material, tmp_path):
    server.script = echo(helpers)
    lines: list[str] = []
    for number, settings in enumerate(({}, {"headers": {"X-Own": "value-of-a-header-1"}}, {"key_env": None})):
        teacher = openai(server, yes=False, **settings)
        with contextlib.suppress(NlaeError):
            run(teacher, contexts, material, tmp_path / str(number), ask=lambda line: bool(lines.append(line)))
    assert len(lines) == 2, "one's own server without a key asks nothing"
    assert f"texts with environment variable TEST_TEACHER_KEY go to {server.url}/v1" in lines[0]
    assert "environment variable TEST_TEACHER_KEY, header X-Own go to" in lines[1]
    assert not any("value-of-a-header" in line or helpers.KEY in line for line in lines)
    only = openai(server, yes=False, key_env=None, headers={"Authorization": "Bearer ${oc.env:ANY}"})
    assert only.paid, "a header may hold any environment variable"
    assert "unencrypted" in OpenAITeacher(model="m", base_url="http://elsewhere/v1", key_env="K").sends
    assert "what base_url holds" in OpenAITeacher(model="m", base_url="https://me:p@h/v1", key_env=None).sends


def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(server):
    with pytest.raises(NlaeError, match="the \\*name\\* of an environment variable") as failure:
        openai(server, key_env="sk-0123-4567-89ab")
    assert "0123" not in str(failure.value)


def test_an_answer_without_end_or_depth_is_junk(server, helpers, contexts, material, tmp_path, monkeypatch):
    monkeypatch.setattr("nlae.teacher.replies.LONGEST", 10_000)
    for number, body in enumerate((b"[" * 5_000, b" " * 20_000)):
        server.script = lambda _, __, body=body: helpers.Reply(body=body)
        with pytest.raises(NlaeError, match="junk"):
            run(openai(server, attempts=1), contexts, material, tmp_path / str(number))
