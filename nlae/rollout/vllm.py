"""Rollouts by vLLM, behind the same protocol: an optional extra for one machine with a CUDA device.

What was never run: vLLM itself. This module is written from vLLM's public documentation and tested against a small fake
of the three documented classes that it uses (`LLM`, `SamplingParams`, `LoRARequest`); the fake samples with this
package's own model from the embeddings and the adapter folder that it is handed, so what is proved is what is sent and
how answers are read. No speed is claimed. Version 0.12 is asked for, since the prefix cache of older ones does not
hash embeddings and would answer one vector with another's text.

A whole prompt is sent as embeddings, the vector already in its slot; so only injection at `embedding` can be served,
and a verbalizer without an adapter cannot. vLLM's sampler is not this package's: the same seed gives the same text from
one engine, not the same text from both. Serving over HTTP and several nodes are left out.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from nlae.errors import NlaeError
from nlae.functional.injection import inject as write_into
from nlae.model.merging import merged_state
from nlae.model.prompt import CLOSE_TAG
from nlae.model.site_verbalizer import SiteVerbalizer
from nlae.rollout.base import Rollouts
from nlae.rollout.ending import parse_rows, stop_ids
from nlae.target.loading import quiet_bars
from nlae.target.model import pad_right
from nlae.target.scales import embedding_multiplier

HOW = "pip install nlae[vllm] on a Linux machine with a CUDA device, or choose rollout=local"
# the ranks that vLLM has kernels for
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
MEMORY = Path("/dev/shm")  # a file system in memory


@dataclasses.dataclass(frozen=True)
class Api:
    """The three classes of vLLM that are used, by their own names.

    Attributes:
        LLM: `vllm.LLM`.
        SamplingParams: `vllm.SamplingParams`.
        LoRARequest: `vllm.lora.request.LoRARequest`.
    """

    LLM: Callable[..., Any]
    SamplingParams: Callable[..., Any]
    LoRARequest: Callable[..., Any]


def installed() -> Api:
    """The installed vLLM.

    Raises:
        NlaeError: there is none, or it cannot be imported here.
    """
    try:
        vllm, request = importlib.import_module("vllm"), importlib.import_module("vllm.lora.request")
    except ImportError as error:
        raise NlaeError(f"rollout=vllm: vLLM cannot be imported ({error}); {HOW}") from error
    return Api(vllm.LLM, vllm.SamplingParams, request.LoRARequest)


class VllmRollout:
    """Sampling by a vLLM engine in this process, which holds a second copy of the target's weights.

    Args:
        batch_size: rows handed over at once; bounds the host memory of the embeddings (rows × prompt × width).
        temperature: of sampling when a call does not say; training wants 1.
        memory_share: share of the device's memory that vLLM may take for weights and cache.
        dtype: of vLLM's weights; None takes the target's.
        model: hub id or folder of the target's weights; None writes them to a temporary folder once.
        devices: GPUs that the weights are split over.
        api: stands in for the installed vLLM; tests pass a fake.

    Raises:
        NlaeError: vLLM is not installed.
    """

    def __init__(
        self,
        batch_size: int = 512,
        temperature: float = 1.0,
        memory_share: float = 0.35,
        dtype: str | None = None,
        model: str | None = None,
        devices: int = 1,
        api: Api | None = None,
    ) -> None:
        if api is None and importlib.util.find_spec("vllm") is None:
            raise NlaeError(f"rollout=vllm: the package vllm is not installed; {HOW}")
        self.batch_size, self.temperature, self.memory_share = batch_size, temperature, memory_share
        self.dtype, self.model, self.devices = dtype, model, devices
        self._api = api
        self._served: _Served | None = None

    @torch.no_grad()
    def __call__(
        self,
        verbalizer: SiteVerbalizer,
        activation_BD: Tensor,
        seeds: Sequence[int],
        *,
        temperature: float | None = None,
        role: str = "verbalizer",
        inject: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Rollouts:
        """See `RolloutEngine`."""
        check_servable(verbalizer, role)
        heat = self.temperature if temperature is None else temperature
        served = self._serve(verbalizer)
        adapter = served.adapter(verbalizer, role)
        stops = stop_ids(verbalizer, role)
        parts = []
        for start in range(0, len(activation_BD), self.batch_size):
            rows = slice(start, start + self.batch_size)
            embedded_BTD = embed_prompts(verbalizer, activation_BD[rows], role, inject=inject).to(served.dtype).cpu()
            outputs = served.llm.generate(
                [{"prompt_embeds": embedded_TD} for embedded_TD in embedded_BTD],
                [served.sampling(seed, heat, verbalizer.prompt.max_tokens, stops) for seed in seeds[rows]],
                lora_request=adapter,
                use_tqdm=False,
            )
            parts.append(read_outputs(verbalizer, outputs, stops, activation_BD.device))
            if progress is not None:
                progress(len(parts[-1].text))
        return Rollouts.concatenate(parts)

    def _serve(self, verbalizer: SiteVerbalizer) -> _Served:
        backbone = verbalizer.backbone
        if self._served is None:
            self._served = _Served(self, self._api or installed(), verbalizer)
        elif self._served.backbone is not backbone:
            raise NlaeError("rollout=vllm: an engine holds the weights of one pair; build another for another pair")
        return self._served


class _Served:
    """A running engine, and the adapters that it was given."""

    def __init__(self, settings: VllmRollout, api: Api, verbalizer: SiteVerbalizer) -> None:
        self.api, self.backbone = api, verbalizer.backbone
        dtype = settings.dtype or str(self.backbone.target.dtype).removeprefix("torch.")
        self.dtype: torch.dtype = getattr(torch, dtype)
        self._disk, self._memory = _folder(self, None), _folder(self, MEMORY)
        self._sent: dict[str, dict[str, Tensor]] = {}
        self._request: dict[str, Any] = {}
        self._serial = 0
        target = self.backbone.target
        # rows beyond the tokenizer's ids are padding, and no text
        self._allowed = list(range(target.n_tokens)) if target.n_tokens < target.embedding_rows else None
        ranks = [adapter.rank for adapter in self.backbone.adapters.values()]
        self.llm = api.LLM(
            model=settings.model or str(write_base(verbalizer, self._disk / "target")),
            dtype=dtype,
            seed=0,
            tensor_parallel_size=settings.devices,
            gpu_memory_utilization=settings.memory_share,
            max_model_len=len(verbalizer.ids.input_ids) + verbalizer.prompt.max_tokens,
            trust_remote_code=False,
            enable_prompt_embeds=True,
            enable_prefix_caching=True,
            enable_lora=True,
            max_loras=1,
            max_lora_rank=_rank(max(ranks)),
            # log-probabilities at the sampling temperature, as the protocol wants them
            logprobs_mode="processed_logprobs",
        )

    def sampling(self, seed: int, temperature: float, max_tokens: int, stops: set[int]) -> Any:
        """One row's parameters: the plain distribution, nothing cut off and nothing penalised."""
        return self.api.SamplingParams(
            temperature=temperature,
            top_p=1.0,
            top_k=0,
            seed=seed,
            max_tokens=max_tokens,
            stop=[CLOSE_TAG],
            include_stop_str_in_output=True,
            stop_token_ids=sorted(stops),
            skip_special_tokens=False,
            logprobs=0,  # the sampled token's alone
            allowed_token_ids=self._allowed,
        )

    def adapter(self, verbalizer: SiteVerbalizer, role: str) -> Any:
        """The request that names the adapter of `role` as it is now; a changed one gets a new folder, name and id."""
        state = self.backbone.state(role)
        sent = self._sent.get(role)
        if sent is None or any(not torch.equal(sent[key], weight) for key, weight in state.items()):
            # first of all: an adapter that counts as sent must not meet the old one's cache
            if self.llm.reset_prefix_cache() is False:
                raise NlaeError("rollout=vllm: the prefix cache was not reset (requests are running); start again")
            before = self._request.get(role)
            self._serial += 1
            name = f"{role}-{self._serial}"
            folder = write_adapter(verbalizer, role, self._memory / name)
            self._request[role] = self.api.LoRARequest(name, self._serial, str(folder))
            self._sent[role] = {key: weight.clone() for key, weight in state.items()}
            if before is not None:
                shutil.rmtree(before.lora_path, ignore_errors=True)
        return self._request[role]


