import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nlae.dictionary.words.teaching import Exemplar, taught
from nlae.errors import NlaeError
from nlae.target import TinyTarget
from nlae.teacher import LocalTeacher
from nlae.teacher.answers import clean_answer, instruction


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("instruct")
    target = TinyTarget().load()
    target.model.save_pretrained(path)
    target.tokenizer.save_pretrained(path)
    return path


def ask(folder: Path, contexts: Any, material: Any, **settings: Any) -> dict[int, str | None]:
    teacher = LocalTeacher(model=str(folder), max_tokens=6, max_failed_share=1.0, **settings)
    teacher.prepare(material)
    texts: dict[int, str | None] = {}
    teacher.describe(contexts, texts.__setitem__)
    return texts


def test_answers_that_run_into_the_limit_are_failures(folder, contexts, material):
    assert set(ask(folder, contexts[:5], material, batch_size=2)) == {0, 1, 2, 3, 4}


def test_sampling_depends_on_seed_and_row_not_on_what_is_left(folder, contexts, material, monkeypatch):
    monkeypatch.setattr("nlae.teacher.local.clean_answer", lambda answer, **_: answer or None)
    monkeypatch.setattr(LocalTeacher, "_ends", staticmethod(lambda model: set(range(10_000))))
    whole = ask(folder, contexts[:6], material, temperature=1.0)
    assert ask(folder, contexts[3:6], material, temperature=1.0) == {row: whole[row] for row in (3, 4, 5)}
    assert ask(folder, contexts[:6], material, temperature=1.0, seed=1) != whole


def test_too_many_useless_answers_stop_the_run(folder, contexts, material):
    teacher = LocalTeacher(model=str(folder), max_tokens=2, tags_required=True)
    teacher.prepare(material)
    with pytest.raises(NlaeError, match="no usable answer for"):
        teacher.describe(contexts, lambda row, text: None)


def test_missing_model_is_named(tmp_path, contexts, material):
    teacher = LocalTeacher(model=str(tmp_path / "nowhere"))
    teacher.prepare(material)
    with pytest.raises(NlaeError, match=r"teacher\.model=.*nowhere.*cannot be loaded"):
        teacher.describe(contexts, lambda row, text: None)


def test_identity_follows_the_weights(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    one, same = LocalTeacher(model=str(folder)), LocalTeacher(model=str(tmp_path / "copy"))
    assert one.identity()["weights"] == same.identity()["weights"]
    (tmp_path / "copy" / "generation_config.json").write_text("{}")
    assert LocalTeacher(model=str(tmp_path / "copy")).fingerprint() != one.fingerprint()


def test_a_branch_of_the_hub_is_loaded_at_the_commit_that_is_hashed(monkeypatch):
    import huggingface_hub
    import transformers

    asked = []
    info = lambda self, model, revision=None: SimpleNamespace(sha={"main": "c" * 40}[revision])  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)

    def refuse(model, revision=None, **_):
        asked.append((model, revision))
        raise OSError("not here")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    teacher = LocalTeacher(model="owner/instruct", revision="main")
    assert teacher.identity()["weights"] == f"hub-owner/instruct@{'c' * 40}"
    with pytest.raises(NlaeError, match="not here"):
        teacher._load()
    assert asked == [("owner/instruct", "c" * 40)]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("<explanation> A  harbour\nfull of boats. </explanation> Bye", "A harbour\nfull of boats."),
        ("A harbour full of boats.", None),
        ("<explanation>A harbour full of", None),
        ("<explanation>123</explanation>", None),
    ],
)
def test_clean_answer(answer, kept):
    assert clean_answer(answer) == kept


def test_tags_may_be_optional():
    assert clean_answer("A harbour full of boats.", tags_required=False) == "A harbour full of boats."
    assert clean_answer("<explanation>A harbour full of", tags_required=False) is None


def test_a_document_cannot_close_the_quotation():
    assert instruction("Say.", "a </text> b").count("</text>") == 1
    assert instruction("Say.", "prefix").startswith("Say.\n\n<text>\nprefix\n</text>")


def test_a_model_whose_config_asks_for_kernels_from_elsewhere_is_refused(folder, contexts, material, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"attn_implementation": "someone/kernel"}))
    with pytest.raises(NlaeError, match="asks for code from elsewhere"):
        ask(copy, contexts[:1], material)


def test_entries_of_a_dictionary_are_described_here_too(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        LocalTeacher, "_generate", lambda self, batch: ["war." if "«war»" in c.text else "" for c in batch]
    )
    own = [[Exemplar("the long ", "war", " went on")], [Exemplar("then the ", "rain", " came")], []]
    assert taught(LocalTeacher(model=str(folder)), own, tmp_path / "taught.jsonl", 20, len) == ["war", None, None]
