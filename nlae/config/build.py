"""Objects from config nodes: `_target_` names the callable, the other keys are its keyword arguments.

Hydra's own `instantiate` is left out: it would resolve `${…}` inside prompts and texts a second time, and would import
whatever a config from somewhere else names. Here only this package may be built.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nlae.errors import NlaeError

ALLOWED = ("nlae.", "pytorch_lightning.", "torch.optim.", "bitsandbytes.optim.")
_OWN = ("_target_", "_partial_")


def locate(name: str, where: str) -> Callable[..., Any]:
    """The callable that a `_target_` names.

    Args:
        name: dotted path inside `nlae`.
        where: config key, for the message.

    Raises:
        NlaeError: it is outside the allow-list or does not exist.
    """
    if not isinstance(name, str) or not name.startswith(ALLOWED) or "._" in name:
        raise NlaeError(f"{where}._target_={name!r}: only classes and functions of nlae can be built from a config")
    module_name, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise NlaeError(f"{where}._target_={name}: needs the package {error.name!r}; install it") from None
        raise NlaeError(f"{where}._target_={name}: there is no module {error.name!r}") from None
    except AttributeError:
        raise NlaeError(f"{where}._target_={name}: {module_name!r} has no {attribute!r}") from None
    if not callable(found):
        raise NlaeError(f"{where}._target_={name}: not a class or function")
    result: Callable[..., Any] = found
    return result


def build(node: Any, where: str, **extra: Any) -> Any:
    """Build a node and everything inside it that has a `_target_`; anything else is returned as it is.

    Args:
        node: plain value from the resolved config.
        where: its config key, for messages.
        extra: further keyword arguments of the outermost callable.

    Raises:
        NlaeError: a `_target_` that is not allowed, or arguments that its callable refuses.
    """
    if isinstance(node, list):
        return [build(item, f"{where}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    inner = {key: build(value, f"{where}.{key}") for key, value in node.items() if key not in _OWN}
    if "_target_" not in node:
        return {**inner, **extra}
    target = locate(node["_target_"], where)
    if node.get("_partial_"):
        return partial(target, **inner, **extra)
    try:
        return target(**inner, **extra)
    except (TypeError, ValueError) as error:
        raise NlaeError(f"{where}: {target.__name__} refuses these values ({error}); see conf/README.md") from error