def check_servable(verbalizer: SiteVerbalizer, role: str) -> None:
    """Raises: NlaeError, when vLLM could not write what this verbalizer writes."""
    point = verbalizer.settings.point
    if point != "embedding":
        raise NlaeError(f"rollout=vllm injects at the embedding only, not after block {point}; choose rollout=local")
    if role not in verbalizer.backbone.adapters:
        raise NlaeError(f"rollout=vllm serves adapters only and the {role} has none; choose rollout=local")


def embed_prompts(verbalizer: SiteVerbalizer, activation_BD: Tensor, role: str, *, inject: bool) -> Tensor:
    """Whole prompts as embeddings with the vector in its slot (B, T, D)."""
    backbone = verbalizer.backbone
    with backbone.use(role):
        model = backbone.language_model(role)
        ids_1T = torch.tensor([verbalizer.ids.input_ids], device=backbone.target.device)
        embedded_BTD = backbone.target.architecture.embedding(model)(ids_1T).expand(len(activation_BD), -1, -1)
        if not inject:
            return embedded_BTD
        vector_BD, times = verbalizer.injected(activation_BD, role), embedding_multiplier(model)
        written = write_into(embedded_BTD * times, vector_BD, slot=verbalizer.ids.slot, mode=verbalizer.settings.mode)
        return written / times


