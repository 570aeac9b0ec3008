"""A table of fake stages, the config they read, and what a change of it changes."""

from types import SimpleNamespace

from nlae.pipeline.table import STAGES

CONFIG = {
    "corpus": {"_target_": "nlae.corpus.StdlibCorpus", "seed": 0, "max_tokens": 128},
    "target": {"_target_": "nlae.target.TinyTarget", "name": "tiny"},
    "site": {"_target_": "nlae.target.site.Site", "kind": "resid", "layer": None, "depth": 0.5, "min_position": 8},
    "store": {"_target_": "nlae.activations.extraction.extract", "_partial_": True, "batch_tokens": 100},
    "teacher": {"_target_": "nlae.teacher.ContextTeacher", "tail": "described", "batch_tokens": 5},
    "prompt": {
        "name": "short",
        "text": "t",
        "style": {"form": "sentences"},
        "max_tokens": 64,
        "verbalizer": "v {slot}",
        "reconstructor": "r {explanation}",
    },
    "verbalizer": {"adapter": {"rank": 16}, "updates": 3},
    "reconstructor": {"magnitude": False, "updates": 3},
    "rollout": {"_target_": "nlae.rollout.LocalRollout", "temperature": 1.0},
    "reward": {"fidelity": 1.0},
    "objective": {"_target_": "nlae.training.Reinforce", "_partial_": True, "updates": 3},
    "evaluation": {"_target_": "nlae.evaluation.Evaluation", "measures": {}, "subject": "reinforce", "max_rows": 10},
    "dictionary": {
        "_target_": "nlae.dictionary.DictionaryBuilder",
        "exemplars": 3,
        "seed": 0,
        "scan": {"_target_": "nlae.dictionary.scan.Scanner", "top": 16, "checkpoint_every": 8},
    },
    "report": {"samples": 3},
    "trainer": {"precision": "32-true", "accelerator": "cpu", "devices": 1},
    "optimizer": {},
    "data": {},
    "machine": {"threads": None},
    "logger": {"mode": "none"},
    "callbacks": {"resume": {"every": 5}},
    "paths": {"artifacts": "artifacts", "out": None},
    "seed": 0,
}


class Source:
    """A target's source that knows two numbers."""

    def __init__(self, layers=9, weights="w", tokens="t"):
        self.layers, self.weights, self.tokens = layers, weights, tokens

    def fingerprint(self):
        return self.weights

    def tokenizer_fingerprint(self):
        return self.tokens

    def load_config(self):
        return SimpleNamespace(num_hidden_layers=self.layers)


class Fake:
    """Stage modules that count how often they ran, and can be made to fail half way."""

    def __init__(self):
        self.ran, self.fail, self.versions = [], {}, {}

    def module(self, name):
        def run(context):
            self.ran.append(name)
            done = context.folder / "half.txt"
            if not done.exists():
                done.write_text("half")
            if name in self.fail:
                raise self.fail[name]
            (context.folder / "output.txt").write_text("output " + name)
            return {"fve": 0.25}

        return SimpleNamespace(VERSION=self.versions.get(name, 1), run=run)


def fingerprints(plan):
    return {name: plan.artifact(name).fingerprint for name in STAGES}


_WARM = {"warmstart", "reinforce", "evaluate", "report"}
_HALVES = {"verbalizer", "reconstructor", *_WARM}
LATER = {
    "corpus": set(STAGES),
    "extract": {"extract", *_HALVES},
    "describe": {"describe", *_HALVES},
    "halves": _HALVES,
    "verbalizer": {"verbalizer", *_WARM},
    "reconstructor": {"reconstructor", *_WARM},
    "warmstart": _WARM,
    "reinforce": {"reinforce", "evaluate", "report"},
    "evaluate": {"evaluate", "report"},
    "scan": {"scan", "dictionary"},
    "dictionary": {"dictionary"},
    "report": {"report"},
}
