"""Files from elsewhere, read as data: bounded in size and depth, without aliases, tags or pickled objects.

Whatever is wrong with one is a ValueError (JSON: its JSONDecodeError) or an OSError, so that a caller can say in one
line which file it was. Left out: what the values must be, which is a schema's business (`nlae.model.sidecar`).
"""

import json
from pathlib import Path
from typing import Any

import yaml

MOST_SETTINGS = 16 << 20  # bytes of a file of settings
MOST_ARRAY = 8 << 30  # bytes of a file of vectors


def read_text(path: Path, most: int = MOST_SETTINGS) -> str:
    """The UTF-8 text of a file of settings.

    Args:
        path: a regular file; a pipe or a device could give bytes without end.
        most: bytes it may have.

    Raises:
        ValueError: not a regular file, too large, or no UTF-8.
        OSError: it cannot be read.
    """
    check_size(path, most)
    return path.read_text(encoding="utf-8")


def check_size(path: Path, most: int) -> None:
    """Refuse what cannot be a file of its kind, before anything is read.

    Raises:
        ValueError: not a regular file, or larger than `most` bytes.
        OSError: there is no such file.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("not a regular file")
    if size > most:
        raise ValueError(f"{size:,} bytes are more than the {most:,} that such a file may have")


def parse_json(text: str | bytes) -> Any:
    """`json.loads`; nesting that is too deep and numbers that are too long are JSONDecodeErrors too.

    Raises:
        json.JSONDecodeError: no JSON.
        UnicodeDecodeError: bytes in no encoding that JSON may have.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", _start(text), 0) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python refuses to make a number of more than 4,300 digits
        raise json.JSONDecodeError("a number has too many digits", _start(text), 0) from None


def read_json(path: Path, most: int = MOST_SETTINGS) -> Any:
    """The value in a JSON file.

    Raises:
        ValueError: no JSON, or too large.
        OSError: it cannot be read.
    """
    return parse_json(read_text(path, most))


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text; aliases are refused, since a few lines of them can stand for gigabytes.

    Raises:
        ValueError: no such YAML.
    """
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 a safe loader that refuses more
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def read_yaml(path: Path, most: int = MOST_SETTINGS) -> Any:
    """The value in a YAML file.

    Raises:
        ValueError: no YAML of plain values, or too large.
        OSError: it cannot be read.
    """
    return parse_yaml(read_text(path, most))


def read_array(path: Path, most: int = MOST_ARRAY) -> Any:
    """The numbers in a `.npy` file, a numpy array in memory; what its header claims is compared with the file first.

    Raises:
        ValueError: no such file, Python objects in it, or more than `most` bytes.
        OSError: it cannot be read.
    """
    import numpy as np

    check_size(path, most)
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise ValueError("an archive of arrays, not one array")
        return np.array(mapped)
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged header raises whatever Python's own tokenizer and parser do
        raise ValueError(f"its header is damaged ({type(error).__name__})") from None


def finite(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors of weights, as they are.

    Raises:
        ValueError: one is not made of numbers that a model could have learned.
    """
    for name, weight in state.items():
        if not weight.is_floating_point() or not bool(weight.isfinite().all()):
            raise ValueError(f"{name} is not made of finite numbers")
    return state


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias; anything else is composed as ever."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read", mark)
        return super().compose_node(parent, index)


def _start(text: str | bytes) -> str:
    return text[:80] if isinstance(text, str) else text[:80].decode("utf-8", "replace")
