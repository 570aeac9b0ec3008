"""What was already made of an autoencoder, for goals that mention it and never make it."""

from collections.abc import Mapping
from pathlib import Path

from nlae.errors import NlaeError
from nlae.pipeline.artifact import Artifact

DICTIONARY = "dictionary"


def finished_dictionary(root: Path, autoencoder: Mapping[str, str]) -> Path | None:
    """The newest finished dictionary of an autoencoder; None when there is none, or only a damaged one.

    Args:
        root: folder of all artifacts.
        autoencoder: the trained stage (`subject` for a given checkpoint) and its fingerprint.
    """
    found: list[tuple[str, Path]] = []
    for folder in sorted(path for path in (root / DICTIONARY).glob("*") if path.is_dir()):
        try:
            manifest = Artifact(DICTIONARY, folder.name, folder).manifest()
        except NlaeError:
            continue
        if manifest is not None and autoencoder.items() <= (manifest.get("parents") or {}).items():
            found.append((str(manifest.get("started")), folder))
    return max(found)[1] if found else None
