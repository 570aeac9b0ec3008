"""Any Hugging Face causal LM, by hub id or from a local folder."""

import hashlib
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError
from nlae.target.loading import load_config, load_model, load_tokenizer, missing
from nlae.target.quantization import check_quantization, quantized_name

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target

log = logging.getLogger(__name__)


class HubTarget:
    """A causal LM in Hugging Face's format.

    Args:
        name: Name of the target; null takes the last part of `model`.
        model: Hub id, e.g. `Qwen/Qwen2.5-7B-Instruct`, or path of a folder.
        revision: Branch, tag or commit; null is the main branch as it stands.
        trust_remote_code: Run code that comes with the model. Off unless you ask.
        quantization: `8bit` or `4bit` keeps the base in fewer bits (extra `nlae[quantize]`); null does not.
        dtype: What the pipeline loads the frozen weights in; of a source itself it says nothing.
    """

    def __init__(
        self,
        name: str | None,
        model: str,
        revision: str | None = None,
        trust_remote_code: bool = False,
        quantization: str | None = None,
        dtype: str = "auto",
    ) -> None:
        self.dtype = dtype
        check_quantization(quantization)
        self.name = name or Path(model).name
        self.model = model
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.quantization = quantization

    def describe(self) -> dict[str, Any]:
        """Plain data from which the same source can be built; a hub id is pinned to its commit once known."""
        revision = self.__dict__.get("_commit", self.revision)
        described: dict[str, Any] = {"_target_": "nlae.target.hub.HubTarget", "name": self.name, "model": self.model}
        described |= {"revision": revision, "quantization": self.quantization}
        return described | ({"trust_remote_code": True} if self.trust_remote_code else {})

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a hub id."""
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path
        looks_local = path.is_absolute() or self.model.startswith((".", "~")) or self.model.count("/") > 1
        if looks_local or not self.model:
            raise NlaeError(f"target.model={self.model}: no such folder, and not a hub id (owner/name); check the path")
        return None

    @cached_property
    def _commit(self) -> str:
        from huggingface_hub import HfApi, hf_hub_download

        try:
            return str(HfApi().model_info(self.model, revision=self.revision).sha)
        except Exception as error:  # offline, then what is cached is what will be loaded
            log.debug("hub did not answer: %s", error)
            refusal = error
        try:
            cached = hf_hub_download(self.model, "config.json", revision=self.revision, local_files_only=True)
        except Exception:
            raise missing(self.model, refusal) from refusal
        return Path(cached).parent.name

    @cached_property
    def _fingerprint(self) -> str:
        if self.folder is not None:
            return "folder-" + folder_hash(self.folder)
        return f"hub-{self.model}@{self._commit}"

    def fingerprint(self) -> str:
        """The commit of a hub model, or a hash of a folder's files; and what they are quantised to."""
        return quantized_name(self._fingerprint, self.quantization)

    def tokenizer_fingerprint(self) -> str:
        """The same for whatever does not read the weights."""
        return self._fingerprint

    @property
    def _place(self) -> tuple[str, dict[str, Any]]:
        """What to load, and with which options: a folder as it is, a hub model at its commit."""
        trust = {"trust_remote_code": self.trust_remote_code}
        if self.folder is not None:
            return str(self.folder), trust
        return self.model, {"revision": self._commit, **trust}

    def load_config(self) -> "PretrainedConfig":
        """The config of the text model."""
        model, options = self._place
        return load_config(model, **options)

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        model, options = self._place
        return load_tokenizer(model, **options)

    def load(self, dtype: str = "float32", device: str = "cpu", *, trunk_only: bool = False) -> "Target":
        """Load the weights; `device=auto` spreads them over the devices at hand; `trunk_only` see `load_model`."""
        from nlae.target.model import Target

        model, options = self._place
        loaded = load_model(model, dtype, device, trunk_only=trunk_only, quantization=self.quantization, **options)
        return Target(loaded, self.load_tokenizer(), self.name, self.fingerprint())


def folder_hash(folder: Path) -> str:
    """Hash of a model folder: names and bytes of its configs, tokenizer files and safetensors."""
    files = [p for p in sorted(folder.iterdir()) if p.suffix in {".json", ".safetensors", ".jinja", ".txt", ".model"}]
    if not files:
        raise NlaeError(f"target folder {folder}: holds no model files; check the path")
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
