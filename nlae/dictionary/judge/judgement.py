"""What a judge said, as scores with intervals: of each entry, of groups of descriptions, and of one group over another.

Intervals resample neurons with the entries of both their signs, since neurons are what was drawn at random; where there
are enough source works and these give the wider interval, theirs is told. Left out: intervals of single entries, which
rest on a few windows each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nlae.functional.bootstrap import Interval

LEADER = "ours"
# key words are led over by as many texts of the autoencoder: the leader may itself be key words, the best of more
EQUAL = {"context_only": "verbalized"}
PASSING = "/passing"


@dataclass(frozen=True)
class Score:
    """Balanced accuracy of one subject or of a group of them, on one task.

    Attributes:
        value: balanced accuracy.
        by_source: interval over source works; None with fewer than 30.
        by_entry: interval over entries, both signs of a neuron drawn as one; None with fewer than 30 draws, and for a
            single subject.
        entries: different entries.
        trials: number of answers.
        unanswered: of which the judge gave none; they count as half right.
    """

    value: float
    by_source: Interval | None
    by_entry: Interval | None
    entries: int
    trials: int
    unanswered: int

    @property
    def interval(self) -> Interval | None:
        """Over entries, which are what is sampled, or over works where that is wider."""
        found = [pair for pair in (self.by_entry, self.by_source) if pair is not None]
        return max(found, key=lambda pair: pair[1] - pair[0]) if self.by_entry is not None else None


@dataclass(frozen=True)
class Lead:
    """By how much one group's entries exceed the same entries of a rival, balanced accuracy.

    Attributes:
        value: mean over entries that both have.
        interval: over these entries, both signs of a neuron drawn as one; None with fewer than 30 draws.
        entries: their number.
    """

    value: float
    interval: Interval | None
    entries: int


@dataclass
class Judgement:
    """What a judge said.

    Attributes:
        judge: its identity.
        control: pooled score of planted detectors by (task, group); also of tasks that are not published.
        detectors: score of each planted detector by (task, key): what kind of thing the judge can hear.
        refused: by task, why nothing is published.
        groups: pooled score by (task, group), and by (task, group + "/passing") of entries that passed.
        leads: by (task, rival), how far its leader exceeds it, `LEADER` or the one in `EQUAL`; by (task, rival +
            "/passing") where the entry passed.
        entries: score by (task, group, key).
        skipped: subjects that fire or rest in too few windows, by group.
    """

    judge: dict[str, object]
    control: dict[tuple[str, str], Score] = field(default_factory=dict)
    detectors: dict[tuple[str, str], float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    groups: dict[tuple[str, str], Score] = field(default_factory=dict)
    leads: dict[tuple[str, str], Lead] = field(default_factory=dict)
    entries: dict[tuple[str, str, str], Score] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def score(self, task: str, group: str, key: str) -> float | None:
        """Balanced accuracy of one entry; None where it was not measured."""
        found = self.entries.get((task, group, key))
        return None if found is None else found.value

    def metrics(self) -> dict[str, float]:
        """Flat numbers: `judge/<task>/<group>` and `judge/<task>/<leader>_lead_over_<group>`.

        Each has `_entries` and, with 30 neurons or more, `_low` and `_high`; passing entries are `<group>_passing`.
        """
        flat: dict[str, float] = {}

        def add(name: str, score: Score | Lead) -> None:
            flat[name], flat[f"{name}_entries"] = score.value, float(score.entries)
            if score.interval is not None:
                flat[f"{name}_low"], flat[f"{name}_high"] = score.interval

        for (task, group), score in sorted((self.control | self.groups).items()):
            add(f"judge/{task}/{group.replace('/', '_')}", score)
        for (task, rival), lead in sorted(self.leads.items()):
            leader = EQUAL.get(rival.removesuffix(PASSING), LEADER)
            add(f"judge/{task}/{leader}_lead_over_{rival.replace('/', '_')}", lead)
        for task in sorted({task for task, _ in self.control}):
            flat[f"judge/{task}/published"] = float(task not in self.refused)
        return flat
