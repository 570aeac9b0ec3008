"""Judges over HTTP: the teachers' client, cache and consent, asked other questions by a real server's side."""

from typing import Any

import pytest
import torch

from nlae.dictionary.judge import AnthropicJudge, OpenAIJudge
from nlae.dictionary.judge.prompts import question
from nlae.dictionary.judge.run import log_odds
from nlae.errors import NlaeError
from remote_teacher import FAST

TEXTS = ["boats in the harbour", "a hill", "rain over the sea", "a harbour"]
ASKED = [question("the word “harbour”", text, "detection") for text in TEXTS]


def judge(server: Any, **settings: Any) -> OpenAIJudge:
    return OpenAIJudge(
        **{"model": "m", "base_url": f"{server.url}/v1", "key_env": "TEST_TEACHER_KEY", **FAST, **settings}
    )


def knows(helpers: Any, wrap: str = "chat") -> Any:
    def script(number: int, body: dict[str, Any]) -> Any:
        shown = body["messages"][0]["content"].rsplit("Text: ", 1)[1].split("\n")[0]
        return helpers.Reply(body=getattr(helpers, wrap)("Yes." if "harbour" in shown else "No, it is not."))

    return script


def test_answers_become_belief(server, helpers, tmp_path):
    server.script = knows(helpers)
    belief = judge(server).choose(ASKED, ("yes", "no"), cache=tmp_path / "judge.jsonl")
    assert belief.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert server.requests[0]["max_tokens"] == 8
    assert "Description: the word “harbour”" in server.requests[0]["messages"][0]["content"]


def test_the_messages_protocol_too(server, helpers):
    server.script = knows(helpers, "messages")
    asked = AnthropicJudge(model="m", base_url=server.url, key_env="TEST_TEACHER_KEY", **FAST)
    assert asked.choose(ASKED, ("yes", "no"))[:, 0].tolist() == [1, 0, 0, 1]
    assert set(server.paths) == {"/v1/messages"}


def test_nothing_is_asked_twice(server, helpers, tmp_path):
    server.script = knows(helpers)
    first = judge(server).choose(ASKED[:2] * 3, ("yes", "no"), cache=tmp_path / "judge.jsonl")
    assert len(server.requests) == 2
    both = judge(server).choose(ASKED, ("yes", "no"), cache=tmp_path / "judge.jsonl")
    assert len(server.requests) == 4
    assert torch.equal(both[:2], first[:2])


def test_nobody_pays_for_questions_about_a_neutral_description(server, helpers):
    server.script = knows(helpers)
    odds = log_odds(judge(server), [("the word “harbour”", text) for text in TEXTS], "detection")
    assert (odds > 0).tolist() == [True, False, False, True]
    assert len(server.requests) == len(TEXTS)


def test_an_answer_without_an_option_is_missing_not_guessed(server, helpers):
    right = knows(helpers)
    server.script = lambda n, body: (
        helpers.Reply(body=helpers.chat("Perhaps.")) if "a hill" in str(body) else right(n, body)
    )
    belief = judge(server, attempts=2, max_failed_share=0.5).choose(ASKED, ("yes", "no"))
    assert belief[1].isnan().all()
    assert belief[[0, 2, 3], 0].tolist() == [1, 0, 1]


def test_nobody_pays_unasked_and_the_message_names_the_judge(server, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(NlaeError, match=r"judge openai: 4 requests.*dictionary\.judge\.yes=true"):
        judge(server, yes=False).choose(ASKED, ("yes", "no"))
    assert server.requests == []


def test_refused_access_names_the_judge(server, helpers):
    server.script = lambda n, body: helpers.Reply(401, {"error": helpers.KEY})
    with pytest.raises(NlaeError, match="judge openai: .*refused access") as caught:
        judge(server).choose(ASKED, ("yes", "no"))
    assert helpers.KEY not in str(caught.value)


def test_identity_names_model_and_no_secret(server, helpers):
    assert judge(server).identity() == {
        "judge": "openai",
        "model": "m",
        "max_tokens": 8,
        "temperature": 0.0,
        "max_prefix_chars": 6000,
    }
