"""Where a rollout ends, and what was said up to there: the same for every engine.

An engine that sees tokens as they come asks `Endings`; one that is given whole rows need only parse them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from nlae.model.prompt import CLOSE_TAG
from nlae.model.site_verbalizer import SiteVerbalizer

# a token spells at least one character, so this many always hold a tag that has just been completed
TAIL_TOKENS = len(CLOSE_TAG)


def stop_ids(verbalizer: SiteVerbalizer, role: str) -> set[int]:
    """End-of-turn ids: the tokenizer's, and those that the model's own generation settings name."""
    model = verbalizer.backbone.language_model(role)
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return {stop for stop in (verbalizer.tokenizer.eos_token_id, *listed) if stop is not None}


def parse_rows(verbalizer: SiteVerbalizer, rows: Sequence[Sequence[int]], stops: set[int]) -> list[tuple[str, bool]]:
    """The explanation in each row of generated ids, and whether it was closed; end-of-turn ids are not text."""
    kept = [[token for token in row if token not in stops] for row in rows]
    return [verbalizer.prompt.parse(text) for text in verbalizer.tokenizer.batch_decode(kept)]


class Endings:
    """Finds where rows of generated ids end.

    Args:
        verbalizer: its tokenizer and model say what ends a turn.
        role: whose model.
    """

    def __init__(self, verbalizer: SiteVerbalizer, role: str) -> None:
        self.stops = stop_ids(verbalizer, role)
        self._tokenizer = verbalizer.tokenizer
        self._last_of_tag = _spelling(verbalizer.tokenizer, CLOSE_TAG[-1])

    def length(self, row: Sequence[int], start: int = 0) -> int | None:
        """Tokens of `row` up to its first closing tag or end of turn, that one included; None if it has neither.

        Args:
            row: ids.
            start: where to look from, when it did not end before.
        """
        for place, token in enumerate(row[start:], start):
            if token in self.stops:
                return place + 1
            if token in self._last_of_tag:
                recent = list(row[max(0, place + 1 - TAIL_TOKENS) : place + 1])
                if CLOSE_TAG in self._tokenizer.decode(recent):
                    return place + 1
        return None


@functools.lru_cache(maxsize=4)
def _spelling(tokenizer: Any, character: str) -> frozenset[int]:
    """Ids of all tokens that spell `character`: decoding every row at every step would cost more than sampling."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return frozenset(number for number, token in enumerate(tokens) if token is not None and character in token)
