"""Settings are refused where they are given, and hashes do not move."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from nlae.corpus import FilesCorpus, HubCorpus, StdlibCorpus
from nlae.corpus.base import stable_hash
from nlae.errors import NlaeError

CONF = Path(__file__).parents[3] / "conf" / "corpus"


def test_stable_hash_is_stable():
    assert stable_hash(0, "work", "asyncio") == 0x9E2421645F3CAE97
    assert stable_hash("a", "bc") != stable_hash("ab", "c")


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 0},
        {"min_tokens": 200},
        {"max_documents": 2},
        {"first_position": 128},
        {"short_share": 1.5},
        {"test_share": 0.0},
        {"val_share": 0.5, "test_share": 0.5},
        {"near_duplicates": 2.0},
        {"split_by": "page"},
    ],
)
def test_impossible_settings_name_their_key(settings):
    with pytest.raises(NlaeError, match=f"corpus.{next(iter(settings))}"):
        StdlibCorpus(**settings)


@pytest.mark.parametrize(("name", "kind"), [("stdlib", StdlibCorpus), ("files", FilesCorpus), ("hub", HubCorpus)])
def test_config_files_name_every_setting_and_share_the_defaults(name, kind):
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    assert config.pop("_target_") == f"nlae.corpus.{kind.__name__}"
    assert set(config) == {field.name for field in dataclasses.fields(kind)}
    source = kind(**config)
    if name != "hub":  # a real run's sizes
        assert dataclasses.replace(source, **({"paths": ()} if name == "files" else {})) == kind()
