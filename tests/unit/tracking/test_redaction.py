import pytest

from nlae.tracking import redact


@pytest.mark.parametrize("name", ["api_key", "apikey", "openai_api_key", "HF_TOKEN", "password", "client_secret"])
def test_secret_values_are_hidden_at_any_depth(name: str) -> None:
    assert redact({"teacher": [{name: "sk-123"}]}) == {"teacher": [{name: "***"}]}


@pytest.mark.parametrize("name", ["api_key_env", "max_tokens", "tokens", "monkey", "token_id"])
def test_harmless_names_are_kept(name: str) -> None:
    assert redact({name: "value"}) == {name: "value"}


def test_a_missing_secret_stays_missing() -> None:
    assert redact({"api_key": None}) == {"api_key": None}


def test_user_in_url_is_hidden_and_input_untouched() -> None:
    config = {"teacher": {"base_url": "http://me:pass@localhost:8000/v1"}}
    assert redact(config) == {"teacher": {"base_url": "http://***@localhost:8000/v1"}}
    assert config["teacher"]["base_url"].startswith("http://me:pass@")
