"""A base in 8 or 4 bits, by bitsandbytes: the linear maps of the blocks; embeddings, norms and the loss head stay.

4 bits (NF4, scales quantised too) are of the weights alone, so that sampling and training multiply by the same matrix.
8 bits round what enters a map as well, and which columns are spared is decided over the whole batch: a row's numbers
then depend a little on its neighbours. A quantised base is only ever read through: merging adapters into it, exporting
and training it whole are refused. Calibrated formats (GPTQ, AWQ) are left out, as they need data.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import BitsAndBytesConfig

KINDS = ("8bit", "4bit")
PACKAGE = "bitsandbytes"
_WEIGHTS = ("Params4bit", "Int8Params")  # by name, so that the package need not be there


def check_quantization(kind: str | None) -> None:
    """Raises: NlaeError, when `target.quantization` is none of the known ones."""
    if kind is not None and kind not in KINDS:
        raise NlaeError(f"target.quantization={kind}: choose null, {' or '.join(KINDS)}")


def quantized_name(fingerprint: str, kind: str | None) -> str:
    """The fingerprint of weights after quantisation; without one it stays what it is."""
    return fingerprint if kind is None else f"{fingerprint}-{kind}"


def quantizer(kind: str, dtype: str) -> BitsAndBytesConfig:
    """How transformers is told to quantise while it loads; products are computed in `dtype`.

    Raises:
        NlaeError: the package is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise NlaeError(f"target.quantization={kind} needs {PACKAGE}: pip install 'nlae[quantize]', or set it to null")
    from transformers import BitsAndBytesConfig

    # at every product it says that it casts to float16
    logging.getLogger(f"{PACKAGE}.autograd._functions").setLevel(logging.ERROR)
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def settle(model: nn.Module) -> None:
    """Keep 4-bit weights in one layout.

    On CPUs with bf16 units the first forward without gradient repacks them in place, for products that have none: all
    training after it would silently learn nothing.
    """
    module: Any
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def is_quantized(model: nn.Module) -> bool:
    """Whether any map of `model` is kept in fewer bits than it computes with."""
    return any(type(weight).__name__ in _WEIGHTS for weight in model.parameters())


def plain_weight(module: Any) -> Tensor:
    """The weight of a linear map as numbers, whatever it is kept in."""
    weight: Tensor = module.weight
    if type(weight).__name__ not in _WEIGHTS:
        return weight
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    plain: Tensor = dequantize_bnb_weight(module.weight, state=getattr(module, "state", None))
    return plain
