"""What the dictionary refuses before anything is scanned."""

import pytest

from nlae.errors import NlaeError
from nlae.stages.dictionary import check


def config(**dictionary):
    return {"dictionary": dictionary, "target": {"_target_": "nlae.target.TinyTarget", "layers": 3}}


def test_layers_that_the_target_lacks():
    check(config(layers=[0, 2]))
    check(config(layers=None))
    with pytest.raises(NlaeError, match="dictionary.layers holds 99: the target has layers 0 to 2"):
        check(config(layers=[1, 99]))
