"""A stand-in for the three classes of vLLM that are used, strict about what its documentation names.

`generate` samples with transformers and peft alone, from the folder of base weights, the adapter folder and the
embeddings that it is given; nothing reaches it any other way.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from nlae.functional.randomness import sample_inverse_cdf, uniforms

ENGINE_ARGUMENTS = {
    "model", "dtype", "seed", "tensor_parallel_size", "gpu_memory_utilization", "max_model_len",
    "enable_prompt_embeds", "enable_prefix_caching", "enable_lora", "max_loras", "max_lora_rank", "logprobs_mode",
    "trust_remote_code",
}  # fmt: skip


@dataclasses.dataclass
class SamplingParams:
    """Documented fields with their documented defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    stop: list[str] = dataclasses.field(default_factory=list)
    stop_token_ids: list[int] = dataclasses.field(default_factory=list)
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None
    allowed_token_ids: list[int] | None = None


@dataclasses.dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclasses.dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclasses.dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None


@dataclasses.dataclass
class RequestOutput:
    prompt_token_ids: list[int] | None
    outputs: list[CompletionOutput]


class LLM:
    """Records every call in `calls`: ("generate", prompts, parameters, adapter) or ("reset_prefix_cache",)."""

    reset = True

    def __init__(self, **arguments: Any) -> None:
        unknown = arguments.keys() - ENGINE_ARGUMENTS
        if unknown:
            raise TypeError(f"unexpected engine arguments {sorted(unknown)}")
        self.arguments, self.calls = arguments, []
        self.base = AutoModelForCausalLM.from_pretrained(arguments["model"]).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(arguments["model"])
        self.adapted: Any = None
        self.loaded: dict[int, LoRARequest] = {}

    def reset_prefix_cache(self) -> bool:
        self.calls.append(("reset_prefix_cache",))
        return self.reset

    def generate(
        self,
        prompts: list[dict[str, torch.Tensor]],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
    ) -> list[RequestOutput]:
        assert use_tqdm is False
        assert lora_request is not None
        assert self.loaded.get(lora_request.lora_int_id, lora_request) == lora_request, "an id names one adapter"
        self.calls.append(("generate", prompts, sampling_params, lora_request))
        if lora_request.lora_int_id not in self.loaded:
            self._load(lora_request)
        self.adapted.set_adapter(lora_request.lora_name)
        return [self._complete(p, s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _load(self, request: LoRARequest) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that it has retired
            if self.adapted is None:
                self.adapted = PeftModel.from_pretrained(self.base, request.lora_path, adapter_name=request.lora_name)
            else:
                self.adapted.load_adapter(request.lora_path, adapter_name=request.lora_name)
        self.adapted.eval()
        self.loaded[request.lora_int_id] = request

    @torch.no_grad()
    def _complete(self, prompt: dict[str, torch.Tensor], params: SamplingParams) -> RequestOutput:
        (embedded_TD,) = prompt.values()
        embed = self.base.get_input_embeddings()
        stops = {self.tokenizer.eos_token_id, *params.stop_token_ids}
        draws_T = uniforms([params.seed], params.max_tokens)[0]
        ids: list[int] = []
        logprobs: list[dict[int, Logprob]] = []
        while len(ids) < params.max_tokens:
            so_far_1TD = embedded_TD[None]
            if ids:
                so_far_1TD = torch.cat([so_far_1TD, embed(torch.tensor([ids]))], dim=1)
            assert so_far_1TD.shape[1] <= self.arguments["max_model_len"]
            logits_1V = self.adapted(inputs_embeds=so_far_1TD).logits[:, -1].float()
            if params.allowed_token_ids is not None:
                barred_V = torch.ones(logits_1V.shape[1], dtype=torch.bool)
                barred_V[params.allowed_token_ids] = False
                logits_1V = logits_1V.masked_fill(barred_V, float("-inf"))
            logp_1V = (logits_1V / (params.temperature or 1.0)).log_softmax(-1)
            greedy = params.temperature == 0
            token_1 = logp_1V.argmax(-1) if greedy else sample_inverse_cdf(logp_1V.exp(), draws_T[len(ids)][None])
            token = int(token_1)
            ids.append(token)
            logprobs.append({token: Logprob(float(logp_1V[0, token]))})
            text = self.tokenizer.decode(ids, skip_special_tokens=params.skip_special_tokens)
            if token in stops or any(stop in text for stop in params.stop):
                break
        return RequestOutput(None, [CompletionOutput(0, text, ids, logprobs if params.logprobs is not None else None)])
