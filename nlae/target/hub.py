"""Any Hugging Face causal LM, by hub id or from a local folder."""

import hashlib
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from nlae.target.model import Target

log = logging.getLogger(__name__)


class HubTarget:
    """A causal LM in Hugging Face's format.

    Args:
        name: Name of the target.
        model: Hub id, e.g. `Qwen/Qwen2.5-7B-Instruct`, or path of a folder.
        revision: Branch, tag or commit; null is the main branch as it stands.
        trust_remote_code: Run code that comes with the model. Off unless you ask.
    """

    def __init__(self, name: str, model: str, revision: str | None = None, trust_remote_code: bool = False) -> None:
        self.name = name
        self.model = model
        self.revision = revision
        self.trust_remote_code = trust_remote_code

    def describe(self) -> dict[str, Any]:
        """Plain data from which the same source can be built; a hub id is pinned to its commit once known."""
        revision = self.__dict__.get("_commit", self.revision)
        described = {"_target_": "nlae.target.hub.HubTarget", "name": self.name, "model": self.model, "revision": revision}
        return described | ({"trust_remote_code": True} if self.trust_remote_code else {})

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a hub id."""
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path
        if path.is_absolute() or self.model.startswith((".", "~")) or self.model.count("/") != 1:
            if "/" in self.model or not self.model:
                raise NlaeError(f"target.model={self.model}: no such folder and not a hub id (owner/name); check the path")
        return None

    @cached_property
    def _commit(self) -> str:
        from huggingface_hub import HfApi, hf_hub_download

        try:
            return str(HfApi().model_info(self.model, revision=self.revision).sha)
        except Exception as error:  # offline, then what is cached is what will be loaded
            log.debug("hub did not answer: %s", error)
        try:
            cached = hf_hub_download(self.model, "config.json", revision=self.revision, local_files_only=True)
        except Exception as error:
            raise self._missing(error) from error
        return Path(cached).parent.name

    @cached_property
    def _fingerprint(self) -> str:
        if self.folder is not None:
            return "folder-" + folder_hash(self.folder)
        return f"hub-{self.model}@{self._commit}"

    def fingerprint(self) -> str:
        """The commit of a hub model, or a hash of a folder's files."""
        return self._fingerprint

    def _arguments(self) -> dict[str, Any]:
        if self.folder is not None:
            return {"pretrained_model_name_or_path": str(self.folder), "trust_remote_code": self.trust_remote_code}
        return {
            "pretrained_model_name_or_path": self.model,
            "revision": self._commit,
            "trust_remote_code": self.trust_remote_code,
        }

    def _missing(self, error: Exception) -> NlaeError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return NlaeError(
            f"target.model={self.model}: cannot be loaded ({reason}); check the name, the network and your access to it, "
            "or choose target=smollm2_135m, which needs no hub"
        )

    def load_config(self) -> "PretrainedConfig":
        """The config of the text model."""
        from transformers import AutoConfig

        try:
            config: PretrainedConfig = AutoConfig.from_pretrained(**self._arguments())
        except (OSError, ValueError, KeyError) as error:
            raise self._missing(error) from error
        return config.get_text_config()

    def load_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        from transformers import AutoTokenizer

        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(**self._arguments())
        except (OSError, ValueError, KeyError) as error:
            raise self._missing(error) from error
        return tokenizer

    def load(self, dtype: str = "float32", device: str = "cpu") -> "Target":
        """Load the weights; `device=auto` spreads them over the devices at hand."""
        from transformers import AutoModelForCausalLM

        from nlae.target.model import Target, torch_dtype

        placement = {"device_map": "auto"} if device == "auto" else {}
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                **self._arguments(), dtype=torch_dtype(dtype), use_safetensors=True, **placement
            )
        except (OSError, ValueError, KeyError) as error:
            raise self._missing(error) from error
        if not placement:
            model = model.to(device)
        return Target(model, self.load_tokenizer(), self.name, self.fingerprint())


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
