"""What every contender of a run is given: one model, the same tokens, the same vectors, the same sizes.

A job is a folder: `job.json` and `vectors.safetensors`. It holds plain numbers only, so that an environment without
nlae can read it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

VECTORS = "vectors.safetensors"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Fixed counts; both sides do exactly this much.

    Attributes:
        documents, length, positions: passages, tokens of each, rows read from each (the last token is one of them).
        scan_documents: passages of the neuron scan.
        batch_tokens: tokens of one forward pass in extraction.
        prompt_tokens: length of the verbalizer's prompt, slot included; 0 leaves it as it is.
        rows, new_tokens: of a rollout; no row may end early.
        write_rows, read_rows: batch of a verbalizer step and of a reconstructor step.
        activations, samples: of an RL step; rows = activations × samples.
        micro_batch: explanations per backward of a peer's RL step; ours goes by its default budget of tokens.
        rank: of every adapter.
        graphs: 1 lets ours decode by CUDA graphs.
    """

    documents: int = 32
    scan_documents: int = 64
    length: int = 128
    positions: int = 4
    batch_tokens: int = 2048
    prompt_tokens: int = 124
    rows: int = 32
    new_tokens: int = 64
    write_rows: int = 16
    read_rows: int = 24
    activations: int = 4
    samples: int = 8
    micro_batch: int = 32
    rank: int = 16
    graphs: int = 0

    def with_overrides(self, overrides: list[str]) -> Sizes:
        """Replace fields by `name=number` items.

        Raises:
            SystemExit: an unknown name, or something that is no whole number.
        """
        known = {field.name for field in dataclasses.fields(self)}
        changed: dict[str, int] = {}
        for item in overrides:
            name, _, value = item.partition("=")
            if name not in known or not value.isdigit():
                raise SystemExit(f"--set {item}: say name=number with one of {', '.join(sorted(known))}")
            changed[name] = int(value)
        return dataclasses.replace(self, **changed)


TINY = Sizes(
    documents=8, scan_documents=8, length=24, batch_tokens=96, prompt_tokens=0, rows=4, new_tokens=8,
    write_rows=3, read_rows=3, activations=2, samples=2, micro_batch=4, rank=4,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Job:
    """See the module.

    Attributes:
        folder: where the job lies.
        model: name of the model, for rows of results.
        model_folder: config and tokenizer, and weights unless `random_weights`.
        random_weights: weights are drawn on the device by every worker.
        device, dtype, threads: where and how it is computed.
        layer: the block whose output is the site.
        sizes: counts.
        document_ids: passages, all of one length; as many as the hungriest work wants.
        places: (document, position) of every row that is read.
        verbalizer: the verbalizer's template; `reconstructor` likewise.
        prompt_text: the rendered prompt as text, marker in the slot.
        prefix_ids, slot_id, suffix_ids: the same as ids.
        explanations: texts for the training steps.
        response_ids: of each explanation, closing tag included.
        scale: norm of an injected vector.
        shapes: `trunk`, `read` and `head`: parameters without embeddings, up to the site, of the output matrix.
    """

    folder: str
    model: str
    model_folder: str
    random_weights: bool
    device: str
    dtype: str
    threads: int
    layer: int
    sizes: Sizes
    document_ids: list[list[int]]
    places: list[tuple[int, int]]
    verbalizer: str
    reconstructor: str
    prompt_text: str
    prefix_ids: list[int]
    slot_id: int
    suffix_ids: list[int]
    explanations: list[str]
    response_ids: list[list[int]]
    scale: float
    shapes: dict[str, int]

    @property
    def prompt_ids(self) -> list[int]:
        """Prefix, slot, suffix."""
        return [*self.prefix_ids, self.slot_id, *self.suffix_ids]

    @property
    def n_rows(self) -> int:
        """Rows of an RL step."""
        return self.sizes.activations * self.sizes.samples

    def save(self) -> Path:
        """Write `job.json` and return its path."""
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read what `save` wrote."""
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        held["sizes"] = Sizes(**held["sizes"])
        held["places"] = [(int(document), int(position)) for document, position in held["places"]]
        return cls(**held)
