"""The embedded corpus is prose, from many works, and imports nothing that it reads."""

import subprocess
import sys

import pytest

from nlae.corpus import StdlibCorpus
from nlae.corpus import stdlib as module
from nlae.errors import NlaeError


@pytest.fixture(scope="module")
def documents():
    return list(StdlibCorpus().documents())


def test_many_works_with_unique_ids(documents):
    works = {document.source for document in documents}
    assert len(works) >= 150
    assert len({document.id for document in documents}) == len(documents)
    assert sum(work.startswith("topics/") for work in works) >= 40
    assert sum(len(document.text) for document in documents) > 500_000


def test_text_is_prose(documents):
    text = "\n".join(document.text for document in documents)
    assert ">>>" not in text
    assert "::=" not in text
    assert "``" not in text
    letters = sum(character.isalpha() or character.isspace() for character in text)
    assert letters / len(text) > 0.92


def test_fingerprint_repeats():
    assert StdlibCorpus().fingerprint() == StdlibCorpus(seed=3).fingerprint()


def test_nothing_is_imported():
    script = (
        "import sys; from nlae.corpus import StdlibCorpus; next(StdlibCorpus().documents());"
        "sys.exit(bool({'torch', 'transformers', 'datasets', 'tkinter', 'pydoc_data.topics'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_python_without_sources_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(NlaeError, match="has no Python sources"):
        StdlibCorpus().fingerprint()
