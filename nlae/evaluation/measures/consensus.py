"""Several explanations of one activation: what they agree on, and the one that stands in their middle.

What is made up differs from sample to sample, so agreement tells about truth without a judge. What it does not say:
that what all samples repeat is right; a habit of the verbalizer is repeated too, hence the null.
"""

from __future__ import annotations

import itertools
from collections import Counter

import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.evaluation import round_trip
from nlae.evaluation.checkable import claims_in, facts_of
from nlae.evaluation.record import EvaluationRecord
from nlae.evaluation.round_trip import Sampling
from nlae.functional.copying import words
from nlae.functional.randomness import derive_seed
from nlae.teacher.parse import parse
from nlae.teacher.words import is_key, stem


class Consensus:
    """`claims/consensus_fve` beside `claims/single_fve`, and `claims/agreement`, over k samples of the same rows.

    * `consensus_fve`: FVE of the sample whose reconstruction has the highest mean cosine with those of the others; the
      activation is not looked at. `single_fve` is that of the first sample, `single_fve_gap` what choosing adds.
    * `agreed_precision`: of the claims that more than half of the samples make, the share that the `context` teacher
      makes too; `sampled_precision` is that of the first sample's claims, and `agreed_share` how many are agreed on for
      each one that it makes. Only where the rows have that teacher's descriptions. `_null`: held against another row.
    * `agreement`: mean share of content words that two samples have in common (of those in either); `_null` is that of
      a row's samples with another row's.

    Args:
        samples: explanations of each row, the one that is measured elsewhere included.
        rows: at most.
    """

    costly = True

    def __init__(self, samples: int = 4, rows: int = 100) -> None:
        if samples < 3 or rows < 1:
            raise NlaeError(
                f"evaluation.measures.consensus: samples={samples} must be at least 3 (of two, neither stands in the "
                f"middle) and rows={rows} at least 1"
            )
        self.samples, self.rows = samples, rows

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        board, keep_N = record.board, record.draw(self.rows)
        texts = [[text for text, kept in zip(record.texts, keep_N.tolist(), strict=True) if kept]]
        texts += [self._more(record, keep_N, k) for k in range(1, self.samples)]
        read_SKD = torch.stack([record.read(one, f"sample {k}") for k, one in enumerate(texts)])
        chosen_KD = read_SKD[central(read_SKD), torch.arange(read_SKD.shape[1])]
        consensus_N, single_N = (_error(record, one_KD, keep_N) for one_KD in (chosen_KD, read_SKD[0]))
        board.put("claims/samples", self.samples)
        board.add("claims/consensus_fve", consensus_N, keep_N)
        board.add_control("claims/single_fve", single_N, consensus_N, keep_N)
        partner_N = record.partners(keep_N)
        _put_agreed(record, keep_N, texts)
        # places among the kept rows
        place_N = keep_N.cumsum(0) - 1
        null_K = None if partner_N is None else agreement(texts, place_N[partner_N[keep_N]].tolist())
        board.add_mean(
            "claims/agreement",
            _spread_out(agreement(texts), keep_N),
            keep_N,
            null_N=None if null_K is None else _spread_out(null_K, keep_N),
        )

    def _more(self, record: EvaluationRecord, keep_N: Tensor, sample: int) -> list[str]:
        seed = derive_seed(record.seed, "consensus", sample)
        sampling = Sampling(f"consensus-{sample}", seed, batch_size=record.batch_size)
        rows = record.rows.select(keep_N.numpy())
        return [one.text for one in round_trip.write(record.autoencoder, rows, sampling, record.folder)]


def central(read_SKD: Tensor) -> Tensor:
    """Of S readings of K rows the one in the middle, int64 [K]: the highest mean cosine with the others."""
    cosine_KSS = torch.einsum("skd,tkd->kst", read_SKD.double(), read_SKD.double())
    return cosine_KSS.sum(dim=2).argmax(dim=1)


def agreement(texts: list[list[str]], partner: list[int] | None = None) -> Tensor:
    """Mean share of content words in common over the pairs of samples, float64 [K]; 0 where both have none.

    Args:
        texts: of K rows, in each sample.
        partner: the row whose later sample is taken for each row; None compares a row with itself.
    """
    partner = list(range(len(texts[0]))) if partner is None else partner
    bags = [[{stem(word) for word in words(text) if is_key(word)} for text in sample] for sample in texts]
    shares = []
    for k, other in enumerate(partner):
        pairs = [(bags[s][k], bags[t][other]) for s, t in itertools.combinations(range(len(bags)), 2)]
        shares.append(sum(len(a & b) / max(1, len(a | b)) for a, b in pairs) / len(pairs))
    return torch.tensor(shares, dtype=torch.float64)


def _put_agreed(record: EvaluationRecord, keep_N: Tensor, texts: list[list[str]]) -> None:
    facts = {i: claims_in(parsed) for i, parsed in facts_of(record).items() if keep_N[i]}
    if not facts:
        return
    described_N = torch.zeros_like(keep_N)
    described_N[list(facts)] = True
    partner_N = record.partners(described_N)
    place_N = keep_N.cumsum(0) - 1
    # claimed, true of this row, true of another; of those agreed on, then of the first sample's
    counts_N23 = torch.zeros(len(keep_N), 2, 3, dtype=torch.float64)
    for i, true in facts.items():
        made = [claims_in(parse(sample[int(place_N[i])])) for sample in texts]
        count = Counter(itertools.chain(*made))
        other = set() if partner_N is None else facts[int(partner_N[i])]
        agreed = {claim for claim, times in count.items() if 2 * times > len(made)}
        for k, claimed in enumerate((agreed, made[0])):
            numbers = (len(claimed), len(claimed & true), len(claimed & other))
            counts_N23[i, k] = torch.tensor(numbers, dtype=torch.float64)
    for k, name in enumerate(("agreed_precision", "sampled_precision")):
        claimed_N, hit_N, chance_N = counts_N23[:, k].unbind(dim=1)
        if (claimed_N > 0).any():
            null_N = None if partner_N is None else claimed_N - chance_N
            record.board.add_ratio(f"claims/{name}", claimed_N - hit_N, claimed_N, claimed_N > 0, null_N=null_N)
    agreed_N, sampled_N = counts_N23[:, :, 0].unbind(dim=1)
    if sampled_N.any():
        record.board.add_ratio("claims/agreed_share", sampled_N - agreed_N, sampled_N, sampled_N > 0)


def _error(record: EvaluationRecord, read_KD: Tensor, keep_N: Tensor) -> Tensor:
    error_K = (read_KD.double() - record.board.truth_ND[keep_N].double()).square().sum(-1)
    return _spread_out(error_K, keep_N)


def _spread_out(value_K: Tensor, keep_N: Tensor) -> Tensor:
    value_N = torch.full((len(keep_N),), float("nan"), dtype=torch.float64)
    value_N[keep_N] = value_K
    return value_N
