"""A tiny model with known neurons: block 0 averages the embeddings so far, and some neurons fire on one word in it.

The last token says nothing about them, as a word counts wherever it stood; so the last-token table cannot predict
them, and what describes them rightly has to name the word. Detectors use real weights of a real architecture.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from nlae.dictionary.speaker import MixtureSpeaker
from torch.nn import functional as F

from nlae.autoencoder import PairSettings
from nlae.backbone import AdapterSettings
from nlae.corpus import Corpus, CorpusSource, Document, build_corpus
from nlae.dictionary.scan import Scan, ScanSettings, promoted, scan
from nlae.functional.scaling import SiteStatistics
from nlae.mixture import Mixture
from nlae.prompt import Prompt
from nlae.target import Site, Target, TinyTarget

WIDTH, HEAD, WORKS, THEMES = 128, 64, 1440, 16
POLYSEMANTIC = 3 * THEMES  # the neuron behind the detectors, three for each theme, fires on either of two themes
PROMPT = Prompt(
    name="planted",
    verbalizer="What is it? <concept>{slot}</concept>",
    reconstructor="{explanation}.",
    text="",
    max_tokens=3,
)


def source(**settings: Any) -> TinyTarget:
    return TinyTarget(layers=1, width=WIDTH, **settings)


def vocabulary(tokenizer: Any) -> tuple[list[str], list[str]]:
    """Theme words and filler words, each of them one token behind a space."""
    from nlae.teacher.words import is_key

    words = sorted(token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    themes = [word for word in words if word.islower() and len(word) >= 5 and is_key(word)][:THEMES]
    assert len(themes) == THEMES
    return themes, [word for word in words if word not in themes and word.islower()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Themes(CorpusSource):
    """Two works of three have a theme, whose word stands in a third of the places among words drawn at random."""

    near_duplicates: float | None = None

    def documents(self) -> Iterator[Document]:
        themes, filler = vocabulary(source().load_tokenizer())
        for work in range(WORKS):
            draw = random.Random(work)
            place = work % (3 * THEMES // 2)
            rate = 0.35 if place < THEMES else 0.0
            text = " ".join(themes[place % THEMES] if draw.random() < rate else draw.choice(filler) for _ in range(48))
            yield Document(f"doc{work}", " " + text, f"work{work}")

    def fingerprint(self) -> str:
        return "themes"


def plant(target: Target) -> None:
    """Wire the detectors into block 0."""
    model: Any = target.model
    themes, _ = vocabulary(target.tokenizer)
    ids = [target.tokenizer.encode(" " + word, add_special_tokens=False)[-1] for word in themes]
    layer = model.model.layers[0]
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding[:, HEAD:] = 0  # the upper half is kept free for the average
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            projection.weight.zero_()  # equal scores: every head averages
        layer.self_attn.v_proj.weight.zero_()
        layer.self_attn.v_proj.weight[:, :HEAD] = torch.eye(HEAD)
        layer.self_attn.o_proj.weight.zero_()
        layer.self_attn.o_proj.weight[HEAD:, :HEAD] = 3 * torch.eye(HEAD)
        word_TD = F.normalize(embedding[ids, :HEAD], dim=-1)
        either = torch.cat([word_TD, 0.8 * word_TD, 0.6 * word_TD, F.normalize(word_TD[:1] + word_TD[1:2], dim=-1)])
        for weight in (layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight):
            weight[: len(either)] = 0
            weight[len(either) :, HEAD:] = 0  # all others see the last token alone
            weight[: len(either), HEAD:] = either


SCAN = ScanSettings(
    top=12,
    min_position=12,
    window_tokens=4096,
    panels={"train": 2304, "select": 1152, "bar": 1152, "test": 1152},
    per_passage=4,
)


def scanned(target: Target, folder: Path) -> tuple[Corpus, Scan]:
    corpus = Themes(max_tokens=64, min_tokens=8, val_share=0.2, test_share=0.4)
    build_corpus(corpus, target.tokenizer, folder / "corpus")
    scan(target, Corpus.open(folder / "corpus"), folder / "scan", settings=SCAN, seed=0)
    return Corpus.open(folder / "corpus"), Scan.open(folder / "scan")


def speaker(target: Target, found: Scan) -> MixtureSpeaker:
    """An autoencoder before its first update: what it writes is noise, but it reads with the model's own eyes."""
    sites = [Site(kind, layer).resolve(target.n_layers) for layer in found.layers for kind in ("mlp_in", "mlp_neurons")]
    panel = found.panel("train")
    statistics = {}
    for site in sites:
        raw = panel.inputs(site.index) if site.kind == "mlp_in" else panel.neurons(site.index)
        unit = F.normalize(raw, dim=-1)
        mean = unit.mean(0)
        variance = float((unit - mean).square().sum(-1).mean())
        norm = float(raw.norm(dim=-1).median())
        statistics[site.name] = SiteStatistics(
            mean_D=mean, variance=variance, alpha=6.0, norm_median=norm, count=len(raw)
        )
    adapter = AdapterSettings(4, 8.0)
    settings = PairSettings(prompt=PROMPT, verbalizer_adapter=adapter, reconstructor_adapter=adapter, max_tokens=64)
    return MixtureSpeaker(Mixture(target, sites, statistics, settings), found.layers, 0.0, 64)


def neutral(speaker: MixtureSpeaker, found: Scan) -> str:
    """What the speaker says of a layer's mean input: nothing in particular."""
    (layer,) = found.layers
    (text,) = speaker.write(layer, found.panel("train").inputs(layer).mean(0, keepdim=True), [0], "mlp_in")
    return text


def writes(target: Target) -> Any:
    return lambda layer: promoted(target, layer, 4)
