"""A reader with known answers: activations depend on token and position, and their words rebuild them exactly."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nlae.functional.scaling import SiteStatistics, unit

WIDTH = 16
CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclasses.dataclass(frozen=True)
class Said:
    text: str
    closed: bool
    n_tokens: int


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["the cat sat on the mat and the dog sat on the log"] * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


class FakeReader:
    """`verbalize` writes the row's first entry; `reconstruct` finds the activation that a text was written about."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, statistics: bool = True) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        )  # fmt: skip
        model = LlamaForCausalLM(config).eval()
        self.target = SimpleNamespace(model=model, tokenizer=tokenizer, source_name="fake")
        self.site = SimpleNamespace(name="resid.1", min_position=2)
        self.meta = {"training": {"max_position": 40}}
        self.prompt = SimpleNamespace(name="short")
        self.has_statistics = statistics
        generator = torch.Generator().manual_seed(1)
        self.table = torch.randn(len(tokenizer), WIDTH, generator=generator)
        self.distractors_MD = unit(torch.randn(100, WIDTH, generator=generator)) if statistics else None
        mean_D = torch.full((WIDTH,), 0.05)
        self._statistics = SiteStatistics(mean_D, 0.96, 4.0, 4.0, 1000)
        self.calls: list[tuple[int, tuple[int, ...]]] = []
        self.written: dict[str, torch.Tensor] = {}

    @property
    def statistics(self) -> SiteStatistics:
        assert self.has_statistics
        return self._statistics

    def activations(self, input_ids: list[list[int]]) -> list[torch.Tensor]:
        return [self.table[ids] + 0.01 * torch.arange(len(ids))[:, None] for ids in input_ids]

    def verbalize(self, activation_ND: torch.Tensor, *, seeds, temperature: float = 1.0):
        self.calls.append((len(activation_ND), tuple(seeds)))
        out = []
        for row_D, seed in zip(activation_ND, seeds, strict=True):
            text = f"seed {seed}: [b]{float(row_D[0]):.4f}"
            self.written[text] = row_D
            out.append(Said(text, True, 7))
        return out

    def reconstruct(self, texts):
        return unit(torch.stack([self.written[text] for text in texts]))


@pytest.fixture
def reader(tokenizer: PreTrainedTokenizerFast) -> FakeReader:
    return FakeReader(tokenizer)


@pytest.fixture
def foreign(tokenizer: PreTrainedTokenizerFast) -> FakeReader:
    return FakeReader(tokenizer, statistics=False)
