"""The few calls into transformers that load a model, with its failures turned into one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

FAILURES = (OSError, ValueError, KeyError, ImportError, SafetensorError)


def load_config(model: str, **options: Any) -> "PretrainedConfig":
    """The config of the text model in a folder or on the hub."""
    from transformers import AutoConfig

    with readable(model):
        config: PretrainedConfig = AutoConfig.from_pretrained(model, **options)
    return config.get_text_config()


def load_tokenizer(model: str, **options: Any) -> "PreTrainedTokenizerBase":
    """The tokenizer in a folder or on the hub."""
    from transformers import AutoTokenizer

    with readable(model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model, **options)
    return tokenizer


def load_model(model: str, dtype: str, device: str, **options: Any) -> Any:
    """A causal LM from safetensors; `device=auto` spreads it over the devices at hand."""
    from transformers import AutoModelForCausalLM

    from nlae.target.model import torch_dtype

    if device == "auto":
        options["device_map"] = "auto"
    if device == "cpu" and dtype == "bfloat16":
        # torch's fused attention has no fast bf16 path on CPUs: plain matmuls take a quarter off a training step
        options["attn_implementation"] = "eager"
    with readable(model), quiet_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch_dtype(dtype), use_safetensors=True, **options
        )
    return loaded if device == "auto" else loaded.to(device)


@contextmanager
def readable(model: str) -> Iterator[None]:
    """Turn a failure to find, fetch or understand `model` into one line."""
    try:
        yield
    except FAILURES as error:
        raise missing(model, error) from error


def missing(model: str, error: Exception) -> NlaeError:
    """The line for a model that cannot be loaded."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
    return NlaeError(
        f"target.model={model}: cannot be loaded ({reason}); check the name, the network and your access to it, "
        "or choose target=smollm2_135m, which needs no hub"
    )


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Silence transformers' own progress bars, which would run through ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