def read_outputs(verbalizer: SiteVerbalizer, outputs: Sequence[Any], stops: set[int], device: torch.device) -> Rollouts:
    """Rollouts from `RequestOutput`s of one completion each.

    Raises:
        NlaeError: a row came back empty or without its log-probabilities.
    """
    completions = [output.outputs[0] for output in outputs]
    rows = [list(completion.token_ids) for completion in completions]
    logp_BT = torch.zeros(len(rows), max(map(len, rows)))
    for row, (ids, completion) in enumerate(zip(rows, completions, strict=True)):
        if not ids or completion.logprobs is None or len(completion.logprobs) != len(ids):
            raise NlaeError(f"rollout=vllm: row {row} came back without tokens or their log-probabilities; see its log")
        steps = zip(ids, completion.logprobs, strict=True)
        logp_BT[row, : len(ids)] = torch.tensor([chosen[token].logprob for token, chosen in steps])
    token_BT, mask_BT = pad_right(rows, 0)
    parsed = parse_rows(verbalizer, rows, stops)
    return Rollouts(
        token_BT.to(device),
        mask_BT.float().to(device),
        logp_BT.to(device),
        [text for text, _ in parsed],
        torch.tensor([closed for _, closed in parsed]),
    )


def write_base(verbalizer: SiteVerbalizer, folder: Path) -> Path:
    """The target's own weights and tokenizer as an ordinary Hugging Face folder, no adapter merged."""
    backbone = verbalizer.backbone
    with quiet_bars():
        backbone.model.save_pretrained(str(folder), state_dict=merged_state(backbone, "target"))
    verbalizer.tokenizer.save_pretrained(str(folder))
    return folder


def write_adapter(verbalizer: SiteVerbalizer, role: str, folder: Path) -> Path:
    """The adapter of `role` in PEFT's own layout: `adapter_config.json` and `adapter_model.safetensors`."""
    backbone = verbalizer.backbone
    state = backbone.state(role)
    modules = sorted({name.rpartition(".lora_")[0] for name in state})
    config = backbone.adapter_config(backbone.adapters[role], modules)
    config.task_type = "CAUSAL_LM"
    # leaf names, which is what vLLM compares with what a family supports
    config.target_modules = sorted({name.rpartition(".")[2] for name in modules})
    folder.mkdir(parents=True)
    config.save_pretrained(str(folder))
    tensors = {f"base_model.model.{name}": weight.cpu().contiguous() for name, weight in state.items()}
    save_file(tensors, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    return folder


def _rank(rank: int) -> int:
    fitting = [size for size in RANKS if size >= rank]
    if not fitting:
        raise NlaeError(f"verbalizer.adapter.rank={rank}: vLLM serves ranks up to {RANKS[-1]}; choose rollout=local")
    return fitting[0]


def _folder(owner: object, preferred: Path | None) -> Path:
    """A fresh folder that goes when its owner does, in memory where the system has a place for that."""
    usable = preferred is not None and preferred.is_dir() and os.access(preferred, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="nlae-", dir=preferred if usable else None))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder
