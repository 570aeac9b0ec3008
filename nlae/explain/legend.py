"""How to read a reading's columns: one set of sentences, for the terminal and for the page."""

from __future__ import annotations

from nlae.explain.reading import Reading

CUT = "cut at the length limit"


def terms(reading: Reading) -> list[tuple[str, str]]:
    """Each column that is shown, and the sentence that explains it."""
    out = []
    if reading.scored:
        out.append(
            (
                "FVE",
                "how much of the activation the words alone bring back; 1 is all, and 0 is not chance (a constant "
                "scores about \N{MINUS SIGN}0.14, another text's words lower). High does not mean that the words are "
                "true." + _mean(reading.mean_fve),
            )
        )
    else:
        out.append(
            (
                "cosine",
                "between the activation and what the words bring back; it cannot be compared across models or layers."
                + _mean(reading.mean_cosine),
            )
        )
    if reading.has("shuffled"):
        out.append(
            (
                "shuffled",
                f"the same {out[0][0]} when the words written for the other {reading.noun}s of this reading stand in, "
                f"on average. Words that say something about this {reading.noun} do better than that."
                + _mean(reading.mean_shuffled),
            )
        )
    if reading.has("rank"):
        out.append(
            (
                "rank",
                f"place of the true activation among itself and {reading.others} others, by distance to what the words "
                f"bring back; 1 is first, about {reading.others // 2 + 1} is chance.",
            )
        )
    if reading.has("alignment"):
        out.append(("along", "how far the words point in the direction that was given; 1 is fully, 0 is chance."))
    return out


def plural(n: int, word: str) -> str:
    """`1 token`, `2 tokens`."""
    return f"{n} {word}{'' if n == 1 else 's'}"


def _mean(value: float | None) -> str:
    return "" if value is None else f" Mean: {value:.2f}.".replace("-", "\N{MINUS SIGN}")
