"""Where a rollout ends, and what was said up to there: the same for every engine.

The closing tag itself is looked for by the engines, which see tokens as they come.
"""

from __future__ import annotations

from collections.abc import Sequence

from nlae.verbalizer import Verbalizer


def stop_ids(verbalizer: Verbalizer, role: str) -> set[int]:
    """End-of-turn ids: the tokenizer's, and those that the model's own generation settings name."""
    model = verbalizer.backbone.language_model(role)
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return {stop for stop in (verbalizer.tokenizer.eos_token_id, *listed) if stop is not None}


def parse_rows(verbalizer: Verbalizer, rows: Sequence[Sequence[int]], stops: set[int]) -> list[tuple[str, bool]]:
    """The explanation in each row of generated ids, and whether it was closed; end-of-turn ids are not text."""
    kept = [[token for token in row if token not in stops] for row in rows]
    return [verbalizer.prompt.parse(text) for text in verbalizer.tokenizer.batch_decode(kept)]
