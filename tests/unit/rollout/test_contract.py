"""What every rollout engine must do, over the engine in the process and over vLLM's (a fake of the library)."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import fake_vllm
import rollouts
from nlae.errors import NlaeError
from nlae.model.adapters import AdapterSettings
from nlae.model.autoencoder import Autoencoder
from nlae.model.prompt import CLOSE_TAG
from nlae.rollout import LocalRollout, RolloutEngine, VllmRollout
from nlae.rollout import vllm as engine_module
from nlae.rollout.vllm import Api

SEEDS = list(range(50, 62))
ENGINES = ("local", "vllm")
same = functools.partial(rollouts.same, atol=2e-4)


@pytest.fixture
def make_engine() -> Callable[..., RolloutEngine]:
    def make(name: str, batch_size: int = 64, **how: object) -> RolloutEngine:
        if name == "local":
            return LocalRollout(batch_size=batch_size)
        api = Api(fake_vllm.LLM, fake_vllm.SamplingParams, fake_vllm.LoRARequest)
        return VllmRollout(batch_size=batch_size, api=api, **how)

    return make


def end_early(pair: Autoencoder) -> None:
    """A sixth of the vocabulary ends a row, so that rows have different lengths."""
    pair.backbone.language_model("verbalizer").generation_config.eos_token_id = list(range(0, 400, 6))


def teach(pair: Autoencoder, text: str, activation_BD: torch.Tensor) -> None:
    """Let the verbalizer learn by heart to write `text`, whatever it is shown."""
    token_BT, _ = pair.at().verbalizer.encode_responses([text] * len(activation_BD))
    optimizer = torch.optim.Adam(pair.verbalizer.trainable(), lr=0.02)
    for _ in range(200):
        loss = -pair.at().verbalizer.logprobs(activation_BD, token_BT)
        if loss.detach().amax() < 0.5:  # each token likelier than all others together
            return
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    raise AssertionError("the text was not learned by heart")


@pytest.mark.parametrize("name", ENGINES)
def test_form_of_what_comes_back(make_pair, make_engine, activations, name):
    pair = make_pair("llama")
    end_early(pair)
    rollouts = make_engine(name)(pair.at().verbalizer, activations, SEEDS)
    width = int(rollouts.length.max())
    assert rollouts.token_BT.shape == rollouts.mask_BT.shape == rollouts.logp_BT.shape == (12, width)
    assert rollouts.token_BT.dtype == torch.int64
    assert rollouts.mask_BT.dtype == rollouts.logp_BT.dtype == torch.float32
    assert rollouts.closed.dtype == torch.bool
    assert rollouts.closed.shape == (12,)
    assert len(set(rollouts.length.tolist())) > 3, "rows end at different times"
    beyond_BT = rollouts.mask_BT == 0
    assert (rollouts.token_BT[beyond_BT] == 0).all()
    assert (rollouts.logp_BT[beyond_BT] == 0).all()
    assert (rollouts.mask_BT.diff(dim=1) <= 0).all(), "nothing follows an end"
    last_B = rollouts.token_BT.gather(1, rollouts.length[:, None] - 1).squeeze(1)
    ended_B = rollouts.length < pair.prompt.max_tokens
    assert (last_B[ended_B] % 6 == 0).all(), "the token that ends a row is counted"


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("mode", ["add", "affine", "replace"])
def test_logprobs_are_those_that_training_sees(make_pair, make_engine, activations, name, mode):
    pair = make_pair("llama", mode=mode)
    rollouts = make_engine(name)(pair.at().verbalizer, activations[:4], SEEDS[:4])
    logp_BT = pair.at().verbalizer.logprobs(activations[:4], rollouts.token_BT)
    assert ((logp_BT - rollouts.logp_BT) * rollouts.mask_BT).abs().max() < 2e-4


@pytest.mark.parametrize("name", ENGINES)
def test_temperature_is_in_the_logprobs_and_zero_is_greedy(make_pair, make_engine, activations, name):
    pair = make_pair("llama")
    with torch.no_grad(), pair.backbone.use("verbalizer"):
        logits_BV, _ = pair.at().verbalizer.prefill(activations, "verbalizer")
    engine = make_engine(name)
    half = engine(pair.at().verbalizer, activations, SEEDS, temperature=0.5)
    expected_B = (logits_BV / 0.5).log_softmax(-1).gather(1, half.token_BT[:, :1]).squeeze(1)
    assert torch.allclose(half.logp_BT[:, 0], expected_B, atol=2e-4)
    greedy = engine(pair.at().verbalizer, activations, SEEDS, temperature=0.0)
    assert torch.equal(greedy.token_BT[:, 0], logits_BV.argmax(-1))
    expected_B = logits_BV.log_softmax(-1).amax(-1)
    assert torch.allclose(greedy.logp_BT[:, 0], expected_B, atol=2e-4)
    same(greedy, engine(pair.at().verbalizer, activations, [0] * 12, temperature=0.0))


@pytest.mark.parametrize("name", ENGINES)
def test_a_row_depends_on_its_seed_and_not_on_its_batch(make_pair, make_engine, activations, name):
    pair = make_pair("llama")
    end_early(pair)
    engine = make_engine(name)
    together = engine(pair.at().verbalizer, activations, SEEDS)
    seen: list[int] = []
    same(together, make_engine(name, batch_size=5)(pair.at().verbalizer, activations, SEEDS, progress=seen.append))
    assert sum(seen) == 12
    one_BD = activations[:1].expand(6, -1)
    assert len(set(engine(pair.at().verbalizer, one_BD, SEEDS[:6]).text)) > 3
    assert len(set(engine(pair.at().verbalizer, one_BD, [1] * 6).text)) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_roles_and_the_control_without_injection(make_pair, make_engine, activations, name):
    pair = make_pair("llama")
    pair.verbalizer.freeze_reference()
    engine = make_engine(name)
    first = engine(pair.at().verbalizer, activations, SEEDS)
    same(first, engine(pair.at().verbalizer, activations, SEEDS, role="reference"))
    with torch.no_grad():
        for weight in pair.backbone.parameters_of("verbalizer"):
            weight.mul_(1.5)
    changed = engine(pair.at().verbalizer, activations, SEEDS)
    assert changed.text != first.text, "new weights are served"
    logp_BT = pair.at().verbalizer.logprobs(activations, changed.token_BT)
    assert ((logp_BT - changed.logp_BT) * changed.mask_BT).abs().max() < 2e-4
    same(first, engine(pair.at().verbalizer, activations, SEEDS, role="reference"))
    assert len(set(engine(pair.at().verbalizer, activations, [4] * 12, inject=False).text)) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_the_closing_tag_ends_a_row_and_stays_in_it(make_pair, make_engine, activations, name):
    pair = make_pair("llama", adapter=AdapterSettings(16, 32.0))
    expected = pair.target.tokenizer.encode("a" + CLOSE_TAG, add_special_tokens=False)
    assert len(expected) < pair.prompt.max_tokens, "the cap is not what ends the rows"
    with torch.no_grad():
        pair.target.model.get_output_embeddings().weight.mul_(20)  # a random model is never sure of anything
    teach(pair, "a", activations)
    rollouts = make_engine(name)(pair.at().verbalizer, activations, SEEDS, temperature=0.0)
    assert rollouts.token_BT.tolist() == [expected] * 12
    assert rollouts.text == ["a"] * 12
    assert rollouts.closed.all()


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "gpt_neox", "llama", "qwen3"])
def test_both_engines_write_the_same_at_temperature_0(make_pair, make_engine, activations, family):
    pair = make_pair(family)
    local = make_engine("local")(pair.at().verbalizer, activations[:6], SEEDS[:6], temperature=0.0)
    same(local, make_engine("vllm")(pair.at().verbalizer, activations[:6], SEEDS[:6], temperature=0.0))


def test_what_vllm_is_asked_for(make_pair, make_engine, activations):
    pair = make_pair("llama")
    engine = make_engine("vllm", batch_size=8, memory_share=0.5, devices=2)
    engine(pair.at().verbalizer, activations, SEEDS, temperature=0.7)
    llm = engine._served.llm
    ids = pair.at().verbalizer.ids
    assert {k: v for k, v in llm.arguments.items() if k != "model"} == {
        "dtype": "float32",
        "seed": 0,
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "max_model_len": len(ids.input_ids) + pair.prompt.max_tokens,
        "enable_prompt_embeds": True,
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": 8,
        "logprobs_mode": "processed_logprobs",
        "trust_remote_code": False,
    }
    reset, first, second = llm.calls
    assert reset == ("reset_prefix_cache",)
    assert [len(first[1]), len(second[1])] == [8, 4]
    assert first[3] is second[3], "unchanged weights are sent once"
    parameters = [*first[2], *second[2]]
    assert [params.seed for params in parameters] == SEEDS
    assert {(params.temperature, params.top_p, params.top_k, params.max_tokens) for params in parameters} == {
        (0.7, 1.0, 0, 10)
    }
    assert all(params.stop == [CLOSE_TAG] and params.include_stop_str_in_output for params in parameters)
    assert all(params.logprobs == 0 and not params.skip_special_tokens for params in parameters)
    prompt_TD = first[1][3]["prompt_embeds"]
    assert list(first[1][3]) == ["prompt_embeds"]
    embed = pair.target.architecture.embedding(pair.target.model)
    plain_TD = embed(torch.tensor(ids.input_ids)).detach()
    vector_D = pair.at().verbalizer.injected(activations[3:4])[0]
    assert torch.equal(prompt_TD[ids.slot], vector_D)
    rest = [t for t in range(len(ids.input_ids)) if t != ids.slot]
    assert torch.equal(prompt_TD[rest], plain_TD[rest])


def test_every_change_of_weights_is_a_new_adapter_and_an_empty_cache(make_pair, make_engine, activations):
    pair = make_pair("llama")
    engine = make_engine("vllm")
    folders = []
    for _ in range(3):
        engine(pair.at().verbalizer, activations[:2], SEEDS[:2])
        folders.append(Path(engine._served.llm.calls[-1][3].lora_path))
        with torch.no_grad():
            pair.backbone.parameters_of("verbalizer")[0].add_(0.01)
    calls = engine._served.llm.calls
    assert [call[0] for call in calls] == ["reset_prefix_cache", "generate"] * 3
    requests = [call[3] for call in calls if call[0] == "generate"]
    assert [request.lora_int_id for request in requests] == [1, 2, 3]
    assert len({request.lora_name for request in requests}) == 3, "the prefix cache is keyed by name"
    assert [folder.exists() for folder in folders] == [False, False, True], "old adapters do not pile up"
    assert json.loads((folders[-1] / "adapter_config.json").read_text())["peft_type"] == "LORA"
    with safe_open(folders[-1] / "adapter_model.safetensors", "pt") as tensors:
        assert all(key.startswith("base_model.model.") for key in tensors.keys())  # noqa: SIM118
    root = folders[-1].parent
    del engine
    assert not root.exists(), "nothing stays behind in memory"


def test_what_vllm_cannot_serve_is_one_line(make_pair, make_engine, activations, monkeypatch):
    with pytest.raises(NlaeError, match="injects at the embedding only, not after block 1"):
        make_engine("vllm")(make_pair("llama", point=1).at().verbalizer, activations, SEEDS)
    with pytest.raises(NlaeError, match="serves adapters only and the verbalizer has none"):
        make_engine("vllm")(make_pair("llama", adapter=None).at().verbalizer, activations, SEEDS)
    engine = make_engine("vllm")
    engine(make_pair("llama").at().verbalizer, activations[:1], SEEDS[:1])
    with pytest.raises(NlaeError, match="the weights of one pair"):
        engine(make_pair("llama").at().verbalizer, activations[:1], SEEDS[:1])
    monkeypatch.setattr(fake_vllm.LLM, "reset", False)
    pair, engine = make_pair("llama"), make_engine("vllm")
    for _ in range(2):  # what failed once does not count as done
        with pytest.raises(NlaeError, match="prefix cache was not reset"):
            engine(pair.at().verbalizer, activations[:1], SEEDS[:1])


def test_a_row_without_logprobs_is_refused(make_pair, make_engine, activations, monkeypatch):
    plain = fake_vllm.LLM._complete

    def silent(self, prompt, params):
        output = plain(self, prompt, params)
        output.outputs[0].logprobs = None
        return output

    monkeypatch.setattr(fake_vllm.LLM, "_complete", silent)
    with pytest.raises(NlaeError, match="row 0 came back without"):
        make_engine("vllm")(make_pair("llama").at().verbalizer, activations[:1], SEEDS[:1])


def test_without_the_package_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(engine_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NlaeError, match=r"pip install nlae\[vllm\]"):
        VllmRollout()


def test_a_package_that_cannot_be_imported_is_named_too(make_pair, activations, monkeypatch):
    monkeypatch.setattr(engine_module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(NlaeError, match="vLLM cannot be imported"):
        VllmRollout()(make_pair("llama").at().verbalizer, activations[:1], SEEDS[:1])
