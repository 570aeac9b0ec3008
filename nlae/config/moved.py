"""Keys that have moved: what was once written is refused in one line that names what is written now.

Left out: taking the old key for the new one. A line in a notebook that silently means something else a year later is
worse than one that stops.
"""

from collections.abc import Sequence

from nlae.errors import NlaeError

_BOTH = ("warmup", "decay", "clip_norm", "weight_decay", "validate_every", "micro_tokens")
_DATA = ("validation_rows", "validation_sites")
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
    "objective.reinforce.": "objective.",
    "trainer.device": "trainer=cpu, trainer=gpu, or trainer.devices=[1] for the second GPU",
    "trainer.optimizer_bits": "optimizer=adamw or optimizer=adamw_8bit",
    **{f"trainer.{key}": f"machine.{key}" for key in _MACHINE},
}
# the same of values
MOVED_VALUES = {
    ("trainer.precision", "fp32"): "trainer.precision=32-true",
    ("trainer.precision", "bf16-base"): "target.dtype=bfloat16",
}


def refuse_moved(overrides: Sequence[str]) -> None:
    """Stop at what has moved.

    Raises:
        NlaeError: an override is written as it once was.
    """
    for word in overrides:
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        for given in value.split(","):
            if (key, given) in MOVED_VALUES:
                raise NlaeError(f"{key}={given} has moved: write {MOVED_VALUES[key, given]}")
        if key in MOVED:
            raise NlaeError(f"{key} has moved: write {MOVED[key]}")
        for old, new in MOVED.items():
            if old.endswith(".") and key.startswith(old):
                raise NlaeError(
                    f"{key} has moved: write {new.replace('…', key.removeprefix(old))}"
                    + (key.removeprefix(old) if new.endswith(".") else "")
                )
