"""What was already made of a target, for goals that mention it and never make it."""

from collections.abc import Mapping
from pathlib import Path

from nlae.errors import NlaeError
from nlae.pipeline.artifact import Artifact

DICTIONARY = "dictionary"


def finished_dictionary(root: Path, parents: Mapping[str, str]) -> Path | None:
    """The newest finished dictionary of a target and corpus; None when there is none, or only a damaged one.

    Args:
        root: folder of all artifacts.
        parents: fingerprints that it must have been made from, by stage.
    """
    found: list[tuple[str, Path]] = []
    for folder in sorted(path for path in (root / DICTIONARY).glob("*") if path.is_dir()):
        try:
            manifest = Artifact(DICTIONARY, folder.name, folder).manifest()
        except NlaeError:
            continue
        if manifest is not None and parents.items() <= (manifest.get("parents") or {}).items():
            found.append((str(manifest.get("started")), folder))
    return max(found)[1] if found else None
