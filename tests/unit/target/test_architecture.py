import pytest
import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from torch import nn

from nlae.errors import NlaeError
from nlae.target import Architecture, TinyTarget
from nlae.target.model import text_model


def test_parts_are_found_in_every_family(target):
    architecture = target.architecture
    blocks = architecture.blocks(target.model)
    assert len(blocks) == target.n_layers == 4
    assert architecture.embedding(target.model) is target.model.get_input_embeddings()
    assert target.d_model == 64
    assert isinstance(getattr(architecture.decoder(target.model), architecture.final_norm_name), nn.Module)
    assert architecture.down_projection(blocks[0]) in list(architecture.mlp(blocks[0]).modules())


def test_adapters_can_be_put_on_exactly_the_linear_maps(target):
    leaves = target.architecture.lora_modules
    shapes = [m for n, m in target.architecture.blocks(target.model)[0].named_modules() if n.endswith(leaves)]
    assert len(shapes) in (4, 7)
    assert all(m.weight.ndim == 2 for m in shapes)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("wrap", [get_peft_model, lambda model, config: inject_adapter_in_model(config, model)])
def test_parts_are_found_behind_adapters(family, wrap):
    target = TinyTarget(family=family).load()
    plain = target.architecture
    config = LoraConfig(r=2, target_modules=list(plain.lora_modules), fan_in_fan_out=family == "gpt2")
    wrapped = wrap(target.model, config)
    assert Architecture.of(wrapped) == plain
    assert len(plain.blocks(wrapped)) == 4


def test_other_architectures_fail_in_one_line():
    with pytest.raises(NlaeError, match="Sequential: unsupported architecture") as error:
        Architecture.of(nn.Sequential(nn.Linear(2, 2)))
    assert "\n" not in str(error.value)


def test_multimodal_wrapper_is_unwrapped_to_its_text_model():
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = TinyTarget(family="gemma3").load_config().to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, tie_word_embeddings=False)
    whole = Gemma3ForConditionalGeneration(config).eval()
    ids = torch.tensor([[1, 20, 30, 40]])
    plain = text_model(whole)
    assert type(plain).__name__ == "Gemma3ForCausalLM"
    assert not any("vision" in name for name, _ in plain.named_parameters())
    assert not any(p.is_meta for p in (*plain.parameters(), *plain.buffers()))
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, whole(ids).logits)
