"""From a config to artifacts: fingerprints of a goal and its ancestors, without building anything heavy.

Only the target's and the corpus's *sources* are built here (cheap constructors); weights load inside stages.
"""

from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from nlae.config.build import build, locate
from nlae.errors import NlaeError
from nlae.pipeline.artifact import Artifact
from nlae.pipeline.fingerprint import declared, digest, foreign_sources, hash_checkpoint, hash_file, pick
from nlae.pipeline.hardware import base_dtype, resolve_numbers, rounding
from nlae.pipeline.made import DICTIONARY, finished_dictionary
from nlae.pipeline.table import STAGES, SUBJECT, subject_of


def stage_module(name: str) -> Any:
    """The module of a stage: `VERSION` and `run(context)`."""
    return import_module(f"nlae.stages.{name}")


def hash_directions(path: Path) -> str:
    """Hash of a file of directions, or of the settings and weights in a folder of them.

    Raises:
        NlaeError: there is none.
    """
    files = sorted(path.glob("*.json")) + sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    try:
        return digest([hash_file(file) for file in files])
    except OSError as error:
        raise NlaeError(
            f"dictionary.directions={path} cannot be read ({error.strerror}); give a SAELens folder"
        ) from None


class Plan:
    """Everything that one config implies.

    Args:
        config: whole resolved config, plain.
        checkpoint: folder of a trained autoencoder that replaces the trained stages.
    """

    def __init__(self, config: dict[str, Any], checkpoint: Path | None = None) -> None:
        self.config = dict(config)
        self.checkpoint = checkpoint
        self._artifacts: dict[str, Artifact] = {}
        self._outside: dict[str, str] = {}
        self._resolve_site()
        if self.config.get("trainer"):
            precision, dtype = resolve_numbers(self.config)
            self.config["trainer"] = {**self.config["trainer"], "precision": precision}
            self.config["target"] = {**(self.config.get("target") or {}), "dtype": dtype}

    @cached_property
    def source(self) -> Any:
        """The target's source; no weights."""
        return build(self.config["target"], "target")

    def outside(self, name: str) -> str:
        """Fingerprint of something that comes from elsewhere.

        Args:
            name: one that `table.Stage.outside` lists.
        """
        if name not in self._outside:
            self._outside[name] = self._fingerprint_outside(name)
        return self._outside[name]

    def _fingerprint_outside(self, name: str) -> str:
        if name == "target":
            return str(self.source.fingerprint())
        if name == "tokenizer":
            own = getattr(self.source, "tokenizer_fingerprint", self.source.fingerprint)
            return str(own())
        if name == "corpus":
            return str(build(self.config["corpus"], "corpus").fingerprint())
        if name in ("teacher_target", "teacher_dtype"):
            return self._of_teacher(name.removeprefix("teacher_"))
        if name == DICTIONARY:
            found = finished_dictionary(self._root, {"scan": self.artifact("scan").fingerprint})
            return "" if found is None else found.name
        if name == "directions":
            given = pick(self.config, "dictionary.directions")
            return "" if given is None else hash_directions(Path(str(given)).expanduser())
        assert name == "dtype", name
        # how products are rounded changes activations, and so whatever is made of them
        return ", ".join(filter(None, (base_dtype(self.config), rounding(self.config))))

    def _of_teacher(self, name: str) -> str:
        """What the teacher's texts depend on outside the config: weights of its own, or the target's if it asks it."""
        node = self.config["teacher"]
        kind = locate(node.get("_target_"), "teacher")
        if hasattr(kind, "fingerprint"):  # their type is a key of its own
            return str(build(node, "teacher").fingerprint()) if name == "target" else rounding(self.config)
        return self.outside(name) if getattr(kind, "asks_target", True) else ""

    def _resolve_site(self) -> None:
        """Depths become layers, so that equal places have equal fingerprints."""
        node = self.config.get("site")
        if not node or "_target_" not in node:
            return
        site = build(node, "site").resolve(int(self.source.load_config().num_hidden_layers))
        several = hasattr(site, "layers")
        places = {"layers": list(site.layers), "depths": None} if several else {"layer": site.layer, "depth": None}
        self.config["site"] = {**node, **places}

    @property
    def subject(self) -> str:
        """The trained stage that is measured."""
        return subject_of((self.config.get("evaluation") or {}).get("subject"))

    @cached_property
    def checkpoint_hash(self) -> str:
        """Hash of the given checkpoint's files."""
        assert self.checkpoint is not None
        return hash_checkpoint(self.checkpoint)

    def parents(self, stage: str) -> list[str]:
        """Stages that `stage` reads, the subject by its own name, or `subject` when it is a given checkpoint."""
        names = []
        for name in STAGES[stage].parents:
            if name == SUBJECT and self.checkpoint is None:
                name = self.subject
            names.append(name)
        return names

    def artifact(self, stage: str) -> Artifact:
        """The artifact of one stage.

        Raises:
            NlaeError: the stage trains, and a checkpoint was given to be used instead.
        """
        if stage not in self._artifacts:
            self._artifacts[stage] = self._make(stage)
        return self._artifacts[stage]

    def _make(self, stage: str) -> Artifact:
        row = STAGES[stage]
        if row.trained and self.checkpoint is not None:
            raise NlaeError(f"{stage} trains, and checkpoint={self.checkpoint} is only measured or used; leave one out")
        parents = {
            name: self.checkpoint_hash if name == SUBJECT else self.artifact(name).fingerprint
            for name in self.parents(stage)
        }
        config = declared(self.config, row.nodes)
        hashed = {
            "stage": stage,
            "version": stage_module(stage).VERSION,
            "config": config,
            "outside": {name: self.outside(name) for name in row.outside},
            "parents": parents,
        }
        if sources := foreign_sources(config):
            hashed["sources"] = sources
        fingerprint = digest(hashed)
        return Artifact(stage, fingerprint, self._root / stage / fingerprint, parents, hashed)

    @property
    def _root(self) -> Path:
        return Path(self.config["paths"]["artifacts"]).expanduser().absolute()

    def order(self, goal: str) -> list[str]:
        """Stages to bring up to date for `goal`, parents first.

        Raises:
            NlaeError: one of them trains on a target that needs remote code, which no checkpoint ever loads again.
        """
        order: list[str] = []

        def visit(stage: str) -> None:
            for parent in self.parents(stage):
                if parent != SUBJECT:
                    visit(parent)
            if stage not in order:
                order.append(stage)

        visit(goal)
        trained = [stage for stage in order if STAGES[stage].trained]
        if trained and pick(self.config, "target.trust_remote_code"):
            raise NlaeError(
                f"target.trust_remote_code=true: {trained[0]} would make a checkpoint that cannot be used, as none is "
                "ever allowed to bring code; choose a target without it (corpus, extract and describe work with it)"
            )
        return order

    def parent_folders(self, stage: str) -> dict[str, Path]:
        """Folders of all ancestors of `stage`; the measured pair is there as `subject` too, wherever it comes from."""
        order = self.order(stage)
        folders = {name: self.artifact(name).folder for name in order if name != stage}
        if any(SUBJECT in STAGES[name].parents for name in order):
            folders[SUBJECT] = self.checkpoint or self.artifact(self.subject).folder
        return folders
