"""The few calls into transformers that load a model, with its failures turned into one line."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from nlae.errors import NlaeError
from nlae.terminal.progress import track

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

FAILURES = (OSError, ValueError, KeyError, ImportError, SafetensorError, RecursionError)
# said at every call: where nothing is said, transformers asks on the terminal whether to run the code that it found
CLOSED = {"trust_remote_code": False}


def load_config(model: str, **options: Any) -> "PretrainedConfig":
    """The config of the text model in a folder or on the hub."""
    from transformers import AutoConfig

    with readable(model):
        config: PretrainedConfig = AutoConfig.from_pretrained(model, **CLOSED | options)
        check_kernels(config)
    return config.get_text_config()


def load_tokenizer(model: str, **options: Any) -> "PreTrainedTokenizerBase":
    """The tokenizer in a folder or on the hub."""
    from transformers import AutoTokenizer

    with readable(model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model, **CLOSED | options)
    return tokenizer


def load_model(
    model: str, dtype: str, device: str, *, trunk_only: bool = False, quantization: str | None = None, **options: Any
) -> Any:
    """A causal LM from safetensors; `device=auto` spreads it over the devices at hand.

    Args:
        model: folder or hub id.
        dtype: of the weights.
        device: where they go.
        trunk_only: the folder holds embeddings and blocks only; final norm and head are made up and never read.
        quantization: `8bit`, `4bit` or None; see `quantization`.
        options: for transformers.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from nlae.target.model import torch_dtype
    from nlae.target.quantization import quantizer, settle

    options = CLOSED | options

    if quantization is not None:
        options["quantization_config"] = quantizer(quantization, dtype)
        options["device_map"] = {"": device}  # also on a CPU: it cannot be moved afterwards
    options |= placement(device)
    if device == "cpu" and dtype == "bfloat16":
        # torch's fused attention has no fast bf16 path on CPUs: plain matmuls take a quarter off a training step
        options["attn_implementation"] = "eager"
    with readable(model), quiet_bars(), quiet_report() if trunk_only else nullcontext():
        named = {key: options[key] for key in ("revision", "trust_remote_code") if key in options}
        check_kernels(AutoConfig.from_pretrained(model, **named))
        found: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch_dtype(dtype), use_safetensors=True, output_loading_info=True, **options
        )
    loaded, info = found
    if getattr(loaded, "_hf_peft_config_loaded", False):
        raise missing(model, ValueError("an adapter, whose base would be fetched from wherever it says; merge the two"))
    if trunk_only:
        _check_trunk(loaded, set(info["missing_keys"]), model)
    settle(loaded)
    return loaded


def placement(device: str) -> dict[str, Any]:
    """What tells transformers to read weights straight to `device`: the host never holds more than one of them."""
    if device == "cpu":
        return {}
    return {"device_map": "auto" if device == "auto" else {"": device}}


def check_kernels(config: "PretrainedConfig") -> None:
    """A config may name a repository whose compiled attention is fetched and run.

    Raises:
        ValueError: this one does.
    """
    parts = [config, *(getattr(config, name, None) for name in (getattr(config, "sub_configs", None) or ()))]
    for part in parts:
        for key in ("_attn_implementation", "_experts_implementation"):
            named = getattr(part, key, None)
            if isinstance(named, str) and "/" in named:
                raise ValueError(f"its config asks for code from elsewhere ({key.lstrip('_')}: {named})")


def _check_trunk(loaded: Any, missing_names: set[str], model: str) -> None:
    """The report was silenced because it lists what is never read; anything else that is missing is an error."""
    from nlae.target.architecture import Architecture

    architecture = Architecture.of(loaded)
    parts = [*architecture.blocks(loaded), architecture.embedding(loaded)]
    read = {id(weight) for part in parts for weight in part.parameters()}
    names = {name for name, weight in loaded.named_parameters(remove_duplicate=False) if id(weight) in read}
    lost = sorted(names & missing_names)
    if lost:
        raise missing(model, ValueError(f"{len(lost)} of its weights are not in the folder, {lost[0]} first"))


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


@contextmanager
def converting_bar() -> Iterator[None]:
    """Put our bar in the place of the one that transformers' GGUF reader draws, which no setting silences."""
    from transformers import modeling_gguf_pytorch_utils

    reader: Any = modeling_gguf_pytorch_utils

    def ours(tensors: Collection[Any], *_: Any, **__: Any) -> Iterator[Any]:
        return track(tensors, len(tensors), description="convert")

    theirs = getattr(reader, "tqdm", None)
    if theirs is not None:
        reader.tqdm = ours
    try:
        yield
    finally:
        if theirs is not None:
            reader.tqdm = theirs


@contextmanager
def quiet_report() -> Iterator[None]:
    """Silence transformers' report of weights that a folder lacks; the caller knows which may be missing."""
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_error)  # not setLevel: transformers does more when the level is set
    try:
        yield
    finally:
        logger.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
