"""The `local` teacher: an instruct model through transformers, asked in batches through its chat template.

Left out: quantised loading and tensor parallelism; for large models start a vLLM server and use `openai`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from nlae.errors import NlaeError
from nlae.target.hub import HubTarget
from nlae.target.loading import CLOSED, FAILURES, check_kernels, placement
from nlae.teacher.answers import MIN_LETTERS, clean_answer, instruction
from nlae.teacher.base import Estimate, Material, OnResult, TeacherContext

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class LocalTeacher:
    """An instruct model in this process; free, greedy by default.

    `model` is a hub id or a folder; `tags_required=false` suits small models that forget the tags.
    """

    name: ClassVar[str] = "local"
    paid: ClassVar[bool] = False

    model: str
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 8
    max_tokens: int = 160
    temperature: float = 0.0
    seed: int = 0
    max_prefix_tokens: int = 1500
    max_failed_share: float = 0.5
    tags_required: bool = False
    _instructions: str = field(default="", init=False, repr=False)
    _min_letters: int = field(default=MIN_LETTERS, init=False, repr=False)
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False)

    @cached_property
    def _source(self) -> HubTarget:
        return HubTarget(None, self.model, self.revision)

    def fingerprint(self) -> str:
        """The commit of a hub model, or a hash of a folder's files: a branch may move, its texts may not.

        Raises:
            NlaeError: there is no such model, or no network to ask.
        """
        try:
            return self._source.fingerprint()
        except NlaeError as problem:
            raise self._unloadable(problem) from problem

    def identity(self) -> dict[str, Any]:
        """Weights and sampling."""
        kept = ("model", "max_tokens", "temperature", "seed", "max_prefix_tokens", "tags_required")
        return {"teacher": self.name, "weights": self.fingerprint(), **{key: getattr(self, key) for key in kept}}

    def _unloadable(self, problem: Exception) -> NlaeError:
        first = str(problem).split("\n")[0][:200]
        return NlaeError(f"teacher.model={self.model!r} cannot be loaded ({first}); give a hub id or a folder")

    def prepare(self, material: Material) -> None:
        """Take the prompt's instructions; weights load with the first question."""
        self._instructions, self._min_letters = material.prompt.text, material.min_letters

    def estimate(self, contexts: Sequence[TeacherContext]) -> Estimate:
        """Free."""
        tokens = sum(min(len(c.input_ids), self.max_prefix_tokens) for c in contexts)
        return Estimate(requests=len(contexts), input_tokens=tokens, output_tokens=len(contexts) * self.max_tokens // 2)

    def describe(self, contexts: Sequence[TeacherContext], on_result: OnResult) -> None:
        """Batches in order of length, sampling seeded by row, so that a resume writes the same texts.

        Raises:
            NlaeError: the model cannot be loaded, has no chat template, or fails on too many prefixes.
        """
        ordered = sorted(contexts, key=lambda c: (-len(c.text), c.row))
        # sampled batches would depend on what is left to do after a resume
        size = 1 if self.temperature > 0 else self.batch_size
        failed = done = 0
        for start in range(0, len(ordered), size):
            batch = ordered[start : start + size]
            for context, answer in zip(batch, self._generate(batch), strict=True):
                text = clean_answer(answer, tags_required=self.tags_required, min_letters=self._min_letters)
                done, failed = done + 1, failed + (text is None)
                on_result(context.row, text)
            if done >= 10 and failed > self.max_failed_share * done:
                raise NlaeError(
                    f"teacher local: {self.model} gave no usable answer for {failed} of {done} prefixes; "
                    "choose a stronger teacher.model or teacher=context"
                )

    def _generate(self, batch: Sequence[TeacherContext]) -> list[str]:
        import torch

        from nlae.target.model import unknown_ids

        model, tokenizer = self._load()
        chats = [
            [{"role": "user", "content": instruction(self._instructions, self._clip(tokenizer, context.text))}]
            for context in batch
        ]
        prompts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        # the template wrote the special tokens already
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        sampling = (
            {"do_sample": True, "temperature": self.temperature} if self.temperature > 0 else {"do_sample": False}
        )
        devices = [self.device] if self.device.startswith("cuda") else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed * 1_000_003 + batch[0].row)
            output_BT = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=self.max_tokens,
                pad_token_id=tokenizer.pad_token_id,
                suppress_tokens=unknown_ids(model, tokenizer),
                **sampling,
            )
        new_BT = output_BT[:, inputs["input_ids"].shape[1] :]
        ends = {tokenizer.pad_token_id, *self._ends(model)}
        ended = [not ends.isdisjoint(row) for row in new_BT.tolist()]  # read once: each number read alone is a wait
        texts = tokenizer.batch_decode(new_BT, skip_special_tokens=True)
        # an answer that ran into the limit is cut in mid-sentence: no answer, unless its closing tag came first
        return [text if end or "</explanation>" in text else "" for text, end in zip(texts, ended, strict=True)]

    @staticmethod
    def _ends(model: Any) -> set[int]:
        ends = model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends} if ends is not None else set()

    def _clip(self, tokenizer: Any, text: str) -> str:
        ids = tokenizer.encode(text, add_special_tokens=False)
        return text if len(ids) <= self.max_prefix_tokens else str(tokenizer.decode(ids[-self.max_prefix_tokens :]))

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

            self.fingerprint()  # after it, the description names the commit
            revision = self._source.describe()["revision"]
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.model, revision=revision, **CLOSED)
                check_kernels(AutoConfig.from_pretrained(self.model, revision=revision, **CLOSED))
                model: Any = AutoModelForCausalLM.from_pretrained(
                    self.model,
                    revision=revision,
                    dtype=getattr(torch, self.dtype),
                    use_safetensors=True,
                    **CLOSED | placement(self.device),
                )
            except FAILURES as problem:
                raise self._unloadable(problem) from problem
            if not tokenizer.chat_template:
                raise NlaeError(f"teacher.model={self.model!r} has no chat template; choose an instruct model")
            tokenizer.padding_side = "left"
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            self._loaded = (model.eval(), tokenizer)
        return self._loaded
