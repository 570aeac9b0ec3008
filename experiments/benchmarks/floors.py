"""The least arithmetic that each work needs, in FLOP: what a share of the matmul roof is taken of.

Two operations per weight and token forward, two more for the gradient of what flows, two more for that of the weights
(left out with adapters, whose own weights are neglected, like attention scores and embeddings).
"""

from __future__ import annotations

from experiments.benchmarks.job import Job


def extraction(job: Job) -> float:
    """Every token through the blocks up to the site."""
    return 2.0 * job.shapes["read"] * job.sizes.documents * job.sizes.length


def _rollout(job: Job, groups: int, rows: int) -> float:
    trunk, head = job.shapes["trunk"], job.shapes["head"]
    suffix = 1 + len(job.suffix_ids)
    return 2.0 * trunk * (len(job.prefix_ids) + groups * suffix) + 2.0 * (trunk + head) * rows * job.sizes.new_tokens


def rollout(job: Job) -> float:
    """Prefix once, slot and suffix per activation, each new token once; every row has an activation of its own."""
    return _rollout(job, job.sizes.rows, job.sizes.rows)


def verbalizer_sft(job: Job) -> float:
    """Forward, and the gradient of what flows, of prefix once and of slot, suffix and response per row."""
    responses = job.response_ids[: job.sizes.write_rows]
    written = sum(len(ids) for ids in responses)
    tokens = len(job.prefix_ids) + len(responses) * (1 + len(job.suffix_ids)) + written
    return 4.0 * job.shapes["trunk"] * tokens + 4.0 * job.shapes["head"] * written


def read_tokens(job: Job, rows: int) -> int:
    """Tokens of `rows` explanations, template left out: it is a token or two."""
    return sum(len(ids) for ids in job.response_ids[:rows])


def reconstructor_sft(job: Job) -> float:
    """Forward, and the gradient of what flows, up to the site."""
    return 4.0 * job.shapes["read"] * read_tokens(job, job.sizes.read_rows)


def rl_step(job: Job) -> float:
    """Rollout, policy with gradient, reference without, reconstructor with."""
    sampled = job.n_rows * job.sizes.new_tokens
    suffix = 1 + len(job.suffix_ids)
    tokens = len(job.prefix_ids) + job.sizes.activations * suffix + sampled
    scored = job.shapes["trunk"] * tokens + job.shapes["head"] * sampled
    return _rollout(job, job.sizes.activations, job.n_rows) + 6.0 * scored + 4.0 * job.shapes["read"] * sampled


def evaluation(job: Job) -> float:
    """Rollout, and one reading of what was written."""
    return rollout(job) + 2.0 * job.shapes["read"] * job.sizes.rows * job.sizes.new_tokens


def neuron_scan(job: Job) -> float:
    """Every token through all blocks."""
    return 2.0 * job.shapes["trunk"] * job.sizes.scan_documents * job.sizes.length


FLOORS = {
    function.__name__: function
    for function in (extraction, rollout, verbalizer_sft, reconstructor_sft, rl_step, evaluation, neuron_scan)
}
