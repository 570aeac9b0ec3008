"""Precision and recall of claims in the `context` teacher's form.

That teacher builds its sentences from facts about the text, and a verbalizer that was warm-started on them goes on in
its form; both texts are taken apart again (`nlae.evaluation.checkable`) and compared by kind. What it does not say:
anything about claims in other words.
"""

from __future__ import annotations

import torch

from nlae.evaluation.checkable import KINDS, claims_in, facts_of
from nlae.evaluation.record import EvaluationRecord
from nlae.teacher.parse import Parsed, parse


class Claims:
    """`claims/<kind>_precision` and `claims/<kind>_recall`, over the rows that the `context` teacher has described.

    Kinds: `register` (the kind of text), `topics`, `sentence` (words of the sentence), `ending` (the kind of the last
    token), `akin` (words akin to it), `next` (likely next tokens). Precision: share of what explanations claim that the
    teacher says of the same row; recall: share of what it says that is claimed. Beside each `_null`, claims held
    against another row's facts. `claims/rows` are the rows; `claims/understood` is the share of them whose explanation
    is wholly of the teacher's form.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, facts = record.board, facts_of(record)
        board.put("claims/rows", len(facts))
        if not facts:
            board.note("no claims are checked: the rows have no descriptions in the form of teacher=context")
            return
        keep_N = torch.zeros_like(record.main_N)
        keep_N[list(facts)] = True
        said = {i: parse(record.texts[i]) for i in facts}
        board.put("claims/understood", sum(not one.rest and bool(one.claims) for one in said.values()) / len(said))
        partner_N = record.partners(keep_N)
        for name in KINDS:
            _add(record, name, said, facts, None if partner_N is None else partner_N.tolist())


def _add(
    record: EvaluationRecord,
    name: str,
    said: dict[int, Parsed],
    facts: dict[int, Parsed],
    partner: list[int] | None,
) -> None:
    """Put the precision and recall of one kind, where anything of it is claimed or to be claimed."""
    kind = {name: KINDS[name]}
    counts_N5 = torch.zeros(len(record.rows), 5, dtype=torch.float64)
    for i in facts:
        other = i if partner is None else partner[i]
        claimed, true = claims_in(said[i], kind), claims_in(facts[i], kind)
        by_chance = (claimed & claims_in(facts[other], kind), claims_in(said[other], kind) & true)
        counts_N5[i] = torch.tensor([*map(len, (claimed, true, claimed & true, *by_chance))], dtype=torch.float64)
    claimed_N, true_N, hit_N, *chance = counts_N5.unbind(dim=1)
    for figure, total_N, chance_N in zip(("precision", "recall"), (claimed_N, true_N), chance, strict=True):
        keep_N = total_N > 0
        if keep_N.any():
            null_N = None if partner is None else total_N - chance_N
            record.board.add_ratio(f"claims/{name}_{figure}", total_N - hit_N, total_N, keep_N, null_N=null_N)
