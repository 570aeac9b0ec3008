"""Objects from config nodes, by Hydra's `instantiate`: `_target_` names a callable, other keys are its arguments.

What is not left to Hydra: texts reach their object as they were typed (it would resolve `${…}` in them), and what goes
wrong is one line that names the key. Whoever types a `_target_` or keeps it in a config folder runs code, as with a
script; nothing of a checkpoint gets here but values of a fixed schema (`pipeline.adopt`).
"""

import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from nlae.config.argv import nearest
from nlae.errors import NlaeError

HYDRAS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
_RESOLVED = 2  # times that `instantiate` resolves a text


def targets(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a `_target_`, outermost first, with its config key."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from targets(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{where}[{index}]")


def is_ours(name: object) -> bool:
    """Whether a `_target_` lies in this package."""
    return str(name).startswith("nlae.")


def make_findable(config: Any, folders: Iterable[str | Path]) -> None:
    """Let Python find the modules that a config names and that lie in one of `folders`, or beside it.

    An installed command does not look into the current folder, where people keep the file they have just written. A
    folder is added only if it holds what nothing else provides, and behind all others: a `torch.py` that lies there
    by chance, or by somebody's will, must never stand for the installed package.
    """
    names = {str(node["_target_"]).partition(".")[0] for _, node in targets(config, "")}
    places = [place for folder in folders for place in (Path(folder), Path(folder).parent)]
    for name in sorted(names):
        if not name.isidentifier() or name.startswith("_") or find_spec(name) is not None:
            continue
        for place in (Path.cwd(), *places):
            if (place / f"{name}.py").is_file() or (place / name).is_dir():
                sys.path.append(str(place))
                break


def locate(name: Any, where: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names.

    Args:
        name: dotted path, importable.
        where: config key, for the message.

    Raises:
        NlaeError: there is none, its module cannot be imported, or it is private or no class or function.
    """
    said = f"{where}._target_={name}"
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise NlaeError(f"{said}: give the dotted path of a class or function, such as my_module.MyClass")
    if any(part.startswith("_") for part in parts):
        raise NlaeError(f"{said}: names with a leading underscore are private and not built from a config")
    found: Any = _import(parts[0], said)
    for at, part in enumerate(parts[1:], 1):
        found = _inside(found, ".".join(parts[:at]), part, said, last=at + 1 == len(parts))
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise NlaeError(f"{said}: not a class or function")
    result: Callable[..., Any] = found
    return result


def _import(module: str, said: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise NlaeError(f"{said}: needs the package {error.name!r}; install it") from None
        if "." not in module:
            where = "install it, or let it lie in the current folder, or in the --config-dir or beside it"
            public = [name for name in sys.modules if not name.startswith("_")]
            raise NlaeError(f"{said}: there is no module {module!r}{nearest(module, public)}; {where}") from None
        raise
    except Exception as error:
        raise NlaeError(f"{said}: importing {module} failed ({type(error).__name__}: {error})") from error


def _inside(found: Any, path: str, part: str, said: str, *, last: bool) -> Any:
    """What `part` names in a module or class, modules not yet imported included."""
    try:
        return getattr(found, part)
    except AttributeError:
        pass
    except ModuleNotFoundError as error:  # a name that is loaded on first use
        raise NlaeError(f"{said}: needs the package {error.name!r}; install it") from None
    if isinstance(found, ModuleType):
        try:
            return _import(f"{path}.{part}", said)
        except ModuleNotFoundError:
            pass
    public = {key for key in (*dir(found), *getattr(found, "__all__", ())) if not key.startswith("_")}
    public |= {module.name for module in pkgutil.iter_modules(getattr(found, "__path__", []))}
    lacks = f"{path!r} has no {part!r}" if last else f"there is no module '{path}.{part}'"
    raise NlaeError(f"{said}: {lacks}{nearest(part, sorted(public))}")


def build(node: Any, where: str, **extra: Any) -> Any:
    """Build a node and everything inside it that has a `_target_`; anything else is returned as it is.

    Args:
        node: plain value from the resolved config.
        where: its config key, for messages.
        extra: further keyword arguments of the outermost callable.

    Raises:
        NlaeError: a `_target_` that cannot be built, or arguments that its callable refuses.
    """
    if isinstance(node, list):
        return [build(item, f"{where}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {key: build(value, f"{where}.{key}") for key, value in node.items()} | extra
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf.errors import OmegaConfBaseException

    callables = {path: locate(inner["_target_"], path) for path, inner in targets(node, where)}
    try:
        make = instantiate({"_convert_": "all", **verbatim(node), "_partial_": True})
        _refuse_nothing(node, make.keywords, where)
        made = make if node.get("_partial_") else make(**extra)
    except (InstantiationException, OmegaConfBaseException) as error:
        text = str(error)
        if error.__cause__ is None:
            raise NlaeError(f"{where}: {' '.join(text.split())}") from error
        inner = re.search(r"^\s*full_key: (\S+)", text, re.MULTILINE)
        at = f"{where}.{inner[1]}" if inner else where
        raise _told(error.__cause__, at, callables) from error
    except NlaeError:
        raise
    except Exception as error:
        told = _told(error, where, callables)
        if told is error:
            raise
        raise told from error
    if made is None:
        raise NlaeError(f"{where}: {node['_target_']} returned nothing; it must make what the key stands for")
    return made


def _refuse_nothing(node: Mapping[str, Any], built: Mapping[str, Any], where: str) -> None:
    """A part whose factory returned nothing would pass for one that is left out by null.

    Raises:
        NlaeError: naming its key.
    """
    for key, value in node.items():
        if not isinstance(value, Mapping) or key not in built:
            continue
        at = f"{where}.{key}"
        if "_target_" not in value:
            _refuse_nothing(value, built[key], at)
        elif built[key] is None:
            raise NlaeError(f"{at}: {value['_target_']} returned nothing; it must make what the key stands for")


def _told(error: BaseException, where: str, callables: Mapping[str, Any]) -> BaseException:
    """What a constructor said, in a line of ours where it speaks of values or is not ours; else as it is."""
    # Hydra writes the key of an item of a list without its brackets
    where = next((path for path in callables if _bare(path) == _bare(where)), where)
    found = callables.get(where)
    name = getattr(found, "__name__", "its class")
    if isinstance(error, TypeError | ValueError):
        return NlaeError(f"{where}: {name} refuses these values ({error}); see conf/README.md")
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # told with the key that helps
    if full or not isinstance(error, Exception) or is_ours(getattr(found, "__module__", "nlae.")):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1]
    return NlaeError(
        f"{where}: {name} could not be made ({type(error).__name__}: {error}; {last.filename}, line {last.lineno})"
    )


def _bare(path: str) -> str:
    return path.replace("[", "").replace("]", "")


def verbatim(value: Any) -> Any:
    """A plain value in which every text is written so that it arrives in its object as it is here."""
    if isinstance(value, Mapping):
        return {key: verbatim(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [verbatim(item) for item in value]
    if isinstance(value, str):
        for _ in range(_RESOLVED):
            value = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", value)
    return value
