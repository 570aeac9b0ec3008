"""The committed locks, read: what they pin for the Python that runs, and where this environment differs."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def entries(name: str) -> list[Requirement]:
    """All lines of a lock, for whatever Python and system."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def pins(name: str, python: str | None = None) -> dict[str, Version]:
    """Version of each package that a lock pins on this system.

    Args:
        name: the lock's file.
        python: "3.12"; None takes the one that runs.
    """
    place = {} if python is None else {"python_version": python, "python_full_version": f"{python}.0"}
    found: dict[str, Version] = {}
    for entry in entries(name):
        if entry.marker is None or entry.marker.evaluate(place):
            (specifier,) = entry.specifier
            package = canonicalize_name(entry.name)
            assert package not in found, f"{name} pins {package} twice for Python {python}"
            found[package] = Version(specifier.version)
    return found


def drift(name: str = "requirements-dev.lock") -> list[str]:
    """Packages that are installed in another version than the lock's; neither local parts (`+cpu`) nor pip count."""
    differing = []
    for package, version in pins(name).items():
        if package == "pip":  # never imported
            continue
        try:
            here = Version(metadata.version(package))
        except metadata.PackageNotFoundError:
            continue
        if here.public != version.public:
            differing.append(f"{package} {here.public} ({version.public})")
    return differing
