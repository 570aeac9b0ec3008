"""Every case of the catalogue ends in one line, exit status 2, and everything else as it was."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalogue import CASES, lay
from nlae.cli import main

SMOKE = ["target=tiny", "debug=smoke", "logger=none"]
IDS = [" ".join(word if len(word) < 60 else f"{word[:59]}…" for word in words) for words, _ in CASES]
IN_A_SHELL = ("corpus.paths=[{in}/broken.jsonl]", "seed=one", "text=hello")  # in a process of their own as well


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad") / "in"
    lay(folder)
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def spoken(words: list[str], inputs: Path, artifacts: Path) -> list[str]:
    """The whole command: small, and into a folder of its own, unless the case says otherwise."""
    own = [word.replace("{in}", str(inputs)) for word in words]
    if len(own) == 1:
        return own
    keys = {word.partition("=")[0] for word in own}
    more = [*SMOKE, f"paths.artifacts={artifacts}"]
    return [*own, *(word for word in more if word.partition("=")[0] not in keys)]


def judge(said: str | tuple[str, ...], status: int, out: str, err: str) -> None:
    """One line, which says what it must."""
    lines = [line for line in err.splitlines() if line.startswith("nlae: error: ")]
    assert (status, len(lines), out) == (2, 1, ""), err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == lines[0]
    assert len(lines[0]) < 1200, "a wall of text"
    for part in (said,) if isinstance(said, str) else said:
        assert part in lines[0]


def test_there_are_sixty_at_least() -> None:
    assert len(CASES) >= 60
    assert len({tuple(words) for words, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("words", "said"), CASES, ids=IDS)
def test_one_line_and_nothing_lost(
    words: list[str],
    said: str | tuple[str, ...],
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifacts, before = tmp_path / "artifacts", tree(inputs)
    capsys.readouterr()
    status = main(spoken(words, inputs, artifacts))
    captured = capsys.readouterr()
    judge(said, status, captured.out, captured.err)
    assert tree(inputs) == before
    # a stage that fails leaves no folder of its own; locks are no output
    assert [path for path in tree(artifacts) if not path.endswith(".lock")] == []


SHELLED = [(words, said) for words, said in CASES if words[-1] in IN_A_SHELL]


@pytest.mark.parametrize(("words", "said"), SHELLED, ids=[words[-1] for words, _ in SHELLED])
def test_the_same_in_a_shell(words: list[str], said: str | tuple[str, ...], inputs: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "nlae", *spoken(words, inputs, tmp_path / "artifacts")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=240, env=dict(os.environ))
    judge(said, done.returncode, done.stdout, done.stderr)
