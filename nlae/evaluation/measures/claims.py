"""Claims that can be checked without a judge: those of the `context` teacher's own form.

That teacher builds its sentences from facts about the text, and a verbalizer that was warm-started on them goes on in
its form; both texts are taken apart again (`nlae.teacher.parse`) and compared by kind. What it does not say: anything
about claims in other words, nor about facts that the teacher left out for length, which count as false when claimed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nlae.evaluation.record import EvaluationRecord
from nlae.teacher.parse import Parsed, parse
from nlae.teacher.words import stem

KINDS = {
    "register": "register",
    "topics": "topics",
    "sentence": "local",
    "ending": "ending",
    "akin": "near",
    "next": "next_items",
}
"""Names of the figures, and what `Findings` calls these claims."""


class Claims:
    """`claims/<kind>_precision` and `claims/<kind>_recall`, over the rows that the `context` teacher has described.

    Kinds: `register` (the kind of text), `topics`, `sentence` (words of the sentence), `ending` (the kind of the last
    token), `akin` (words akin to it), `next` (likely next tokens). Precision: share of what explanations claim that the
    teacher says of the same row; recall: share of what it says that is claimed. Beside each `_null`, claims
    held against another row's facts. Words are compared by their stems. `claims/rows` are the rows;
    `claims/understood` is the share of them whose explanation is wholly of the teacher's form.
    """

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, descriptions = record.board, record.descriptions
        if descriptions is None:
            board.note("no claims: no teacher has described these rows")
            return
        told = {
            i: parse(descriptions.text(number))
            for i, number in enumerate(record.rows.row.tolist())
            if record.main_N[i] and number in descriptions
        }
        facts = {i: parsed for i, parsed in told.items() if not parsed.rest and parsed.claims}
        board.put("claims/rows", len(facts))
        if len(facts) * 2 <= len(told) or not facts:
            board.note("no claims: the descriptions are not in the form of teacher=context, so nothing can be checked")
            return
        keep_N = torch.zeros_like(record.main_N)
        keep_N[list(facts)] = True
        said = {i: parse(record.texts[i]) for i in facts}
        board.put("claims/understood", sum(not one.rest and bool(one.claims) for one in said.values()) / len(said))
        partner_N = record.partners(keep_N)
        partner = None if partner_N is None else partner_N.tolist()
        for name, kind in KINDS.items():
            _add(record, name, kind, said, facts, partner)


def _add(
    record: EvaluationRecord,
    name: str,
    kind: str,
    said: dict[int, Parsed],
    facts: dict[int, Parsed],
    partner: Sequence[int] | None,
) -> None:
    """Put the precision and recall of one kind, where anything of it is claimed or to be claimed."""
    counts_N5 = torch.zeros(len(record.rows), 5, dtype=torch.float64)
    for i in facts:
        other = i if partner is None else partner[i]
        claimed, true = _items(said[i], kind), _items(facts[i], kind)
        by_chance = (claimed & _items(facts[other], kind), _items(said[other], kind) & true)
        counts_N5[i] = torch.tensor([*map(len, (claimed, true, claimed & true, *by_chance))], dtype=torch.float64)
    claimed_N, true_N, hit_N, *chance = counts_N5.unbind(dim=1)
    for figure, total_N, chance_N in zip(("precision", "recall"), (claimed_N, true_N), chance, strict=True):
        keep_N = total_N > 0
        if keep_N.any():
            null_N = None if partner is None else total_N - chance_N
            record.board.add_ratio(f"claims/{name}_{figure}", total_N - hit_N, total_N, keep_N, null_N=null_N)


def _items(parsed: Parsed, kind: str) -> set[str]:
    """What is claimed of one kind, single words by their stems."""
    return {item if " " in item else stem(item) for item in parsed.claims.get(kind, ())}
