"""The command line before Hydra: goal, options, verbatim texts, and what is left as overrides.

No argparse: overrides such as `-m` lists and `text=…` with any character in them are not its grammar either.
"""

import difflib
from dataclasses import dataclass, field

from nlae.config.schema import PATHS, VERBATIM
from nlae.errors import NlaeError

GOALS = (
    "corpus",
    "extract",
    "describe",
    "verbalizer",
    "reconstructor",
    "warmstart",
    "reinforce",
    "evaluate",
    "report",
    "scan",
    "dictionary",
)
SERVICES = ("explain", "export", "browse")
_FLAGS = {
    "-h": "help",
    "--help": "help",
    "--version": "version",
    "-m": "multirun",
    "--multirun": "multirun",
    "--resolve": "resolve",
}
_VALUED = {"--cfg": "cfg", "-c": "cfg", "--config-dir": "config_dir", "-cd": "config_dir"}


@dataclass
class CommandLine:
    """What the user typed.

    Attributes:
        goal: a goal or service.
        overrides: in Hydra's grammar, in the order typed.
        verbatim: values of the keys in `schema.VERBATIM`, character for character.
        options: `help`, `version`, `multirun`, `resolve` (present when given), `cfg`, `config_dir` (with their value).
    """

    goal: str = "report"
    overrides: list[str] = field(default_factory=list)
    verbatim: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`; did you mean 'x'?` for the most similar of `known`, or an empty string."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.55)
    return f"; did you mean '{close[0]}'?" if close else ""


def _option(line: CommandLine, word: str, rest: list[str]) -> bool:
    """Take one option, and its value from `rest`; False when `word` is not an option."""
    if word in _FLAGS:
        line.options[_FLAGS[word]] = "yes"
        return True
    name, equals, value = word.partition("=")
    if name not in _VALUED:
        return False
    if not equals:
        if not rest:
            raise NlaeError(f"{name}: needs a value; try `nlae --help`")
        value = rest.pop(0)
    if _VALUED[name] == "cfg" and value not in ("job", "hydra", "all"):
        raise NlaeError(f"--cfg {value}: shows `job`, `hydra` or `all`; use `nlae report --cfg job`")
    line.options[_VALUED[name]] = value
    return True


def _goal(word: str) -> str:
    known = GOALS + SERVICES
    if word not in known:
        raise NlaeError(f"unknown goal '{word}'{nearest(word, known)} (goals: {' '.join(GOALS)}; {' '.join(SERVICES)})")
    return word


def parse_argv(argv: list[str]) -> CommandLine:
    """Split the words after `nlae`.

    Raises:
        NlaeError: an unknown goal or option, two goals, or an option or a path without its value.
    """
    line, rest, goals = CommandLine(), list(argv), []
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        key = key.lstrip("+")
        if equals and key in VERBATIM:
            if key in PATHS and not value.strip():
                raise NlaeError(f"{key}= is empty: give a path, or leave it out")
            line.verbatim[key] = value
        elif _option(line, word, rest):
            continue
        elif equals or word.startswith("~"):
            line.overrides.append(word)
        elif word.startswith("-"):
            raise NlaeError(f"unknown option '{word}'{nearest(word, [*_FLAGS, *_VALUED])}; try `nlae --help`")
        else:
            goals.append(_goal(word))
    if len(goals) > 1:
        raise NlaeError(
            f"two goals at once ({' '.join(goals)}): one goal brings its own parents up to date; name the last"
        )
    if goals:
        line.goal = goals[0]
    elif not argv:
        line.overrides.append("experiment=quickstart")
    return line
