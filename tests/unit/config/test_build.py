"""Objects from nodes: any importable class, texts as they were typed, and one line for each way to fail."""

import random
import re
import sys

import pytest

from nlae.config.build import build, locate, make_findable, verbatim
from nlae.config.compose import compose_plain, conf_dir
from nlae.config.preflight import preflight, signature_problems
from nlae.errors import NlaeError

KEEP = "builtins.dict"  # keeps what reaches it


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user's own, which no path leads to."""

    def write(folder, source):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nlae_own_module.py").write_text(source)

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nlae_own_module", raising=False)
    yield write
    sys.modules.pop("nlae_own_module", None)


HOSTILE = [
    "${oc.env:HOME}",
    "\\${x}",
    "\\\\${x}",
    "\\\\\\${x}",
    "${",
    "$${}}",
    "{slot} {{a}} {'b': [1, 2]}",
    "${a}\n${b}\\\n",
    "\\",
    "\\\\",
    "x\\\\n${y:z,'q'}\\",
    "${oc.decode:'1'}",
    "$",
    "",
    "null",
    "true",
    "12",
    " \té 漢 \u0000",
    "<concept>{slot}</concept>",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("more", [{}, {"_partial_": True}, {"_recursive_": False}])
def test_texts_arrive_character_for_character(text, more):
    node = {"_target_": KEEP, "a": text, "b": [text, [text]], "c": {"d": text}, "e": {"_target_": KEEP, "f": text}}
    built = build(node | more, "node")
    built = built(g=text) if "_partial_" in more else built
    inner = {"_target_": KEEP, "f": text} if "_recursive_" in more else {"f": text}
    assert built == {"a": text, "b": [text, [text]], "c": {"d": text}, "e": inner} | (
        {"g": text} if "_partial_" in more else {}
    )
    assert type(built["b"]) is list
    assert type(built["c"]) is dict


def test_texts_of_many_brackets_and_backslashes_arrive():
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(
            draw.choices(["\\", "$", "{", "}", "${", "\\${", "a", "'", '"', ":", "\n"], k=draw.randint(1, 9))
        )
        assert build({"_target_": KEEP, "text": text}, "node") == {"text": text}, verbatim(text)


def test_a_prompt_is_what_was_typed():
    text = "${oc.env:HOME} \\${x} {slot}"
    config = compose_plain(["target=tiny"]).config
    prompt = build({**config["prompt"], "verbalizer": text}, "prompt")
    assert prompt.verbalizer == text


def test_partials_wait_for_what_exists_at_run_time_only():
    model = object()
    made = build({"_target_": KEEP, "_partial_": True, "inner": {"_target_": KEEP, "_partial_": True, "a": 1}}, "node")
    found = made(model=model)
    assert found["model"] is model
    assert found["inner"](b=2) == {"a": 1, "b": 2}
    assert build({"_target_": KEEP, "a": 1}, "node", model=model) == {"a": 1, "model": model}


def test_nodes_without_a_target_and_lists_of_nodes_are_built_inside():
    assert build({"one": {"_target_": KEEP, "a": 1}, "none": None}, "callbacks") == {"one": {"a": 1}, "none": None}
    assert build([{"_target_": KEEP, "a": 1}, 2], "callbacks") == [{"a": 1}, 2]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "builtins.int", "_args_": ["x"]}, "node: int refuses these values (invalid literal"),
        ({"_target_": KEEP, "a": [{"_target_": "builtins.int", "_args_": ["x"]}]}, "node.a[0]: int refuses"),
        ({"_target_": "nlae.target.Site", "kind": "nowhere", "layer": 1}, "nowhere"),
        ({"_target_": KEEP, "a": {"_target_": "nlae.target.Site", "kind": "nowhere", "layer": 1}}, "nowhere"),
        ({"_target_": "os.system", "command": "true"}, "node: Target 'os.system' is blocklisted"),
        ({"_target_": "nlae.target.TinyTraget"}, "'nlae.target' has no 'TinyTraget'; did you mean 'TinyTarget'?"),
        ({"_target_": "nlae.trget.TinyTarget"}, "there is no module 'nlae.trget'; did you mean 'target'?"),
        ({"_target_": "torch.optim.AdmW"}, "'torch.optim' has no 'AdmW'; did you mean 'AdamW'?"),
        ({"_target_": "nale.target.TinyTarget"}, "there is no module 'nale'; did you mean 'nlae'?"),
        ({"_target_": "nlae.target.site.KINDS"}, "not a class or function"),
        ({"_target_": "nlae.target"}, "not a class or function"),
        ({"_target_": "nlae.config.build._told"}, "leading underscore"),
        ({"_target_": "nlae.target.Site.__init__"}, "leading underscore"),
        ({"_target_": "Site"}, "give the dotted path"),
        ({"_target_": "a b.c"}, "give the dotted path"),
        ({"_target_": 3}, "give the dotted path"),
        ({"_target_": None}, "give the dotted path"),
    ],
)
def test_what_cannot_be_built_is_one_line_that_names_the_key(node, said):
    with pytest.raises(NlaeError) as failure:
        build(node, "node")
    assert said in str(failure.value)
    assert str(failure.value).startswith("node") or "nowhere" in said
    assert "\n" not in str(failure.value)


def test_a_bug_of_our_own_is_not_hidden(monkeypatch):
    def broken(self):
        raise RuntimeError("a bug")

    monkeypatch.setattr("nlae.target.TinyTarget.__init__", broken)
    for node in (
        {"_target_": "nlae.target.TinyTarget"},
        {"_target_": KEEP, "a": {"_target_": "nlae.target.TinyTarget"}},
    ):
        with pytest.raises(RuntimeError, match="a bug"):
            build(node, "node")


