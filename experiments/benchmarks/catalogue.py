"""What is measured and against whom. No heavy import: the orchestrator reads this, only workers load models.

Targets are ratios of rates (ours over theirs); a work without one is reported all the same.
"""

from __future__ import annotations

import dataclasses

OURS = "ours"
PACKAGE = "experiments.benchmarks"


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to do a work without nlae.

    Attributes:
        name: in tables.
        entry: `module:function` in `peers/`.
        environment: whose interpreter runs it; `ours` shares our dependencies (plain Hugging Face and peft).
        target: least ratio ours/theirs that is asked for, or None.
        note: how it is used, in a few words.
    """

    name: str
    entry: str
    environment: str = OURS
    target: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Work:
    """One thing to be done, by ours and by its peers.

    Attributes:
        name: also the module in `works/` that holds our side.
        unit: what is counted per second.
        peers: in the order of the table.
        tolerance: largest difference between our check values and a peer's, relative to the largest value; None where
            peers sample or cannot inject and so cannot agree.
        needs: a module of ours without which the work is not run.
    """

    name: str
    unit: str
    peers: tuple[Peer, ...]
    tolerance: float | None = None
    needs: str | None = None


WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        Work(
            "extraction",
            "tokens/s",
            (
                Peer("hf", "hf:extraction", target=1.5, note="output_hidden_states, as documented"),
                Peer("hf_stopped", "hf:extraction_stopped", target=1.0, note="AutoModel cut to the blocks needed"),
                Peer("transformer_lens", "transformer_lens:extraction", "transformer_lens", 1.5, "run_with_cache"),
                Peer(
                    "transformer_lens_stopped",
                    "transformer_lens:extraction_stopped",
                    "transformer_lens",
                    1.0,
                    "run_with_cache, stop_at_layer and names_filter",
                ),
                Peer("nnsight", "nnsight:extraction", "nnsight", 1.5, "trace and save"),
                Peer("nnsight_stopped", "nnsight:extraction_stopped", "nnsight", 1.0, "trace, save and tracer.stop()"),
                Peer("sae_lens", "sae_lens:extraction", "sae_lens", 1.5, "ActivationsStore over a Hugging Face model"),
                Peer("bare", "hf:extraction_bare", target=0.8, note="the truncated forward alone, nothing kept"),
            ),
            tolerance=1e-3,
        ),
        Work(
            "rollout",
            "tokens/s",
            (
                Peer("hf_generate", "hf:rollout", target=4.0, note="generate(inputs_embeds=…), sampling"),
                Peer("hf_generate_batch", "hf:rollout_batch", note="continuous batching; cannot inject: ids only"),
            ),
            tolerance=0.0,
        ),
        Work(
            "verbalizer_sft",
            "response tokens/s",
            (
                Peer("plain", "hf_training:verbalizer_sft", target=1.5, note="peft, whole rows, loss by labels"),
                Peer("trl_sft", "trl:verbalizer_sft", "trl", 1.5, "SFTTrainer, completion-only; cannot inject"),
            ),
            tolerance=1e-3,
        ),
        Work(
            "reconstructor_sft",
            "text tokens/s",
            (
                Peer("plain", "hf_training:reconstructor_sft", target=1.5, note="peft, full AutoModel, hidden states"),
                Peer("plain_truncated", "hf_training:reconstructor_sft_truncated", note="the same, cut to the blocks"),
                Peer("hf_trainer", "hf_training:reconstructor_sft_trainer", target=1.5, note="Trainer, full AutoModel"),
            ),
            tolerance=1e-3,
        ),
        Work(
            "rl_step",
            "sampled tokens/s",
            (Peer("trl_grpo", "trl:rl_step", "trl", 3.0, "GRPOTrainer plus a reconstructor step; cannot inject"),),
        ),
        Work(
            "evaluation",
            "rows/s",
            (Peer("hf", "hf:evaluation", note="generate(inputs_embeds=…), then the full model reads"),),
            tolerance=1e-3,
        ),
        Work(
            "neuron_scan",
            "tokens/s",
            (Peer("plain_forward", "hf:forward", target=0.5, note="forward passes of the full model, nothing kept"),),
            needs="nlae.dictionary",
        ),
    )
}


def chosen(names: str | None) -> list[Work]:
    """Works by comma-separated names; None is all of them.

    Raises:
        SystemExit: a name that does not exist.
    """
    wanted = list(WORKS) if not names else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in WORKS]
    if unknown:
        raise SystemExit(f"no such work: {', '.join(unknown)}; choose from {', '.join(WORKS)}")
    return [WORKS[name] for name in wanted]
