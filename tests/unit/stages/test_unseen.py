"""A pair is never tested on a document that it was trained on, wherever pair and corpus come from."""

from types import SimpleNamespace

import pytest

from nlae.errors import NlaeError
from nlae.pipeline.context import StageContext
from nlae.stages import export
from nlae.stages.evaluate import TRAINING_DOCUMENTS, check_unseen


def corpus(**splits):
    return SimpleNamespace(document_hashes=lambda split: splits[split])


@pytest.mark.parametrize("place", ["", "av"], ids=["our folder", "reference layout"])
def test_only_new_documents_are_tested(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / TRAINING_DOCUMENTS).write_text("aa\nbb\ncc\n")
    check_unseen(corpus(train=["aa", "bb"], test=["dd"]), tmp_path)
    check_unseen(corpus(train=["xx"], test=["yy"]), tmp_path)  # another corpus
    with pytest.raises(NlaeError, match="trained on 2 of this corpus's test documents"):
        check_unseen(corpus(train=["dd"], test=["bb", "cc", "ee"]), tmp_path)


def test_a_foreign_pair_without_the_list_is_measured_with_a_warning(tmp_path, caplog):
    check_unseen(corpus(test=["aa"]), tmp_path)
    assert "whether the test documents are new to it is unknown" in caplog.text


def test_an_exported_pair_takes_the_list_along(tmp_path, monkeypatch):
    pair, out = tmp_path / "pair", tmp_path / "out"
    (out / "av").mkdir(parents=True)
    pair.mkdir()
    (pair / TRAINING_DOCUMENTS).write_text("aa\n")
    monkeypatch.setattr("nlae.model.autoencoder.Autoencoder.load", lambda *args, **options: None)
    monkeypatch.setattr("nlae.model.reference_layout.export_reference", lambda *args: None)
    export.run(StageContext({"format": "reference"}, out, {"subject": pair}))
    with pytest.raises(NlaeError, match="trained on 1 of"):
        check_unseen(corpus(test=["aa"]), out)
