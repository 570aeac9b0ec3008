"""From overrides to one plain, resolved mapping.

The only module that meets a DictConfig; what leaves it is dicts, lists, strings and numbers. The config folder is found
at run time (`nlae/conf` in a wheel, `conf/` in a checkout) and handed to Hydra as an absolute path.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nlae.config.argv import nearest
from nlae.config.devices import device_of
from nlae.config.messages import explain_failure
from nlae.config.moved import refuse_moved
from nlae.config.quoting import quoted
from nlae.config.schema import ROOT_KEYS, RootConfig
from nlae.errors import NlaeError
from nlae.tracking.redaction import redact

ConfigStore.instance().store(name="nlae_schema", node=RootConfig)
OmegaConf.register_new_resolver("device_of", device_of, replace=True)


@dataclass
class Composed:
    """A config that can be used without Hydra.

    Attributes:
        config: the whole tree, plain and resolved.
        typed: config keys and groups that the user set on the command line, sweep values included.
        choices: group -> option.
        overrides: as typed.
        multirun: a `sweep` group asked for several jobs.
        folders: of configs of the user's own.
    """

    config: dict[str, Any]
    typed: tuple[str, ...] = ()
    choices: dict[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    multirun: bool = False
    folders: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Name of the W&B group: set by hand, or the sweep's, or the experiment's."""
        sweep = self.choices.get("sweep", "none")
        named = sweep if sweep != "none" else self.choices.get("experiment", "default")
        return str(self.config.get("group") or named)


def conf_dir() -> Path:
    """The shipped config folder.

    Raises:
        NlaeError: neither the wheel's nor the checkout's is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise NlaeError(f"no configs beside {package}: the installation is damaged; install nlae again")


@contextmanager
def hydra_session() -> Iterator[None]:
    """Hydra initialised on the shipped folder; closed afterwards, also when it was open before (tests)."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3", job_name="nlae"):
        yield


def search_path(folder: str | None) -> list[str]:
    """The override that makes Hydra look into the user's `--config-dir` as well."""
    if folder is None:
        return []
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise NlaeError(f"--config-dir {folder}: no such folder")
    return [f"hydra.searchpath=[{quoted(f'file://{path}')}]"]


def compose_raw(overrides: Sequence[str]) -> DictConfig:
    """Compose with Hydra's own node kept; call inside `hydra_session`.

    Raises:
        NlaeError: one line that names the override at fault and the nearest valid one.
    """
    refuse_moved(overrides)
    try:
        return compose("config", list(overrides), return_hydra_config=True)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NlaeError(f"config: a file is no YAML ({_one_line(error)}); mend it") from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # `group=null` is Hydra's ValueError
        raise NlaeError(explain_failure(error, overrides)) from None


def typed_keys(overrides: Sequence[str]) -> tuple[str, ...]:
    """Keys and groups that overrides set, without the signs before and packages after them."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return tuple(override.key_or_group for override in parsed)


def to_plain(cfg: DictConfig, hydra: Any) -> Composed:
    """Resolve a composed config and leave Hydra behind.

    Args:
        cfg: composed, with or without Hydra's own node.
        hydra: that node.

    Raises:
        NlaeError: a value that is missing or cannot be resolved.
    """
    overrides = tuple(str(item) for item in hydra.overrides.task)
    choices = {str(key): str(value) for key, value in hydra.runtime.choices.items()}
    multirun = str(hydra.get("mode")).endswith("MULTIRUN")
    job = cfg.copy()
    with open_dict(job):
        job.pop("hydra", None)
    try:
        plain: Any = OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise NlaeError(f"config: {_one_line(error)}") from None
    config: dict[str, Any] = plain
    unknown = [f"unknown key '{key}'{nearest(str(key), ROOT_KEYS)}" for key in config if key not in ROOT_KEYS]
    if unknown:
        raise NlaeError("config: " + "; ".join(unknown))
    typed = typed_keys(overrides)
    folders = tuple(str(place).removeprefix("file://") for place in hydra.searchpath)
    return Composed(_choose_site(config, typed), typed, choices, overrides, multirun, folders)


def _choose_site(config: dict[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """Layer or depth: the typed one replaces the default of the other; both typed stay, and are refused later.

    A default for one site means nothing to several, which have layers of their own.
    """
    site = config.get("site", {})
    if "layers" in site or "kinds" in site:
        for key in ("layer", "depth"):
            if f"site.{key}" not in typed:
                site.pop(key, None)
    for mine, other in (("layer", "depth"), ("depth", "layer")):
        if f"site.{mine}" in typed and f"site.{other}" not in typed and site.get(mine) is not None:
            site[other] = None
    if site.get("layer") is not None and site.get("depth") is not None:
        raise NlaeError(
            f"site.layer={site['layer']} and site.depth={site['depth']} name two places: "
            "set one (an integer block, or a fraction of the depth)"
        )
    return config


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def compose_plain(overrides: Sequence[str]) -> Composed:
    """Compose one job from scratch; opens and closes Hydra.

    Raises:
        NlaeError: an unknown key, group or option, or a missing value.
    """
    with hydra_session():
        cfg = compose_raw(overrides)
        return to_plain(cfg, cfg.hydra)


def as_yaml(overrides: Sequence[str], package: str, resolve: bool, verbatim: Mapping[str, str]) -> str:
    """What `--cfg job|hydra|all` prints; secrets are blotted out, as people paste it where others read it."""
    with hydra_session():
        cfg = compose_raw(overrides)
        if package == "job":
            with open_dict(cfg):
                del cfg["hydra"]
        elif package == "hydra":
            cfg = OmegaConf.create({"hydra": OmegaConf.to_container(cfg.hydra, resolve=False)})
        if package != "hydra":
            for key, value in verbatim.items():
                cfg[key] = value.replace("${", "\\${")
        plain = OmegaConf.to_container(cfg, resolve=resolve, enum_to_str=True)
        return yaml.safe_dump(redact(plain), sort_keys=False, allow_unicode=True)
