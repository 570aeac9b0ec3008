"""What every teacher has in common: the question, what it may use for it, what that costs.

A teacher never sees the activation, only the text prefix that ends at the token; what it cannot know it cannot leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nlae.teacher.answers import MIN_LETTERS
from nlae.teacher.words import DocumentFrequencies

if TYPE_CHECKING:
    from nlae.model.prompt import Prompt
    from nlae.target import Target

OnResult = Callable[[int, str | None], None]
"""Called once per finished context with (row, text) in any order, from the thread that called `describe`.

The text is None where the teacher gave up on the prefix."""


@dataclass(frozen=True)
class TeacherContext:
    """One prefix to describe; `input_ids` ends at the described token and `text` is its decoded form."""

    row: int
    document: int
    text: str
    input_ids: list[int]


@dataclass(frozen=True)
class Material:
    """What a teacher may use besides the prefix; weights are loaded only by a teacher that calls `load_target`.

    An answer of a language model with fewer letters than `min_letters` is none.
    """

    prompt: Prompt
    load_target: Callable[[], Target]
    frequencies: Callable[[], DocumentFrequencies]
    min_letters: int = MIN_LETTERS


@dataclass(frozen=True)
class Estimate:
    """Expected cost; `usd` is None when the price is unknown and 0 when nothing is paid."""

    requests: int
    input_tokens: int
    output_tokens: int
    usd: float | None = 0.0


class Teacher(Protocol):
    """Writes the explanations of the warm start from text prefixes.

    A class attribute `asks_target = False` says that it never calls `Material.load_target`, so that its texts are kept
    when the target changes; a method `fingerprint()` says what weights of its own are.
    """

    @property
    def name(self) -> str:
        """What messages and caches call it."""

    @property
    def paid(self) -> bool:
        """True if calls may cost money, so that the user must agree first."""

    def identity(self) -> dict[str, Any]:
        """What the text depends on, as plain data: hashed into the cache key; never holds a secret."""

    def prepare(self, material: Material) -> None:
        """Take what is needed for describing; called once, before `estimate` and `describe`."""

    def estimate(self, contexts: Sequence[TeacherContext]) -> Estimate:
        """Expected cost of describing `contexts`."""

    def describe(self, contexts: Sequence[TeacherContext], on_result: OnResult) -> None:
        """Describe every context, reporting each text as soon as it exists."""
