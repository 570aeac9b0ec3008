"""Every key that holds a path takes the names that people's folders have, and none is forgotten."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from nlae.config.build import locate
from nlae.config.compose import compose_plain, conf_dir
from nlae.config.quoting import quote_paths, quoted
from nlae.config.schema import PATH_NAMES, ROOT_KEYS, VERBATIM

CONF = conf_dir()
NAMES = [
    "2024",
    "007",
    "1e5",
    "1_000",
    "true",
    "texts [2024]/a.txt",
    "notes (1).txt",
    "(a",
    "a=b.txt",
    "c#1.txt",
    "a, b.txt",
    "it's.txt",
    'the "best".txt',
    "crème brûlée.txt",
    "日本/東京.txt",
    "~/texts",
    "back\\slash",
    "back\\'slash",
    "ends in\\",
    " leading",
    "{a}",
    "a:b",
    "choice(a)",
]
KEYS = [
    "paths.artifacts",
    "paths.out",
    "logger.dir",
    "target.model",
    "+target.cache_dir",
    "corpus.dataset",
    "corpus.paths",
    "teacher.model",
    "rollout.model",
    "dictionary.directions",
    "dictionary.judge.model",
]
# keys that sound like paths and are none
NO_PATHS = {
    "target.file": "a name inside a wheel",
    "target.like.file": "likewise",
    "explain.random_directions": "a number",
    "data.store": "a stage gives it",
    "store.folder": "likewise",
    "report.folder": "likewise",
    "report.stages": "likewise",
    "data.descriptions": "likewise",
    "trainer.default_root_dir": "refused: a fit writes into its stage's folder",
}
_SOUNDS = re.compile(r"(?:^|_)(?:path|file|folder|dir|directory|artifact|dataset|direction|model|out)s?$")


def value(word: str) -> Any:
    """What Hydra makes of an override, once its path is quoted."""
    (override,) = OverridesParser.create().parse_overrides(quote_paths([word]))
    found = override.value()
    return [str(item) for item in found] if isinstance(found, list) else str(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", KEYS)
def test_any_name_arrives(key, name):
    text = value(f"{key}={name}")
    assert text == name


@pytest.mark.parametrize("name", NAMES)
def test_any_name_arrives_in_a_list_when_quoted_and_most_when_not(name):
    assert value(f"corpus.paths=[{quoted(name)}, b]") == [name, "b"]
    if "," not in name and name != "(a":
        assert value(f"corpus.paths=[b,{name}, c]") == ["b", name.strip(), "c"]


def test_they_arrive_in_the_composed_config():
    names = [name for name in NAMES if "," not in name and name not in ("(a", " leading")]
    config = compose_plain(
        quote_paths(["corpus=files", f"corpus.paths=[{','.join(names)}]", "paths.artifacts=2024", "logger.dir=007"])
    ).config
    assert config["corpus"]["paths"] == names
    assert (config["paths"]["artifacts"], config["logger"]["dir"]) == ("2024", "007")


def test_what_is_quoted_null_or_a_choice_of_a_sweep_is_left_alone():
    words = ["paths.out=null", "paths.artifacts='a b'", 'target.model="x"', "seed=3", "dictionary.directions="]
    assert quote_paths(words) == words
    sweep = ["target.model=a/b,c/d", "target.model=choice(a,b)"]
    assert quote_paths(sweep, sweeps=True) == sweep
    assert quote_paths(["target.model=a,b"]) == ["target.model='a,b'"]
    assert compose_plain(quote_paths(["paths.artifacts=${group}/x", "group=g"])).config["paths"]["artifacts"] == "g/x"


def _nodes(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        yield where, node
        for key, value in node.items():
            yield from _nodes(value, f"{where}.{key}" if where else str(key))


def test_no_key_that_holds_a_path_is_forgotten():
    found = set(ROOT_KEYS)
    for path in CONF.rglob("*/*.yaml"):
        group = path.relative_to(CONF).parent.as_posix().replace("/", ".")
        if group in ("launcher", "experiment", "sweep", "debug"):
            continue
        for where, node in _nodes(yaml.safe_load(path.read_text(encoding="utf-8")), group):
            found |= {f"{where}.{key}" if where else key for key in node if key != "_target_"}
            if "_target_" in node:
                parameters = inspect.signature(locate(node["_target_"], where)).parameters
                found |= {f"{where}.{name}" for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
                found |= {
                    f"{where}.{name} path"
                    for name, p in parameters.items()
                    if re.search(r"\bPath\b", str(p.annotation))
                }
    paths = {key.removesuffix(" path") for key in found if _SOUNDS.search(key) or key.endswith(" path")}
    known = {key for key in paths if key in VERBATIM or key.rpartition(".")[2] in PATH_NAMES}
    assert paths - known - set(NO_PATHS) == set()
    assert set(NO_PATHS) <= found
