"""How much of an explanation stands word for word in a text, and the passage that this is held against.

Words are shared by any two texts of one author or subject. So every rate stands beside the same rate against as many
tokens of another passage of the same work; their difference is what was copied from this very place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nlae.activations import ActivationRows
from nlae.activations.store import CONTEXT_TOKENS
from nlae.evaluation.record import EvaluationRecord
from nlae.functional.copying import gram_share, longest_run, words
from nlae.functional.randomness import derive_seed


def elsewhere(
    rows: ActivationRows, wanted: Sequence[int], pool: ActivationRows, least: Sequence[int], seed: int
) -> dict[int, list[int]]:
    """For each wanted row the last tokens before another row of its work, in another passage or out of its sight.

    Args:
        rows: measured rows.
        wanted: indices of those that another passage is sought for.
        pool: rows to choose from.
        least: tokens that are needed, for each wanted row.
        seed: of the choice.

    Returns:
        By index of the measured row; rows without such a passage are left out.
    """
    by_work: dict[str, list[int]] = {}
    for place, name in enumerate(pool.source):
        by_work.setdefault(str(name), []).append(place)
    found = {}
    for i, tokens in zip(wanted, least, strict=True):
        places = np.array(by_work[str(rows.source[i])])
        apart = np.abs(pool.position[places] - rows.position[i]) >= CONTEXT_TOKENS
        far = (pool.document[places] != rows.document[i]) | apart
        places = places[far & (pool.position[places] >= tokens - 1)]
        if len(places):
            rng = np.random.default_rng(derive_seed(seed, "elsewhere", int(rows.row[i])))
            found[i] = pool.context_ids(int(rng.choice(places)))[-tokens:]
    return found


def put_copies(record: EvaluationRecord, name: str, source: dict[int, list[int]], n: int) -> None:
    """Put `copy/<name>_run` and `copy/<name>_share`, each beside another passage of the same work.

    `run` is the mean length, in words, of the longest run shared; `share` that of runs of `n` words of the explanation
    that are shared. `copy/<name>_rows` have such a passage, `copy/<name>_left_out` have none.

    Args:
        record: of the evaluation.
        name: of the text.
        source: its tokens, by index of the measured row.
        n: words of a run.
    """
    board, pool = record.board, record.store.split("test")
    others = elsewhere(record.rows, list(source), pool, [len(ids) for ids in source.values()], record.sample_seed)
    board.put(f"copy/{name}_rows", len(others))
    board.put(f"copy/{name}_left_out", len(source) - len(others))
    if not others:
        board.note(f"no copy/{name}: no measured row has another passage of its work that is as long")
        return
    rates_N4 = torch.full((len(record.rows), 4), float("nan"), dtype=torch.float64)
    for i, other in others.items():
        said = words(record.texts[i])
        texts = [words(record.decode(ids)) for ids in (source[i], other)]
        runs = [float(longest_run(said, text)) for text in texts]
        rates_N4[i] = torch.tensor([*runs, *(gram_share(said, text, n) for text in texts)])
    keep_N = torch.zeros_like(record.main_N)
    keep_N[list(others)] = True
    board.add_mean(f"copy/{name}_run", rates_N4[:, 0], keep_N, null_N=rates_N4[:, 1])
    board.add_mean(f"copy/{name}_share", rates_N4[:, 2], keep_N, null_N=rates_N4[:, 3])
    record.columns[f"{name}_run"] = rates_N4[:, 0].numpy()