@pytest.mark.parametrize("where", ["here", "in the config folder", "beside it"])
def test_a_module_of_ones_own_is_found(own, tmp_path, monkeypatch, where):
    own(tmp_path, "class Mine:\n    def __init__(self, size: int = 1): self.size = size\n")
    monkeypatch.chdir(tmp_path if where == "here" else "/")
    folders = {"here": [], "in the config folder": [tmp_path], "beside it": [tmp_path / "conf"]}[where]
    node = {"_target_": "nlae_own_module.Mine", "size": 2}
    before = list(sys.path)
    make_findable({"reward": {"terms": {"mine": node}}}, folders)
    assert build(node, "node").size == 2
    assert sys.path == [*before, str(tmp_path)]  # behind everything that is installed
    assert signature_problems("node", {**node, "sise": 3}) == ["unknown key node.sise; did you mean 'size'?"]
    with pytest.raises(NlaeError, match="has no 'Mien'; did you mean 'Mine'"):
        locate("nlae_own_module.Mien", "node")


def test_what_is_installed_is_never_replaced_by_a_file_that_lies_here(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit")
    (tmp_path / "not_named.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    make_findable({"a": {"_target_": "json.loads"}, "b": {"_target_": "nlae.target.Site"}}, [])
    assert sys.path == before


def test_a_module_that_cannot_be_imported_is_told(own, tmp_path):
    own(tmp_path, "import nothing_of_the_kind\n")
    make_findable({"_target_": "nlae_own_module.Mine"}, [tmp_path])
    with pytest.raises(NlaeError, match="needs the package 'nothing_of_the_kind'"):
        locate("nlae_own_module.Mine", "node")
    own(tmp_path, "def broken(:\n")
    with pytest.raises(NlaeError, match="importing nlae_own_module failed"):
        locate("nlae_own_module.Mine", "node")


def test_preflight_binds_what_is_not_ours():
    config = compose_plain(["target=tiny"]).config
    config["callbacks"]["stop"] = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitr": "val/fve"}
    with pytest.raises(NlaeError) as failure:
        preflight(config, conf_dir())
    assert "unknown key callbacks.stop.monitr; did you mean 'monitor'?" in str(failure.value)
    assert "missing key callbacks.stop.monitor" in str(failure.value)


def test_a_partial_may_lack_arguments_but_have_none_too_many():
    node = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1}
    assert signature_problems("optimizer", node) == []
    assert signature_problems("optimizer", {**node, "bets": [0.9, 0.99]}) == [
        "unknown key optimizer.bets; did you mean 'betas'?"
    ]
    assert signature_problems("optimizer", {**node, "_partial_": False}) == [
        "missing key optimizer.params (needed by torch.optim.AdamW)"
    ]


def test_a_value_of_a_class_that_is_its_own_default_is_taken():
    def function(size: int = None):  # noqa: RUF013 - as people write it
        pass

    sys.modules[__name__].function = function
    assert signature_problems("node", {"_target_": f"{__name__}.function", "size": None}) == []
    assert signature_problems("node", {"_target_": f"{__name__}.function", "size": "x"}) != []
    assert signature_problems("node", {"_target_": f"{__name__}.function", "size": {"_target_": KEEP}}) == []


@pytest.mark.parametrize(
    ("where", "known"), [("callbacks", "progress"), ("evaluation.measures", "greedy"), ("reward.terms", "length")]
)
def test_a_part_without_a_class_is_told(where, known):
    config = compose_plain(["target=tiny"]).config
    node = config
    for part in where.split("."):
        node = node[part]
    node |= {known: None, "mine": {"every": 3}}
    said = rf"config: {re.escape(where)}\.mine names no class: give it a _target_"
    with pytest.raises(NlaeError, match=said) as failure:
        preflight(config, conf_dir())
    assert known not in str(failure.value)


CONSTRUCTORS = """
import abc

class Fails:
    def __init__(self):
        raise KeyError("API_KEY")

class Abstract(abc.ABC):
    @abc.abstractmethod
    def __call__(self): ...

def nothing():
    return None
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Fails", r"node.part: Fails could not be made \(KeyError: 'API_KEY'; .*nlae_own_module.py, line 6\)"),
        ("Abstract", r"node.part: Abstract refuses these values \(Can't instantiate abstract class"),
        ("nothing", r"node.part: nlae_own_module.nothing returned nothing"),
    ],
)
def test_what_a_constructor_of_the_users_does_wrong_is_one_line(own, tmp_path, monkeypatch, name, told):
    own(tmp_path, CONSTRUCTORS)
    monkeypatch.syspath_prepend(tmp_path)
    part = {"_target_": f"nlae_own_module.{name}"}
    with pytest.raises(NlaeError, match=told):
        build({"part": part}, "node")
    with pytest.raises(NlaeError, match=told):
        build({"_target_": KEEP, "part": part}, "node")
    with pytest.raises(NlaeError, match=told.replace("node.part", "node.terms.part")):
        build({"_target_": KEEP, "terms": {"part": part, "left_out": None}}, "node")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("reward=null", r"reward=null: no such option \(there are: faithful, fidelity\)"),
        ("trainer=3", r"trainer=3: no such option \(there are: cpu, gpu\)"),
    ],
)
def test_a_group_that_is_null_is_told_its_options(word, told):
    with pytest.raises(NlaeError, match=told):
        compose_plain([word])


@pytest.mark.parametrize("words", [["~objective"], ["~verbalizer", "debug=smoke"]])
def test_a_group_that_is_taken_away_is_told(words):
    config = compose_plain(["target=tiny", *words]).config
    with pytest.raises(NlaeError, match=rf"config: {words[0][1:]} is left out: choose an option of the group"):
        preflight(config, conf_dir())
