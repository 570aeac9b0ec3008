"""Every key that has moved is refused in one line, and what the line says to write is there."""

import re

import pytest

from nlae.config.compose import compose_plain
from nlae.config.moved import GONE, MOVED, MOVED_VALUES
from nlae.errors import NlaeError


def written(old: str) -> str:
    return f"{old}x=1" if old.endswith(".") else f"{old}=1"


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_moved_key_is_told_in_one_line(old):
    with pytest.raises(NlaeError, match="has moved: write ") as told:
        compose_plain([written(old)])
    assert "\n" not in str(told.value)
    config = compose_plain([]).config
    for key in re.findall(r"\b\w+(?:\.\w+)+\b", MOVED[old]):
        node = config
        for part in key.split("."):
            assert part in node, f"{old}: {key} is no key"
            node = node[part]


@pytest.mark.parametrize("old", sorted(GONE))
def test_a_key_that_is_gone_is_told_in_one_line(old):
    for word in (f"{old}=1", f"+{old}.x=1"):
        with pytest.raises(NlaeError, match=f"{old}.* is gone: ") as told:
            compose_plain([word])
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(("key", "value"), sorted(MOVED_VALUES))
def test_a_moved_value_is_told_in_one_line(key, value):
    with pytest.raises(NlaeError, match=f"{key}={value} has moved: write "):
        compose_plain([f"{key}={value}"])
    compose_plain([MOVED_VALUES[key, value]])


def test_what_stands_below_a_moved_node_is_named_whole():
    with pytest.raises(NlaeError, match=r"write objective\.kl$"):
        compose_plain(["objective.reinforce.kl=0"])
    with pytest.raises(NlaeError, match=r"write verbalizer\.rank and reconstructor\.rank$"):
        compose_plain(["+objective.warmstart.rank=0"])
