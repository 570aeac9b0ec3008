"""The changelog says of every stage which version its artifacts are of, once."""

import re
from pathlib import Path

from nlae.pipeline.plan import stage_module
from nlae.pipeline.table import STAGES

CHANGELOG = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")


def test_one_line_names_the_version_of_every_stage() -> None:
    newest = CHANGELOG.split("\n## ")[1]
    lines = re.findall(r"^Versions: (.*)\.$", newest, re.M)
    assert lines == [", ".join(f"{stage} {stage_module(stage).VERSION}" for stage in STAGES)]
    assert not re.search(r"is (?:now )?(?:at )?version \d|Versions: .* (?:is|are) at|` version \d", newest)
