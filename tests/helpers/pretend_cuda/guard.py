"""Builds `guard.cpp`, once for each version of torch, in a folder of this user outside the tree."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")
COMPILER = "g++"


def missing() -> str | None:
    """Why there can be no pretend device here; None when there can."""
    return None if shutil.which(COMPILER) else f"the pretend CUDA device needs a C++ compiler ({COMPILER})"


def kept() -> Path:
    """Folder of what is made once; nobody else may write there, since a library from it is loaded.

    Raises:
        PermissionError: the folder belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"nlae-pretend-cuda-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is not this user's alone; remove it")
    version = importlib.metadata.version("torch")
    inside = folder / hashlib.sha256(SOURCE.read_bytes() + version.encode()).hexdigest()[:16]
    inside.mkdir(exist_ok=True)
    return inside


def load() -> None:
    """Load the answers of `guard.cpp` into this process, before torch asks for the first time."""
    assert "torch" not in sys.modules, "switch the device on before torch is imported: torch asks once"
    library = kept() / "guard.so"
    if not library.exists():
        _build(library)
    _loaded.append(ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL))


_loaded: list[ctypes.CDLL] = []


def exchange_device(number: int) -> int:
    """Make another device the current one (a negative number: none), and return which one was."""
    return int(_loaded[0].pretend_exchange(number))


def _build(library: Path) -> None:
    found = importlib.util.find_spec("torch")
    assert found is not None
    (root,) = found.submodule_search_locations or ()
    lib = f"{root}/lib"
    unfinished = library.with_suffix(f".{os.getpid()}")  # other processes may be building it, too
    flags = ["-O0", "-std=c++20", "-shared", "-fPIC", f"-I{root}/include", f"-L{lib}", f"-Wl,-rpath,{lib}"]
    made_from = [str(SOURCE), "-lc10", "-ltorch_cpu", "-o", str(unfinished)]
    subprocess.run([COMPILER, *flags, *made_from], check=True)
    unfinished.replace(library)
