"""The embedded corpus: the documentation that every Python carries.

Topics of `help()` and long docstrings, read with `ast` from the source files: nothing of the library is imported. The
text differs a little between Python versions, so its fingerprint does too.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from nlae.corpus.base import CorpusSource, Document
from nlae.corpus.cleaning import prose
from nlae.errors import NlaeError

TOPICS = "pydoc_data/topics.py"
_SKIP = {
    "test", "tests", "idlelib", "lib2to3", "ensurepip", "turtledemo", "site-packages", "dist-packages", "lib-dynload",
    "__pycache__", "pydoc_data", "__phello__", "encodings",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class StdlibCorpus(CorpusSource):
    """Prose of the standard library's documentation; a work is a topic or a top-level module.

    Attributes:
        min_characters: shorter texts (after cleaning) are left out.
    """

    min_characters: int = 240

    def documents(self) -> Iterator[Document]:
        """Topics first, then docstrings by file; code, tables and markup are taken out."""
        root = _library()
        for name, text in sorted(_topics(root).items()):
            if len(clean := prose(text)) >= self.min_characters:
                yield Document(f"topics/{name}", clean, f"topics/{name}")
        seen: set[str] = set()
        for path in _files(root):
            work = path.relative_to(root).parts[0].removesuffix(".py")
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            for name, text in _docstrings(path):
                clean = prose(text)
                if len(clean) >= self.min_characters and clean not in seen:
                    seen.add(clean)
                    yield Document(f"{module}:{name}" if name else module, clean, work)

    def fingerprint(self) -> str:
        """Hash of the files that would be read."""
        root = _library()
        digest = hashlib.sha256()
        for path in (root / TOPICS, *_files(root)):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes() if path.is_file() else b"")
        return "stdlib-" + digest.hexdigest()[:32]


def _library() -> Path:
    root = Path(sysconfig.get_paths()["stdlib"])
    if not (root / "argparse.py").is_file():
        raise NlaeError(
            f"{root} has no Python sources, which corpus=stdlib reads: use another Python, or corpus=files "
            "corpus.paths=[…]"
        )
    return root


def _files(root: Path) -> list[Path]:
    def wanted(path: Path) -> bool:
        parts = path.relative_to(root).parts
        return not _SKIP.intersection(parts) and not parts[0].startswith(("config-", "_sysconfigdata"))

    return sorted(path for path in root.rglob("*.py") if wanted(path))


def _topics(root: Path) -> dict[str, str]:
    """The literal that `pydoc_data.topics` assigns to `topics`; some distributions leave the file out."""
    path = root / TOPICS
    if not path.is_file():
        return {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return {str(key): str(value) for key, value in ast.literal_eval(node.value).items()}
    return {}


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Dotted name within the module (empty for the module itself) and docstring, in file order."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a few files of the library are broken on purpose
        return
    yield from _walk(tree, "")


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node, clean=False)
        if text:
            yield name, inspect.cleandoc(text)
        for child in node.body:
            child_name = getattr(child, "name", None)
            if child_name is not None:
                yield from _walk(child, f"{name}.{child_name}" if name else child_name)
