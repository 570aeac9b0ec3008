"""Tables of a README that a program writes are what it would write today, from the figures beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks import results, run
from experiments.dictionary import collect
from experiments.reference import collect as reference

STUDIES = Path(__file__).parents[2] / "experiments"


def written(readme: Path, name: str = "results") -> str:
    """What stands between the markers."""
    _, _, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    block, end, _ = rest.partition(f"\n<!-- end of {name} -->")
    assert end, f"{readme} lacks a marker"
    return block


def test_the_dictionary_studys_tables_are_those_of_its_results() -> None:
    held = json.loads((STUDIES / "dictionary" / "results.json").read_text(encoding="utf-8"))
    assert written(STUDIES / "dictionary" / "README.md") == collect.tables(held)


def test_the_reference_studys_tables_are_those_of_its_results(tmp_path: Path) -> None:
    readme = STUDIES / "reference" / "README.md"
    held = json.loads((readme.parent / "results.json").read_text(encoding="utf-8"))
    assert written(readme) == reference.tables(held)
    assert written(readme, "tails") == reference.tails(held)
    spoilt = readme.read_text(encoding="utf-8").replace("| 0.", "| 9.")
    (tmp_path / "README.md").write_text(spoilt, encoding="utf-8")
    reference.write_tables(held, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == readme.read_text(encoding="utf-8")


def test_the_benchmarks_tables_are_those_of_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = STUDIES / "benchmarks"
    for path in (here / "README.md", *here.glob("*.json")):
        shutil.copy(path, tmp_path)
    results.write_readme(tmp_path / "README.md", "nothing")
    monkeypatch.setattr(run, "HERE", tmp_path)
    run.refresh_readme()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (here / "README.md").read_text(encoding="utf-8")


def test_tables_need_no_drawing() -> None:
    """The extra `studies` is for figures alone."""
    names = ("dictionary.collect", "reference.collect", "benchmarks.growth")
    code = "import sys; sys.modules['matplotlib'] = None\n" + "\n".join(f"import experiments.{name}" for name in names)
    subprocess.run([sys.executable, "-c", code], cwd=STUDIES.parent, check=True)
