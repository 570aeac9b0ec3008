import pytest
import torch

from nlae.errors import NlaeError
from nlae.target import TinyTarget, source_from_description


def test_same_weights_everywhere_whatever_was_drawn_before():
    torch.manual_seed(1)
    first = TinyTarget().load().model.state_dict()
    torch.manual_seed(2)
    torch.rand(5)
    second = TinyTarget().load().model.state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = TinyTarget(weights_seed=1).load().model.state_dict()
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_fingerprint_follows_the_settings():
    assert TinyTarget().fingerprint() == TinyTarget(name="another").fingerprint()
    assert TinyTarget().fingerprint() != TinyTarget(weights_seed=1).fingerprint()


def test_description_builds_it_again():
    source = TinyTarget(family="gemma2", layers=2)
    again = source_from_description(source.describe())
    assert again.fingerprint() == source.fingerprint()
    assert again.load_config().num_hidden_layers == 2


def test_tokenizer_round_trip():
    tokenizer = TinyTarget().load_tokenizer()
    assert len(tokenizer) <= 1024
    text = "The text explains naïve “things”, 12 of them:\n- one\t¤"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.encode(text)[0] == tokenizer.bos_token_id
    hello = [{"role": "user", "content": "Hello"}]
    chat = tokenizer.apply_chat_template(hello, tokenize=False, add_generation_prompt=True)
    assert chat == "<|bos|><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"


def test_known_tokenisation_does_not_drift():
    ids = TinyTarget().load_tokenizer().encode("The text explains the next word.")
    tokens = TinyTarget().load_tokenizer().convert_ids_to_tokens(ids)
    assert tokens == ["<|bos|>", "The", "Ġtext", "Ġexplains", "Ġthe", "Ġnext", "Ġword", "."]


@pytest.mark.parametrize("settings", [{"family": "bert"}, {"width": 65}])
def test_impossible_settings(settings):
    with pytest.raises(NlaeError, match=r"target\."):
        TinyTarget(**settings)
