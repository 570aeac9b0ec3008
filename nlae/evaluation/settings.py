"""What an evaluation is told: how many rows, which parts.

Numbers that change what a figure means (lengths of the quotes, principal components, resamples) are settings too, so
that they enter the fingerprint; their defaults are the contract's.
"""

from __future__ import annotations

import dataclasses

from nlae.errors import NlaeError

SUBJECTS = ("reinforce", "warmstart")


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Settings of `evaluate`; the config node `evaluation`.

    Attributes:
        subject: stage whose autoencoder is measured; read by the pipeline.
        max_rows: test rows at or after the site's first position; None takes all. Early rows get a quarter as many.
        fit_rows: validation rows for the shrink factor, and training rows for the one scale of `raw_r2`.
        greedy: measure greedy explanations too.
        no_injection_samples: texts drawn without injection. The prompt is then the same for every row, so these texts
            are one distribution, and rows share them in turn.
        components: numbers kept by the PCA controls.
        covariance_rows: training rows from which the principal components are taken, at most.
        frontier: measure quotes.
        quote_lengths: of the frontier; only rows with a longer context than the longest take part.
        frontier_updates: updates of the quote reader; None takes as many as the reconstructor had.
        frontier_batch: quotes per update; None takes what the reconstructor had, if the checkpoint says so, else 32.
        frontier_lr: learning rate of the quote reader; None takes what the reconstructor had, else 5e-4.
        matching_rows: explanations for the matching test; 0 leaves it out.
        matching_lm: also let the target itself match.
        rank_others: other activations that a rank is taken among.
        resamples: of the bootstrap.
        min_clusters: with fewer source works there is no interval.
        sample_seed: draws rows, pairings and resamples; the same for all runs that are to be compared.
        site_rows: of a mixture, test rows at each site, and validation and training rows for what is fitted there.
        batch_size: rows verbalised or read together.
    """

    subject: str = "reinforce"
    max_rows: int | None = 2000
    fit_rows: int = 256
    greedy: bool = True
    no_injection_samples: int = 64
    components: tuple[int, ...] = (1, 4, 16, 64)
    covariance_rows: int = 50_000
    frontier: bool = True
    quote_lengths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    frontier_updates: int | None = None
    frontier_batch: int | None = None
    frontier_lr: float | None = None
    matching_rows: int = 40
    matching_lm: bool = True
    rank_others: int = 100
    resamples: int = 2000
    min_clusters: int = 30
    sample_seed: int = 0
    site_rows: int = 48
    batch_size: int = 64

    def __post_init__(self) -> None:
        """Refuse settings that would measure nothing."""
        if self.subject not in SUBJECTS:
            raise NlaeError(f"evaluation.subject is {self.subject!r}; choose one of {', '.join(SUBJECTS)}")
        least = {"fit_rows": 2, "no_injection_samples": 1, "rank_others": 1, "resamples": 1, "batch_size": 1}
        least["site_rows"] = 2
        if self.max_rows is not None:
            least["max_rows"] = 2
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise NlaeError(f"evaluation.{name} is {getattr(self, name)}; it must be at least {minimum}")
        for name in ("components", "quote_lengths"):
            # a list from a config file becomes a tuple, so that the settings stay hashable
            numbers = tuple(sorted(int(number) for number in getattr(self, name)))
            if not numbers or numbers[0] < 1:
                raise NlaeError(f"evaluation.{name} must list numbers of 1 or more, not {list(numbers)}")
            object.__setattr__(self, name, numbers)
