"""Stage folders with made-up numbers of the right shape: what an evaluation of a fair model would leave behind."""

import json
import math
import random
from pathlib import Path

import polars as pl
import pytest
import yaml

CONTROLS = {
    "mean": -0.14, "shuffled": -0.93, "no_injection": -0.31, "last_token": 0.27, "teacher": 0.44, "word_shuffle": 0.21,
    "no_quotes": 0.05,
    "pca_1": -0.02, "pca_4": 0.12, "pca_16": 0.35, "pca_64": 0.57,
}  # fmt: skip
CONFIG = {
    "target": {"_target_": "nlae.target.WheelTarget", "name": "smollm2_135m"},
    "site": {"_target_": "nlae.target.Site", "kind": "resid", "layer": 19, "depth": None, "min_position": 8},
    "prompt": {
        "name": "short",
        "verbalizer": "In one or two sentences, say what this concept holds: <concept>{slot}</concept>",
        "reconstructor": "<text>{explanation}</text> <vector>",
        "text": "Say what matters most for what comes next.",
    },
    "paths": {"artifacts": "/somewhere/private/artifacts"},
    "seed": 0,
}
SAID = (
    "Reference documentation about programming in a formal register; the text ends in the middle of a clause and goes "
    "on with the name of an argument.",
    "An encyclopedic account of a battle in the past tense. It ends on a preposition, so a place or a date follows.",
    "A list of options in a manual page. The last word opens a quotation, and a short literal string is likely next.",
    'Narrative prose with dialogue; the end is a full stop, and "She" or "The" may begin the next sentence.',
)
CONTEXTS = (
    "Return a list of the words in the string, using sep as the delimiter string. If maxsplit is given, at most "
    "maxsplit splits are done, counting from the",
    "The garrison held the town until the spring of 1643, when it surrendered after a siege of six weeks to an army of",
    "If the flag is set, the function raises an exception instead. The accepted values are 'strict', 'ignore' and '",
    "He put the letter back into the drawer & turned the key. <b>Nobody</b> had seen him come in.",
)


TOKENS = (" the", " of", "'", ".")


