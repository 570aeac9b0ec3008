"""Which numbers a config may hold: one table for all groups, read before anything is built.

A key that is not listed takes any finite number from 0 to a million million. A range is looked up by the whole key,
else by its last part. What depends on two keys, or on the target, is left to the constructors.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST = 10**12


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`.

    Attributes:
        low, high: bounds.
        above: whether `low` itself is too little.
        whole: whether only whole numbers are meant, where no signature says so.
    """

    low: float = 0
    high: float = MOST
    above: bool = False
    whole: bool = False

    def problem(self, where: str, value: int | float) -> str | None:
        """What is wrong with a value, in words; None where nothing is."""
        if self.whole and not isinstance(value, int):
            return f"{where}={value} must be a whole number"
        good = not isinstance(value, float) or math.isfinite(value)
        if good and self.low <= value <= self.high and not (self.above and value == self.low):
            return None
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        wanted = low if self.high >= MOST and good and value <= self.high else f"{low} and at most {self.high:g}"
        return f"{where}={value} must be {wanted}"


COUNT, SHARE, POSITIVE, SEED = Range(1), Range(0, 1), Range(above=True), Range(0, 2**63 - 1)
RATE, ANY = Range(0, 10), Range(-MOST, MOST)
RANGES: Mapping[str, Range] = {
    **dict.fromkeys(
        (
            "activations", "attempts", "batch_size", "batch_tokens", "checkpoint_every", "components", "concurrency",
            "context", "covariance_rows", "devices", "every", "exemplars",
            "group_top", "heads", "max_prefix_chars", "max_prefix_tokens", "max_rows", "max_tokens",
            "max_words", "micro_tokens", "min_contexts", "min_tokens", "others", "panels",
            "per_passage", "positions_per_document", "quote_lengths", "quote_tokens",
            "rank", "reader_sites", "resamples", "rows", "runs", "samples",
            "shard_rows", "site_rows", "stop_after", "stride", "sync_every", "top", "updates", "validate_every",
            "validation_rows", "validation_sites", "vocabulary", "width", "window",
            "window_tokens",
        ),
        COUNT,
    ),
    **dict.fromkeys(
        (
            "active_quantile", "decay", "group_quantile", "max_broken_share",
            "max_failed_share", "max_false", "min_auroc", "near_duplicates", "short_share", "test_share", "val_share",
        ),
        SHARE,
    ),
    **dict.fromkeys(("seed", "sample_seed", "weights_seed"), SEED),
    **dict.fromkeys(("lr", "verbalizer_lr", "reconstructor_lr"), RATE),
    **dict.fromkeys(("alpha", "timeout", "clip_norm", "clip", "penalty", "scale"), POSITIVE),
    **dict.fromkeys(("memory_share", "shrinkage"), Range(0, 1, above=True)),
    "dictionary.tokens": COUNT,
    "objective.samples": Range(2),  # rewards are compared within a group
    "temperature": Range(0, 100),
    "weight_decay": Range(0, 100),
    "port": Range(0, 65535),
    "site.depth": SHARE,
    "site.depths": SHARE,
    "target.layers": COUNT,
    "machine.threads": Range(1, 4096, whole=True),
    "prompt.style.max_sentences": Range(1, whole=True),
    "prompt.style.max_words": Range(1, whole=True),
    # negative on purpose
    "reward.failure": ANY,  # a punishment
    "explain.strengths": ANY,  # against a direction
}  # fmt: skip
_DEFAULT = Range()


def range_of(where: str) -> Range:
    """The range of a key; items of a list and of a mapping of numbers have that of the whole."""
    parts = where.partition("[")[0].split(".")
    for name in (".".join(parts), parts[-1], parts[-2] if len(parts) > 1 else ""):
        if name in RANGES:
            return RANGES[name]
    return _DEFAULT


def number_problems(node: Any, where: str = "") -> Iterator[str]:
    """One line for every number in a config that is out of its range; of others' classes only what no number is."""
    if isinstance(node, Mapping):
        if not str(node.get("_target_", "nlae.")).startswith("nlae."):
            yield from _not_finite(node, where)
            return
        for key, value in node.items():
            yield from number_problems(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from number_problems(value, f"{where}[{index}]")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        problem = range_of(where).problem(where, node)
        if problem:
            yield problem
    elif isinstance(node, str | bool) and range_of(where).whole:
        yield f"{where}={node} must be a whole number"


def _not_finite(node: Any, where: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _not_finite(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _not_finite(value, f"{where}[{index}]")
    elif isinstance(node, float) and not math.isfinite(node):
        yield f"{where}={node} must be a finite number"
