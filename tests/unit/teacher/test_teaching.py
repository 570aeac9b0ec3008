"""Descriptions of entries by a teacher behind a real server: what it is shown, and what becomes of its answer."""

import re
from typing import Any

import pytest

from nlae.config.compose import compose_plain
from nlae.dictionary.words.teaching import MOST, Exemplar, excerpts, phrase, taught
from nlae.errors import NlaeError
from nlae.pipeline.fingerprint import declared, digest
from nlae.teacher import AnthropicTeacher, ContextTeacher
from remote_teacher import FAST, openai

WAR = [Exemplar("the long ", "war", " went on"), Exemplar("a fierce", " battle", " at sea")]
RAIN = [Exemplar("and then the", " rain", "\n\ncame down «hard»")]


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def knows(helpers: Any, wrap: str = "chat") -> Any:
    def script(number: int, body: dict[str, Any]) -> Any:
        marked = re.findall("^[0-9]+.*«(.*?)»", body["messages"][0]["content"], re.M)
        return helpers.Reply(body=getattr(helpers, wrap)(helpers.tagged(f'This neuron fires on "{marked[-1]}".')))

    return script


def test_entries_are_described_once_each_and_never_again(server, helpers, tmp_path):
    server.script = knows(helpers)
    found = taught(openai(server), [WAR, [], RAIN, WAR], tmp_path / "taught.jsonl", 20, count)
    assert found == ["battle", None, "rain", "battle"]
    assert len(server.requests) == 2
    asked = {body["messages"][0]["content"] for body in server.requests}
    (rain,) = [text for text in asked if "rain" in text]
    assert "1. and then the «rain» came down hard\n" in rain
    assert "at most 20 tokens" in rain
    assert taught(openai(server), [RAIN], tmp_path / "taught.jsonl", 20, count) == ["rain"]
    assert len(server.requests) == 2


def test_the_messages_protocol_too(server, helpers, tmp_path):
    server.script = knows(helpers, "messages")
    teacher = AnthropicTeacher(model="m", base_url=server.url, key_env="TEST_TEACHER_KEY", **FAST)
    assert taught(teacher, [RAIN], tmp_path / "taught.jsonl", 20, count) == ["rain"]


def test_nobody_pays_unasked(server, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(NlaeError, match=r"teacher openai: 2 requests.*nobody is there to confirm"):
        taught(openai(server, yes=False), [WAR, RAIN], tmp_path / "taught.jsonl", 20, count)
    assert server.requests == []


def test_where_the_teacher_gives_up_there_is_no_description(server, helpers, tmp_path):
    right = knows(helpers)
    server.script = lambda n, body: helpers.Reply(body={}) if "rain" in str(body) else right(n, body)
    teacher = openai(server, attempts=2, max_failed_share=0.9)
    assert taught(teacher, [WAR, RAIN], tmp_path / "taught.jsonl", 20, count) == ["battle", None]


def test_a_teacher_that_reads_no_exemplars_is_refused(tmp_path):
    with pytest.raises(NlaeError, match="the context teacher"):
        taught(ContextTeacher(), [WAR], tmp_path / "taught.jsonl", 20, count)


def test_excerpts_are_short_and_few():
    many = [Exemplar("x" * 500, "\n", "y" * 500)] * 40
    lines = excerpts(many).split("\n")
    assert len(lines) == MOST
    assert len(excerpts(many)) < 6000  # what the clients send of a text
    assert "x «↵»y" in lines[0]
    assert excerpts([Exemplar("say <", "b", "> now")]) == "1. say <«b»> now"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("  years of\nwars and battles. ", "years of wars and battles"),
        ("“years of war”", "years of war"),
        ("It activates mostly when a sentence begins", "a sentence begins"),
        ('the word "like" before "a"', 'the word "like" before "a"'),
        ('"like" and "as"', '"like" and "as"'),
        ("one, two, three, four, and the five", "one, two, three, four"),
        ("''", ""),
        ("", ""),
    ],
)
def test_an_answer_becomes_a_plain_phrase(answer, said):
    assert phrase(answer, 9, count) == said


def test_length_is_counted_by_the_tokenizer_that_is_given():
    assert phrase("aaa bbb ccc of ddd", 11, len) == "aaa bbb ccc"
    assert phrase("incomprehensible", 3, len) == ""


def test_a_teacher_is_named_once_and_where_it_is_served_changes_no_dictionary():
    def of(*words: str) -> str:
        named = ["target=tiny", "teacher=openai", "teacher.model=any", "dictionary=taught", *words]
        return digest(declared(compose_plain(named).config, ["dictionary"]))

    assert of("teacher.base_url=http://127.0.0.1:8000/v1", "teacher.concurrency=2") == of()
    assert of("teacher.model=other") != of()
