"""A teacher behind the real server of the tests, what that server answers, and one run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nlae.teacher import OpenAITeacher
from nlae.teacher.base import Material, TeacherContext
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
