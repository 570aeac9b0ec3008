"""Judges over HTTP: the teachers' client, cache and consent, asked other questions by a real server's side."""

from typing import Any

import pytest
import torch

from nlae.dictionary.judge.detection import Question
from nlae.dictionary.judge.remote import AnthropicJudge, OpenAIJudge
from nlae.errors import NlaeError
from remote_teacher import FAST

TEXTS = ["boats in the harbour", "a hill", "rain over the sea", "a harbour"]
ASKED = [Question("the word “harbour”", text) for text in TEXTS]


def judge(server: Any, **settings: Any) -> OpenAIJudge:
    return OpenAIJudge(
        **{"model": "m", "base_url": f"{server.url}/v1", "key_env": "TEST_TEACHER_KEY", **FAST, **settings}
    )


def knows(helpers: Any, wrap: str = "chat") -> Any:
    def script(number: int, body: dict[str, Any]) -> Any:
        shown = body["messages"][0]["content"].rsplit("Text: ", 1)[1].split("\n")[0]
        return helpers.Reply(body=getattr(helpers, wrap)("Yes." if "harbour" in shown else "No, it is not."))

    return script


def test_answers_become_odds(server, helpers, tmp_path):
    server.script = knows(helpers)
    odds = judge(server).odds(ASKED, tmp_path / "judge.jsonl")
    assert odds.tolist() == [1, -1, -1, 1]
    assert server.requests[0]["max_tokens"] == 8
    assert "Description: the word “harbour”" in server.requests[0]["messages"][0]["content"]


def test_the_messages_protocol_too(server, helpers, tmp_path):
    server.script = knows(helpers, "messages")
    asked = AnthropicJudge(model="m", base_url=server.url, key_env="TEST_TEACHER_KEY", **FAST)
    assert asked.odds(ASKED, tmp_path / "judge.jsonl").tolist() == [1, -1, -1, 1]
    assert set(server.paths) == {"/v1/messages"}


def test_nothing_is_asked_twice(server, helpers, tmp_path):
    server.script = knows(helpers)
    first = judge(server).odds(ASKED[:2] * 3, tmp_path / "judge.jsonl")
    assert len(server.requests) == 2
    both = judge(server).odds(ASKED, tmp_path / "judge.jsonl")
    assert len(server.requests) == 4
    assert torch.equal(both[:2], first[:2])


def test_an_answer_without_an_option_is_missing_not_guessed(server, helpers, tmp_path):
    right = knows(helpers)
    server.script = lambda n, body: (
        helpers.Reply(body=helpers.chat("Perhaps.")) if "a hill" in str(body) else right(n, body)
    )
    odds = judge(server, attempts=2, max_failed_share=0.5).odds(ASKED, tmp_path / "judge.jsonl")
    assert odds[1].isnan()
    assert odds[[0, 2, 3]].tolist() == [1, -1, 1]


def test_nobody_pays_unasked_and_the_message_names_the_judge(server, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(NlaeError, match=r"judge openai: 4 requests.*dictionary\.judge\.yes=true"):
        judge(server, yes=False).odds(ASKED, tmp_path / "judge.jsonl")
    assert server.requests == []


def test_refused_access_names_the_judge(server, helpers, tmp_path):
    server.script = lambda n, body: helpers.Reply(401, {"error": helpers.KEY})
    with pytest.raises(NlaeError, match="judge openai: .*refused access") as caught:
        judge(server).odds(ASKED, tmp_path / "judge.jsonl")
    assert helpers.KEY not in str(caught.value)
