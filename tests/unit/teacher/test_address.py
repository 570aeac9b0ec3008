"""The line before the first call names the host that the request goes to, whatever signs the address holds."""

import io

import httpx
import pytest

from nlae.errors import NlaeError
from nlae.teacher.describe import ask_cached
from nlae.teacher.openai import OpenAITeacher


@pytest.mark.parametrize("sign", ["#", "?", "/#", "/?"])
def test_a_host_behind_a_fragment_or_a_query_is_none(sign: str) -> None:
    address = f"http://evil.example{sign}@good.example/v1"
    assert httpx.URL(address).host == "evil.example"
    with pytest.raises(NlaeError, match=r"base_url='http://evil\.example' is no http"):
        OpenAITeacher(model="m", base_url=address, key_env="K")


def test_what_is_shown_is_the_host_without_user_and_password() -> None:
    sends = OpenAITeacher(model="m", base_url="http://u:p@ss@host.example:80/v1", key_env=None).sends
    assert "go to http://host.example/v1 unencrypted" in sends
    assert "what base_url holds" in sends
    assert "ss@" not in sends


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.evil.example"])
def test_a_name_that_begins_like_this_machine_is_elsewhere(host: str) -> None:
    assert OpenAITeacher(model="m", base_url=f"http://{host}/v1").sends.endswith("unencrypted")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:80", "[::1]:8000"])
def test_ones_own_machine_needs_no_warning_and_no_consent(host: str) -> None:
    teacher = OpenAITeacher(model="m", base_url=f"http://{host}/v1", key_env=None)
    assert "unencrypted" not in teacher.sends
    assert not teacher.paid
    assert not teacher.needs_consent


SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    "given",
    [{"model": SECRET}, {"base_url": f"http://elsewhere.example/{SECRET}"}, {"headers": {"a": f"x {SECRET}"}}],
    ids=["model", "address", "header"],
)
def test_a_variable_that_a_config_puts_anywhere_is_named_and_asked_for(monkeypatch, given) -> None:
    monkeypatch.setenv("MY_DATABASE", SECRET)
    plain = {"model": "m", "base_url": "http://elsewhere.example/v1", "key_env": None}
    teacher = OpenAITeacher(**plain | given)
    assert teacher.needs_consent
    assert "environment variable MY_DATABASE" in teacher.sends
    assert "elsewhere.example" in teacher.sends


def test_a_server_elsewhere_is_asked_only_after_consent(contexts, tmp_path, monkeypatch) -> None:
    """Texts leave this machine, whether or not a key goes with them."""
    asked: list[str] = []
    monkeypatch.setattr(OpenAITeacher, "describe", lambda self, contexts, keep: asked.append("sent"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    teacher = OpenAITeacher(model="m", base_url="http://elsewhere.example/v1", key_env=None)
    with pytest.raises(NlaeError, match=r"elsewhere\.example.*nobody is there to confirm"):
        ask_cached(teacher, contexts, "m", tmp_path / "answers.jsonl", label="asking")
    assert not asked


def test_a_query_is_refused_and_not_repeated() -> None:
    with pytest.raises(NlaeError, match="without") as refused:
        OpenAITeacher(model="m", base_url="http://127.0.0.1/v1?sig=correct-horse", key_env=None)
    assert "horse" not in str(refused.value)
