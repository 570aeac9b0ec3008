"""The committed locks: exact versions within pyproject.toml's ranges, for every Python; make installs them."""

import re
import tomllib
import warnings
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from locks import drift, entries, pins

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
MODEL = "requirements-model.lock"
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = {
    "requirements.lock": (),
    "requirements-dev.lock": ("dev",),
    "requirements-studies.lock": ("studies",),
    "requirements-lowest.lock": ("test",),
}


def asked(extras: tuple[str, ...]) -> list[Requirement]:
    """What pyproject.toml asks for, with extras of extras."""
    lines = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        lines += PROJECT["project"]["optional-dependencies"][extra]
    wanted = []
    for requirement in map(Requirement, lines):
        wanted += asked(tuple(requirement.extras)) if requirement.name == "nlae" else [requirement]
    return wanted


def test_every_lock_is_known() -> None:
    assert sorted([*EXTRAS, "requirements-build.lock", MODEL]) == LOCKS
    supported = Requirement(f"python{PROJECT['project']['requires-python']}").specifier
    assert [f"3.{minor}" for minor in range(9, 20) if supported.contains(f"3.{minor}")] == list(PYTHONS)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", EXTRAS)
def test_direct_dependencies_are_pinned_within_their_ranges(name: str, python: str) -> None:
    pinned = pins(name, python)
    for requirement in asked(EXTRAS[name]):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {name} has {version}"


@pytest.mark.parametrize("python", PYTHONS)
def test_locks_agree_with_each_other(python: str) -> None:
    base = pins("requirements.lock", python)
    for name in ("requirements-dev.lock", "requirements-studies.lock"):
        pinned = pins(name, python)
        assert {package: pinned[package] for package in base} == base


@pytest.mark.parametrize("python", PYTHONS)
def test_lowest_is_the_floor_of_every_direct_dependency(python: str) -> None:
    """A floor that no test runs on is a guess."""
    pinned = pins("requirements-lowest.lock", python)
    for requirement in asked(()):
        (floor,) = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
        assert pinned[canonicalize_name(requirement.name)] == floor, requirement


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_versions_only(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|file:|/(root|home|work|tmp|opt|Users)/", text)
    accelerators = re.compile(r"^(nvidia|cuda|triton|pytorch-triton)\b", re.M)
    assert not accelerators.search(text), "a CPU build of torch must do"
    if name == MODEL:
        assert text.count("--hash=sha256:") >= 1
        return
    assert not re.search(r"^\s*-", text, re.M), "an option: an index, a folder of wheels, a hash"
    for entry in entries(name):
        (specifier,) = entry.specifier
        assert specifier.operator == "==", entry
        assert Version(specifier.version).local is None, entry
        assert not entry.url, entry


def recipe(target: str) -> str:
    """Commands of a rule of the Makefile, with the names of its prerequisites."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(target)}:(.*\n(?:\t.*\n)*)", makefile, re.M)
    assert found, target
    return found[1]


@pytest.mark.parametrize(
    ("target", "lock"),
    [
        ("$(VENV)/.package", "requirements.lock"),
        ("$(VENV)/.dev", "requirements-dev.lock"),
        ("$(VENV)/.model", MODEL),
        ("$(VENV)/.bench", "requirements-studies.lock"),
        ("$(LOWEST)/.dev", "requirements-lowest.lock"),
    ],
)
def test_make_installs_from_the_lock_and_again_when_it_changes(target: str, lock: str) -> None:
    prerequisites, *commands = recipe(target).splitlines()
    assert lock in prerequisites.split()
    assert any(f"--requirement {lock}" in command for command in commands)
    for command in commands:
        if "--editable" in command:
            assert "--no-deps" in command


def test_make_demo_and_test_stand_on_what_is_locked() -> None:
    assert recipe("demo").split()[0] == "$(VENV)/.model"
    assert "$(VENV)/.package" in recipe("$(VENV)/.model").splitlines()[0]
    assert recipe("test").split()[0] == "$(VENV)/.dev"
    assert ".lock" not in recipe("test-latest")
    assert "tests/unit" in recipe("test-lowest")
    assert "--require-hashes" in recipe("$(VENV)/.model")


def test_drift_names_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {str(name): str(version) for name, version in pins("requirements-dev.lock").items()}
    monkeypatch.setattr("locks.metadata.version", installed.__getitem__)
    assert drift() == []
    installed["torch"] += "+cpu"
    assert drift() == []
    installed["transformers"] = "5.99.0"
    assert [line.split()[:2] for line in drift()] == [["transformers", "5.99.0"]]


class OldName(UserWarning):
    """As starlette deprecates: no DeprecationWarning."""


@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning, FutureWarning, OldName])
def test_deprecations_are_errors_with_the_locked_packages_and_only_there(kind: type[Warning]) -> None:
    try:
        warnings.warn("this is deprecated", kind, stacklevel=1)
    except kind:
        raised = True
    else:
        raised = False
    assert raised == (not drift())
