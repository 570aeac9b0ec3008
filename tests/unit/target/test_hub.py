import pytest
import torch

from nlae.errors import NlaeError
from nlae.target import HubTarget, TinyTarget, source_from_description


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    target = TinyTarget().load()
    target.model.save_pretrained(path)
    target.tokenizer.save_pretrained(path)
    return path


def test_local_folder_gives_the_same_model(folder):
    source = HubTarget("mine", str(folder))
    ids = torch.tensor([[1, 5, 90, 200]])
    target = source.load()
    assert torch.equal(target.model(ids).logits, TinyTarget().load().model(ids).logits)
    assert target.tokenizer.encode("The text") == TinyTarget().load_tokenizer().encode("The text")
    assert source.load_config().num_hidden_layers == 4
    assert source_from_description(source.describe()).fingerprint() == source.fingerprint()


def test_fingerprint_follows_the_files(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first = HubTarget("a", str(folder)).fingerprint()
    assert HubTarget("b", str(tmp_path)).fingerprint() == first
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(weights))
    assert HubTarget("a", str(tmp_path)).fingerprint() != first


def test_name_comes_from_the_model():
    assert HubTarget(None, "owner/some-model").name == "some-model"


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./not-here", "a/b/c"])
def test_missing_folder_is_one_line(model):
    with pytest.raises(NlaeError, match="no such folder"):
        HubTarget("x", model).fingerprint()


def test_empty_folder_is_one_line(tmp_path):
    with pytest.raises(NlaeError, match="holds no model files"):
        HubTarget("x", str(tmp_path)).fingerprint()
    with pytest.raises(NlaeError, match="cannot be loaded"):
        HubTarget("x", str(tmp_path)).load()


def test_no_network_is_one_line(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NlaeError, match=r"owner/absent.*cannot be loaded.*target=smollm2_135m") as error:
        HubTarget("x", "owner/absent").load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "description",
    [
        {"_target_": "os.system", "command": "true"},
        {"name": "x"},
        {"_target_": "nlae.target.hub.HubTarget", "name": "x", "model": "a/b", "trust_remote_code": True},
        {"_target_": "nlae.target.hub.HubTarget", "unknown": 1},
    ],
)
def test_descriptions_from_elsewhere_build_only_our_sources(description):
    with pytest.raises(NlaeError, match="target description"):
        source_from_description(description)
