"""A tiny model with known neurons: some fire on a token, some on a word anywhere before, some on either of two words.

Block 0 averages the embeddings so far, so that a neuron may fire on a word wherever it stood: the last token says
nothing about such a one, and what describes it rightly has to name the word. All others are random directions of the
average, a little of every word. Detectors use real weights of a real architecture.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from nlae.corpus import Corpus, CorpusSource, Document, build_corpus
from nlae.dictionary.scan import Scanner
from nlae.dictionary.scan.folder import Scan
from nlae.target import Target, TinyTarget
from nlae.teacher.words import is_key

WIDTH, HEAD, WORKS, THEMES, MIXED = 256, 128, 1200, 32, 5
ALWAYS = HEAD - 1  # a dimension that is the same at every token
FAINT = 0.3  # detectors are faint beside all others, so that rotated columns show little of them
CONTEXT = range(THEMES)  # one for each theme
EITHER = range(CONTEXT.stop, CONTEXT.stop + THEMES // 2)  # one for each pair of themes
TOKEN = range(EITHER.stop, EITHER.stop + THEMES)  # one for each theme: its word is the last token


def source(**settings: Any) -> TinyTarget:
    return TinyTarget(layers=1, width=WIDTH, **settings)


def vocabulary(tokenizer: Any) -> tuple[list[str], list[str]]:
    """Theme words and filler words, each of them one token behind a space."""
    words = sorted(token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    themes = [word for word in words if word.islower() and len(word) >= 5 and is_key(word)][:THEMES]
    assert len(themes) == THEMES
    return themes, [word for word in words if word not in themes and word.islower()]


def detected(tokenizer: Any) -> dict[int, tuple[str, ...]]:
    """Detector -> the words that it fires on."""
    themes, _ = vocabulary(tokenizer)
    found = {neuron: (themes[neuron],) for neuron in CONTEXT}
    found |= {neuron: (themes[2 * place], themes[2 * place + 1]) for place, neuron in enumerate(EITHER)}
    return found | {neuron: (themes[place],) for place, neuron in enumerate(TOKEN)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Themes(CorpusSource):
    """Each work has some themes, whose words stand in a third of the places among words drawn at random."""

    near_duplicates: float | None = None

    def documents(self) -> Iterator[Document]:
        themes, filler = vocabulary(source().load_tokenizer())
        for work in range(WORKS):
            draw = random.Random(work)
            own = draw.sample(themes, MIXED)
            text = " ".join(draw.choice(own) if draw.random() < 0.3 else draw.choice(filler) for _ in range(64))
            yield Document(f"doc{work}", " " + text, f"work{work}")

    def fingerprint(self) -> str:
        return "themes"


def plant(target: Target) -> None:
    """Wire the detectors into block 0."""
    model: Any = target.model
    words = detected(target.tokenizer)
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
        vectors = {}
        for neuron, named in words.items():
            ids = [target.tokenizer.encode(" " + word, add_special_tokens=False)[-1] for word in named]
            vectors[neuron] = F.normalize(F.normalize(embedding[ids, :HEAD], dim=-1).sum(0), dim=0)
        embedding[:, ALWAYS] = embedding[:, :ALWAYS].std()
        gate, up = layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight
        gate.zero_()
        gate[:, ALWAYS] = 4  # open at every token, so that what is not wired is linear
        up[:, :HEAD] = 0
        for neuron, vector_H in vectors.items():
            half = slice(None, HEAD) if neuron in TOKEN else slice(HEAD, None)
            for weight in (gate, up):
                weight[neuron] = 0
                weight[neuron, half] = FAINT * vector_H


SCAN = Scanner(
    top=12,
    min_position=32,
    window_tokens=4096,
    panels={"train": 8000, "select": 3000, "bar": 3000, "test": 6000},
    per_passage=12,
)


def scanned(target: Target, folder: Path) -> tuple[Corpus, Scan]:
    corpus = Themes(max_tokens=80, min_tokens=8, val_share=0.2, test_share=0.4)
    build_corpus(corpus, target.tokenizer, folder / "corpus")
    SCAN.scan(target, Corpus.open(folder / "corpus"), folder / "scan", seed=0)
    return Corpus.open(folder / "corpus"), Scan.open(folder / "scan")
