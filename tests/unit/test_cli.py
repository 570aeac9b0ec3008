"""The command line, up to the point where the pipeline takes over."""

import re
import subprocess
import sys

import pytest

from nlae import cli
from nlae.config.argv import GOALS, SERVICES, parse_argv
from nlae.config.schema import PATHS, VERBATIM
from nlae.errors import NlaeError
from nlae.pipeline.table import DICTIONARY_FORMATS

HARD = [
    "a, b, c",
    "it's \"quoted\" 'twice'",
    "f(x) [y] {z}",
    "first line\nsecond line",
    "crème brûlée, naïve, 日本",
    "a=b=c",
    "${x} ${hydra:job} ${oc.env:HOME}",
    "true",
    "null",
    "",
    "--cfg job",
    "x, seed=3",
    "\\ backslash \\",
    "1,2,3",
    "~target",
]


@pytest.mark.parametrize("key", VERBATIM)
@pytest.mark.parametrize("value", HARD)
def test_texts_and_paths_are_taken_verbatim(key, value):
    if key in PATHS and not value:
        pytest.skip("a path is never empty")
    line = parse_argv(["explain", f"{key}={value}", "seed=1"])
    assert line.verbatim == {key: value}
    assert line.overrides == ["seed=1"]


@pytest.mark.parametrize("key", PATHS)
def test_an_empty_path_is_refused(key, capsys):
    assert cli.main(["explain", f"{key}="]) == 2
    assert f"{key}= is empty" in capsys.readouterr().err


@pytest.mark.parametrize("value", HARD)
def test_what_is_verbatim_reaches_the_job_unchanged(monkeypatch, tmp_path, capsys, value):
    keys = ["text", *(PATHS if value else ())]
    seen = {}

    def run_one(composed, goal, verbatim, group=None):
        seen.update(composed.config | verbatim)
        return tmp_path, {}

    monkeypatch.setattr(cli, "run_one", run_one)
    assert cli.main(["explain", *(f"{key}={value}" for key in keys), "tokens=-1", "target=tiny"]) == 0
    assert {seen[key] for key in keys} == {value}
    assert seen["tokens"] == "-1"
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "read"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("-1", [4]),
        ("2", [2]),
        ("last_of_turn", [3]),
        ("(a|b)", [0, 1]),
        ("^a$", None),
        ("^ab 7", [0, 1, 2]),
        ("[7]", [2]),
        ("[1,2]", [3]),
        ("(all)", None),
        ("\\d, c", [2, 3]),
    ],
)
def test_tokens_are_a_word_an_index_or_a_regular_expression(monkeypatch, tmp_path, tokens, read):
    from nlae.errors import NlaeError
    from nlae.explain.tokens import Passage, Turn, select

    seen = {}

    def run_one(composed, goal, verbatim, group=None):
        seen.update(composed.config | verbatim)
        return tmp_path, {}

    monkeypatch.setattr(cli, "run_one", run_one)
    assert cli.main(["explain", "text=any", f"tokens={tokens}", "target=tiny"]) == 0
    passage = Passage("p", "text", (0, 1, 2, 3, 4), ("a", "b", " 7", ", c", " "), (Turn("", 0, 5),))
    if read is None:
        with pytest.raises(NlaeError, match="matches nothing"):
            select(passage, seen["tokens"])
    else:
        assert select(passage, seen["tokens"]) == read


def test_bare_command_is_the_quickstart_report_and_nothing_else_is():
    bare = parse_argv([])
    assert (bare.goal, bare.overrides) == ("report", ["experiment=quickstart"])
    assert parse_argv(["report"]).overrides == []
    assert parse_argv(["target=tiny"]).overrides == ["target=tiny"]


@pytest.mark.parametrize("goal", [*GOALS, *SERVICES])
def test_goal_may_stand_anywhere(goal):
    assert parse_argv(["seed=1", goal, "target=tiny"]).goal == goal


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evalute"], "unknown goal 'evalute'; did you mean 'evaluate'"),
        (["corpus", "extract"], "two goals at once"),
        (["--multrun"], "did you mean '--multirun'"),
        (["--cfg"], "needs a value"),
        (["--cfg", "jobs"], "shows `job`"),
    ],
)
def test_bad_words_are_one_line(argv, message, capsys):
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("nlae: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeed=3", "did you mean 'seed'"),
        ("site.layr=3", "did you mean 'site.layer'"),
        ("objective.lr=1", "'objective.verbalizer_lr' or 'objective.reconstructor_lr'?"),
        ("adapter.rank=1", "did you mean 'verbalizer.adapter.rank' or 'reconstructor.adapter.rank' or"),
        ("target=tinny", "did you mean 'tiny'"),
        ("debgu=smoke", "did you mean 'debug'"),
        ("experiment=quickstat", "did you mean 'quickstart'"),
        ("+seeed=3", "did you mean 'seed'"),
        ("seed=many", "seed"),
        ("site.layer=1,2", "add -m"),
        ("prompt.text=a,(b", "cannot read the override"),
    ],
)
def test_a_bad_override_names_the_nearest_and_leaves_no_trace(override, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["corpus", override]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_both_layer_and_depth_is_an_error(capsys):
    assert cli.main(["extract", "site.layer=3", "site.depth=0.5"]) == 2
    assert "set one" in capsys.readouterr().err


def test_several_devices_are_refused_in_a_sweep(capsys):
    assert cli.main(["evaluate", "-m", "seed=0,1", "trainer.devices=2"]) == 2
    assert "trainer.devices=2 with -m" in capsys.readouterr().err


def test_missing_config_dir_is_told(capsys):
    assert cli.main(["corpus", "--config-dir", "/nowhere/at all"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_users_own_folder_is_searched(tmp_path, capsys):
    folder = tmp_path / "my conf, it's mine"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 77\n")
    assert cli.main(["corpus", "--config-dir", str(folder), "experiment=mine", "--cfg", "job"]) == 0
    assert "seed: 77" in capsys.readouterr().out


def test_interruption_says_how_to_go_on(monkeypatch, capsys):
    def run_one(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_one", run_one)
    assert cli.main(["corpus", "seed=1"]) == 130
    assert "nlae corpus seed=1" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["report", "--cfg", "job"], ["--version"]], ids=lambda argv: argv[-1])
def test_answers_without_loading_anything_heavy(argv):
    code = (
        "import sys; from nlae.cli import main; status = main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'pytorch_lightning', 'datasets', 'wandb', 'pyarrow'} & set(sys.modules); "
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_names_every_goal_service_and_layout(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert set(re.findall(r"^  ([a-z]+)  ", said, re.M)) == {*GOALS, *SERVICES}
    assert "|".join(("format=reference", *DICTIONARY_FORMATS)) in said


def test_unexpected_errors_keep_their_traceback(monkeypatch):
    def run_one(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "run_one", run_one)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["corpus"])


def test_one_line():
    assert cli.one_line(NlaeError("a\n  b")) == "a b"
    assert cli.one_line(ValueError()) == "ValueError"


@pytest.mark.parametrize("word", ["trainer.device=cpu,cuda", "trainer.precision=fp32,bf16-base"])
def test_what_has_moved_is_refused_before_a_sweep_begins(word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reinforce", "target=tiny", "-m", word]) == 2
    assert "has moved: write " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
