import pytest

from nlae.errors import NlaeError
from nlae.target import Site


def test_layer_and_depth_name_the_same_place():
    assert Site(depth=0.5).resolve(29) == Site(layer=14).resolve(29)
    assert Site(depth=0).resolve(30).layer == 0
    assert Site(depth=1).resolve(30).layer == 29
    assert Site().resolve(30).layer == 19  # two thirds of the depth


def test_names():
    assert Site(layer=19).name == "resid.19"
    assert Site(layer=19).hook == "blocks.19.output"
    assert Site("mlp_out", 3).hook == "blocks.3.mlp.output"
    assert Site("mlp_neurons", 3).hook == "blocks.3.mlp.down_proj.input"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layer": 1, "depth": 0.5}, "both set"),
        ({"layer": -1}, "negative"),
        ({"depth": 1.2}, "outside 0 to 1"),
        ({"kind": "attention"}, "choose one of resid"),
        ({"min_position": -1}, "negative"),
    ],
)
def test_impossible_sites_are_refused(settings, says):
    with pytest.raises(NlaeError, match=says):
        Site(**settings)


def test_layer_out_of_range_names_the_range():
    with pytest.raises(NlaeError, match=r"site.layer=30 .* 0 to 29"):
        Site(layer=30).resolve(30)


def test_unresolved_site_has_no_name():
    with pytest.raises(NlaeError, match="resolve"):
        _ = Site().name
