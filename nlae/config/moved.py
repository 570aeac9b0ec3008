"""Keys that have moved or are gone: what was once written is refused in one line that names what is written now.

Left out: taking the old key for the new one. A line in a notebook that silently means something else a year later is
worse than one that stops.
"""

from collections.abc import Sequence

from nlae.errors import NlaeError

_BOTH = ("warmup", "decay", "clip_norm", "weight_decay", "validate_every", "micro_tokens")
_DATA = ("validation_rows", "validation_sites")
_QUOTE_READER = {"updates": "updates", "batch": "batch_size", "lr": "lr"}
_MACHINE = ("threads", "matmul_precision", "checkpointing")

# old key or group: what is written now; one that ends in a dot stands for all below it
MOVED = {
    "objective/warmstart": "verbalizer=… and reconstructor=…",
    "objective/reinforce": "objective",
    "objective.warmstart.updates": "verbalizer.updates (reconstructor.updates follows it)",
    "objective.warmstart.verbalizer_batch": "verbalizer.batch_size",
    "objective.warmstart.reconstructor_batch": "reconstructor.batch_size",
    "objective.warmstart.verbalizer_lr": "verbalizer.lr",
    "objective.warmstart.reconstructor_lr": "reconstructor.lr",
    **{f"objective.warmstart.{key}": f"verbalizer.{key} and reconstructor.{key}" for key in _BOTH},
    **{f"objective.{stage}.{key}": f"data.{key}" for stage in ("warmstart", "reinforce") for key in _DATA},
    **{f"objective.warmstart.{key}": f"data.{key}" for key in ("disjoint_documents", "reader_sites")},
    **{f"objective.{stage}.checkpoint_every": "callbacks.resume.every" for stage in ("warmstart", "reinforce")},
    "objective.warmstart.": "verbalizer.… and reconstructor.…",
    "objective.reinforce.algorithm": "objective=grpo, rloo, frozen or supervised",
    "objective.reinforce.clip": "objective.policy_loss.clip",
    "objective.reinforce.": "objective.",
    "evaluation.greedy": "evaluation.measures.greedy=null to leave it out",
    "evaluation.frontier": "evaluation.measures.frontier=null to leave it out",
    "evaluation.quote_lengths": "evaluation.measures.frontier.quote_lengths",
    **{f"evaluation.frontier_{old}": f"evaluation.measures.frontier.{new}" for old, new in _QUOTE_READER.items()},
    **{f"evaluation.matching_{key}": f"evaluation.measures.matching.{key}" for key in ("rows", "lm")},
    "evaluation.no_injection_samples": "evaluation.measures.no_injection.samples",
    **{f"evaluation.{key}": f"evaluation.measures.pca.{key}" for key in ("components", "covariance_rows")},
    "evaluation.rank_others": "evaluation.measures.rank.others",
    "trainer.device": "trainer=cpu, trainer=gpu, or trainer.devices=[1] for the second GPU",
    "trainer.optimizer_bits": "optimizer=adamw or optimizer=adamw_8bit",
    **{f"trainer.{key}": f"machine.{key}" for key in _MACHINE},
}
# old key, also for all below it: why it is no more, and what to do
GONE = {
    "dictionary.judging": "a judge is asked about detection alone, in as many windows for every entry: leave it out",
    "dictionary.steering": "every direction is steered with until it moves the next token by half a nat: leave it out",
    "dictionary.judge.chat": "a judge in this process is asked through its chat template: choose an instruct model",
}
# the same of values
MOVED_VALUES = {
    ("trainer.precision", "fp32"): "trainer.precision=32-true",
    ("trainer.precision", "bf16-base"): "target.dtype=bfloat16",
}


def refuse_moved(overrides: Sequence[str]) -> None:
    """Stop at what has moved or is gone.

    Raises:
        NlaeError: an override is written as it once was.
    """
    for word in overrides:
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        for given in value.split(","):
            if (key, given) in MOVED_VALUES:
                raise NlaeError(f"{key}={given} has moved: write {MOVED_VALUES[key, given]}")
        for old, why in GONE.items():
            if key == old or key.startswith(f"{old}."):
                raise NlaeError(f"{key} is gone: {why}")
        if key in MOVED:
            raise NlaeError(f"{key} has moved: write {MOVED[key]}")
        for old, new in MOVED.items():
            if old.endswith(".") and key.startswith(old):
                raise NlaeError(
                    f"{key} has moved: write {new.replace('…', key.removeprefix(old))}"
                    + (key.removeprefix(old) if new.endswith(".") else "")
                )
