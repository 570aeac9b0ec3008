"""A dataset is streamed, pinned to a revision, and named when it cannot be had: a local one stands in for the hub."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from nlae.corpus import Corpus, HubCorpus, build_corpus
from nlae.errors import NlaeError
from nlae.target import TinyTarget


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    records = [{"id": f"r{k}", "text": f"Record {k} tells a short story about the number {k}. " * 4} for k in range(9)]
    (path / "train.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    return path


def test_documents_stream_in_order(folder):
    documents = list(HubCorpus(dataset=str(folder)).documents())
    assert [document.id for document in documents] == [f"r{k}" for k in range(9)]
    assert documents[3].source == "r3"


def test_streamed_corpus_stops_at_its_limit(folder, tmp_path):
    source = HubCorpus(dataset=str(folder), max_documents=5, min_tokens=8)
    tokenizer = TinyTarget().load_tokenizer()
    build_corpus(source, tokenizer, tmp_path / "corpus")
    assert len(Corpus.open(tmp_path / "corpus")) == 5
    with pytest.raises(NlaeError, match=r"corpus\.max_documents must be set"):
        build_corpus(HubCorpus(dataset=str(folder)), tokenizer, tmp_path / "other")


def test_fingerprint_follows_content_and_revision(folder):
    before = HubCorpus(dataset=str(folder)).fingerprint()
    assert before == HubCorpus(dataset=str(folder)).fingerprint()
    (folder / "train.jsonl").write_text('{"text": "other"}')
    assert HubCorpus(dataset=str(folder)).fingerprint() != before
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert HubCorpus(dataset="owner/name", revision=commit).fingerprint() == f"hub-owner/name@{commit}/None/train"


def test_missing_field_names_what_there_is(folder, tmp_path):
    source = HubCorpus(dataset=str(folder), text_key="body", max_documents=5)
    with pytest.raises(NlaeError, match=r"record 0: no text under 'body' .*\(it has id, text\); .*\(9 of 9 records"):
        build_corpus(source, TinyTarget().load_tokenizer(), tmp_path / "corpus")


def test_the_commit_is_remembered_for_the_day_without_network(monkeypatch, tmp_path, caplog):
    import huggingface_hub

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    commits = {None: "a" * 40, "dev": "b" * 40}
    answer = lambda self, dataset, revision=None: SimpleNamespace(sha=commits[revision])  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", answer)
    online = [HubCorpus(dataset="owner/name", revision=revision).fingerprint() for revision in commits]
    assert caplog.messages == []

    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    assert [HubCorpus(dataset="owner/name", revision=revision).fingerprint() for revision in commits] == online
    assert "a" * 40 in caplog.messages[0]
    for never_seen in ({"dataset": "owner/other"}, {"dataset": "owner/name", "revision": "old"}):
        with pytest.raises(NlaeError, match="cannot be read: no route"):
            HubCorpus(**never_seen).fingerprint()
    (tmp_path / "nlae" / "revisions.json").write_text("{broken")
    with pytest.raises(NlaeError, match="cannot be read"):
        HubCorpus(dataset="owner/name").fingerprint()


def test_no_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    with pytest.raises(NlaeError, match="owner/name.*no route; check the name and the network") as caught:
        HubCorpus(dataset="owner/name").fingerprint()
    assert "\n" not in str(caught.value)
    with pytest.raises(NlaeError, match=r"needs corpus\.dataset"):
        HubCorpus().fingerprint()


def test_a_folder_whose_name_is_a_pattern_is_refused(tmp_path):
    """`datasets` would look for others of that pattern: `data 2` in place of `data [2024]`."""
    folder = tmp_path / "data [2024]"
    folder.mkdir()
    with pytest.raises(NlaeError, match="rename the folder"):
        HubCorpus(dataset=str(folder)).fingerprint()


def test_a_file_that_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(NlaeError, match=r"\.jsonl cannot be read \(Permission denied\): check its permissions"):
        HubCorpus(dataset=str(folder)).fingerprint()
