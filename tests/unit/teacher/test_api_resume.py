"""What one run has been told, the next does not ask again."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from nlae.errors import NlaeError
from nlae.teacher.base import TeacherContext
from nlae.teacher.cache import AnswerCache
from remote_teacher import echo, openai, run


def test_an_outage_is_asked_again_by_the_next_run(server, helpers, contexts, material, tmp_path):
    server.script = lambda n, body: helpers.Reply(500, {"error": "down"})
    with pytest.raises(NlaeError, match="status 500"):
        run(openai(server, attempts=2), contexts, material, tmp_path)
    server.script = echo(helpers)
    assert len(run(openai(server), contexts, material, tmp_path)) == 12


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