def write_stage(root: Path, name: str, metrics: dict, parents: dict, history: list | None = None) -> Path:
    fingerprint = f"{abs(hash(name)) % 10**12:012d}"
    folder = root / name / fingerprint
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    manifest = {
        "stage": name, "fingerprint": fingerprint, "parents": parents, "wall_seconds": 342.0, "complete": True,
        "versions": {"nlae": "0.1.0", "torch": "2.13.0"}, "commit": "0123456789abcdef",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if history is not None:
        (folder / "history.jsonl").write_text("".join(json.dumps(point) + "\n" for point in history))
    return folder


def histories() -> tuple[list, list]:
    rng = random.Random(0)
    warm, joint = [], []
    for u in range(1, 301, 3):
        at = 1 - math.exp(-u / 90)
        point = {"update": u, "verbalizer/nll": 3.4 - 1.6 * at + rng.gauss(0, 0.06)}
        point["reconstructor/error"] = 1.3 - 0.8 * at + rng.gauss(0, 0.03)
        if u % 30 == 1:
            point |= {
                "val/fve": -0.6 + 0.75 * at,
                "val/fve_shuffled": -0.8 - 0.1 * at,
                "val/fve_teacher": -0.1 + 0.5 * at,
            }
        warm.append(point)
    for u in range(1, 121, 2):
        at = u / 120
        point = {"update": u, "reward/total": -0.62 + 0.22 * at + rng.gauss(0, 0.02), "policy/kl": 0.09 * at}
        point |= {"reconstructor/error": 0.55 - 0.15 * at + rng.gauss(0, 0.02), "rollout/closed_rate": 0.93 + 0.06 * at}
        point |= {"rollout/tokens": 41 - 4 * at + rng.gauss(0, 0.8)}
        if u % 20 == 1:
            point |= {"val/fve": 0.13 + 0.2 * at, "val/fve_shuffled": -0.92}
        joint.append(point)
    return warm, joint


def metrics_of(intervals: bool) -> dict[str, float]:
    own, out = 0.33, {"fve": 0.33, "fve_calibrated": 0.36, "raw_r2": 0.41, "tokens_mean": 58.2, "closed_rate": 0.99}
    out |= {
        "explanation_tokens_mean": 36.4,
        "rank_median": 3.0,
        "rows": 1980,
        "clusters": 212,
        "extraction_rate": 712.5,
    }
    out |= {"control/last_token_seen": 0.93, "control/teacher_rows": 1980, "frontier/fve": 0.34, "something/new": 1.5}
    quotes = {f"quote_{n}": 0.2 + 0.12 * math.log2(n) for n in (1, 2, 4, 8, 16, 32)}
    out |= {f"frontier/{name}": value for name, value in quotes.items()}
    out |= {f"frontier/quote_{n}_frozen": -1.5 + 0.55 * math.log2(n) for n in (1, 2, 4, 8, 16)}
    for name, value in CONTROLS.items():
        out[f"control/{name}"] = value
        if intervals:
            out |= {f"control/{name}_low": value - 0.04, f"control/{name}_high": value + 0.04}
            gap = own - value
            out |= {f"control/{name}_gap_low": gap - 0.05, f"control/{name}_gap_high": gap + 0.05}
            out[f"control/{name}_gap"] = gap
    if intervals:
        for name, value in quotes.items():
            gap = own - value
            out |= {f"frontier/{name}_gap_low": gap - 0.05, f"frontier/{name}_gap_high": gap + 0.05}
            out[f"frontier/{name}_gap"] = gap
        out |= {"fve_low": 0.30, "fve_high": 0.36, "frontier/fve_low": 0.30, "frontier/fve_high": 0.38}
    return out


def write_evaluation(root: Path, parents: dict, intervals: bool = True) -> Path:
    metrics = metrics_of(intervals)
    folder = write_stage(root, "evaluate", metrics, parents)
    rng = random.Random(1)
    rows = []
    for i in range(200):
        context = CONTEXTS[i % 4]
        error = min(1.9, max(0.02, rng.gauss(0.5, 0.25)))
        rows.append(
            {
                "row": i, "source": f"work {i}", "position": 40 + i, "token": TOKENS[i % 4], "context": context,
                "early": i % 50 == 0, "explanation": SAID[i % 4], "closed": i % 17 > 0, "error": error,
                "fve": 1 - error / 0.73, "rank": float(1 + int(error * 40)), "teacher": SAID[(i + 1) % 4],
            }
        )  # fmt: skip
    pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
    points = [{"name": "explanation", "tokens": 58.2, "text_tokens": 36.4, "fve": 0.34, "low": 0.3, "high": 0.38}]
    points += [{"name": "teacher", "tokens": 61.0, "text_tokens": 39.0, "fve": 0.45, "low": None, "high": None}]
    points += [{"name": "mean", "tokens": None, "text_tokens": None, "fve": -0.14, "low": None, "high": None}]
    for n in (1, 2, 4, 8, 16, 32):
        value = metrics[f"frontier/quote_{n}"]
        points += [
            {
                "name": "quote",
                "n": n,
                "tokens": n + 21.8,
                "text_tokens": float(n),
                "fve": value,
                "low": None,
                "high": None,
            }
        ]
    for n in (1, 2, 4, 8, 16):
        value = metrics[f"frontier/quote_{n}_frozen"]
        points += [{"name": "quote_frozen", "n": n, "tokens": n + 1.0, "text_tokens": float(n), "fve": value}]
    (folder / "frontier.json").write_text(json.dumps({"points": points, "template_tokens": 21.8}))
    notes = [] if intervals else ["no intervals: the measured rows come from 12 source works, fewer than 30"]
    (folder / "notes.json").write_text(json.dumps(notes))
    return folder


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, Path]:
    return make_stages(tmp_path / "artifacts")


def make_stages(root: Path, intervals: bool = True) -> dict[str, Path]:
    warm, joint = histories()
    corpus = write_stage(root, "corpus", {"documents": 900.0}, {})
    extract = write_stage(root, "extract", {"extraction_rate": 712.5}, {"corpus": corpus.name})
    warmstart = write_stage(root, "warmstart", {}, {"extract": extract.name}, warm)
    reinforce = write_stage(root, "reinforce", {}, {"warmstart": warmstart.name}, joint)
    evaluate = write_evaluation(root, {"reinforce": reinforce.name}, intervals)
    return {"corpus": corpus, "extract": extract, "reinforce": reinforce, "evaluate": evaluate}


@pytest.fixture(name="make_stages")
def make_stages_fixture():
    return make_stages
