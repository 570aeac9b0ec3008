"""What the README promises: its `nlae` commands run (small), its make targets exist, its links lead somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["target=tiny", "debug=smoke"]
IN_CI = os.environ.get("CI") == "true"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


def lines(language: str) -> list[str]:
    """Commands of all blocks of a language, with continued lines joined and comments dropped."""
    text = "\n".join(blocks(language)).replace("\\\n", " ")
    return [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]


def nlae_commands() -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in lines("bash") if line.split()[0] == "nlae"]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder far from the repository, with the files that the README's commands name."""
    numpy = pytest.importorskip("numpy")
    (tmp_path / "notes.txt").write_text(
        "The lease was void. The tenant, who had paid, left in May.\n", encoding="utf-8"
    )
    turns = [{"role": "user", "content": "Where is Oslo?"}, {"role": "assistant", "content": "Oslo is in Norway."}]
    (tmp_path / "chat.json").write_text(json.dumps(turns), encoding="utf-8")
    numpy.save(tmp_path / "direction.npy", numpy.linspace(-1, 1, 64, dtype="float32"))
    (tmp_path / "texts").mkdir()
    subjects = ("court", "river", "engine", "garden", "market", "choir")
    for index in range(60):
        words = f"The {subjects[index % 6]} of town number {index} was described by {index * 7 + 3} people. " * 6
        (tmp_path / "texts" / f"{index:02d}.txt").write_text(words, encoding="utf-8")
    return tmp_path


def test_readme_shows_both_commands_in_its_first_screen() -> None:
    first_screen = README[: README.index("## ")]
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_readme_has_commands_of_every_kind() -> None:
    goals = {command[1] for command in nlae_commands()}
    assert {"evaluate", "report", "corpus", "warmstart", "explain", "export", "dictionary"} <= goals


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_nlae_command_runs_from_another_folder(workplace: Path) -> None:
    """One after another, as a reader would type them: later ones use what earlier ones made."""
    failures, report = [], []
    for command in nlae_commands():
        small = [] if command[1].startswith("-") else SMALL
        started = time.monotonic()
        run = subprocess.run(
            [sys.executable, "-m", "nlae", *command[1:], *small],
            cwd=workplace,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        report.append(f"{time.monotonic() - started:6.1f} s  {shlex.join(command)}")
        if run.returncode != 0:
            failures.append(f"{shlex.join([*command, *small])}\n{run.stderr[-1500:]}")
        elif small and "--cfg" not in command and not any(part.startswith("query=") for part in command):
            folder = run.stdout.strip().splitlines()[-1]
            if not (workplace / folder).is_dir():
                failures.append(f"{shlex.join(command)}: the last line is no folder: {folder!r}")
    assert not failures, "\n\n".join(failures + report)


def test_what_is_typed_on_a_gpu_composes() -> None:
    """They need a GPU; `integration/test_device` runs their like on one that does not exist."""
    from nlae.config.argv import parse_argv
    from nlae.config.compose import compose_plain

    commands = [shlex.split(line, comments=True) for line in lines("sh") if line.startswith("nlae ")]
    commands = [words for words in commands if "trainer=gpu" in words]
    assert len(commands) == 4
    composed = [compose_plain(parse_argv(words[1:]).overrides).config for words in commands]
    assert {config["trainer"]["precision"] for config in composed} == {"auto", "bf16-mixed", "32-true"}
    assert all(config["trainer"]["accelerator"] == "gpu" for config in composed)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = set(re.findall(r"make ([a-z][a-z-]*)", "\n".join(re.findall(r"`make [^`]*`|^make .*$", README, re.M))))
    assert {"demo", "test", "test-latest", "test-lowest"} <= wanted
    for target in wanted:
        assert re.search(rf"^{target}:", makefile, re.M), (
            f"README says `make {target}`, the Makefile has no such target"
        )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not IN_CI, reason="make targets are run where CI=true only")
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_demo_says_where_the_results_lie(tmp_path: Path) -> None:
    """`make test` is what runs this test, so only the other command is left."""
    small = " ".join([*SMALL, f"paths.artifacts={tmp_path}/artifacts"])
    run = subprocess.run(
        ["make", "demo", f"ARGS={small}"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=800
    )
    assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-3000:]
    page = re.search(r"^Report: +(.+)$", run.stdout, re.M)
    assert page is not None, run.stdout
    assert (ROOT / page[1]).is_file()
    runs = re.search(r"^W&B runs: (\S+)", run.stdout, re.M)
    assert runs is not None, run.stdout
    assert list((ROOT / runs[1]).glob("offline-run-*"))


def test_local_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert len(links) > 5
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing, missing


def test_results_are_between_their_marks() -> None:
    """Only the reference study fills the table; the marks are how it finds it."""
    assert README.count("<!-- results:start") == 1
    assert (
        README.index("<!-- results:start")
        < README.index("**round trip after joint RL**")
        < README.index("results:end -->")
    )
