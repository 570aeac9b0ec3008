"""delphi's latent cache: one folder per layer, safetensors files `first_last` with activations, locations and tokens.

A cache holds one row of tokens per context, the place (context, position, latent) of every activation that is kept, and
its value in float16. A dictionary keeps each entry's strongest activations, one per passage, and those are what is
written: a *sparse* cache, good for showing an explainer what an entry fires on, not for frequencies; `config.json`
says so. Each sign is a latent: neuron n is latent 2n, its negative side 2n + 1, so that all activations are positive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlae.dictionary.entries import Dictionary
from nlae.errors import NlaeError
from nlae.store.arrow import replacing, write_text

MODULE = "layers.{}.mlp"
CONFIG = "config.json"


def export_delphi(
    dictionary: Dictionary,
    folder: Path,
    token_ids: Callable[[int], Sequence[int]],
    *,
    model_name: str,
    context: int = 64,
    splits: int = 5,
    pad_id: int = 0,
) -> dict[str, int]:
    """Write the cache of every layer.

    Args:
        dictionary: finished.
        folder: gets one folder per layer, `layers.<l>.mlp`.
        token_ids: tokens of a passage of the corpus that the dictionary was made from, by its number.
        model_name: what delphi loads the tokenizer of.
        context: tokens per row; a passage becomes as many rows as exemplars need.
        splits: files per layer.
        pad_id: fills the last row of a passage.

    Returns:
        layers, contexts and activations written.
    """
    done = {"layers": 0, "contexts": 0, "activations": 0}
    layers = dictionary.frame().select(pl.col("layer").unique().sort()).collect()["layer"].to_list()
    for layer in layers:
        columns = ["neuron", "sign", "exemplar_value", "exemplar_document", "exemplar_position"]
        frame = dictionary.frame().filter(pl.col("layer") == layer).select(columns).collect()
        places, values, keys = _flatten(frame, context)
        rows = {key: row for row, key in enumerate(sorted(set(keys)))}
        tokens = _tokens(list(rows), token_ids, context, pad_id)
        places[:, 0] = [rows[key] for key in keys]
        width = 2 * (max(frame["neuron"].to_list(), default=0) + 1)
        module = folder / MODULE.format(layer)
        _save(module, places, values, tokens, width, splits)
        settings: dict[str, Any] = {
            "dataset_repo": "",
            "dataset_split": "",
            "dataset_name": "",
            "dataset_column": "text",
            "batch_size": 1,
            "cache_ctx_len": context,
            "ctx_len": context,
            "n_tokens": int(tokens.size),
            "n_splits": splits,
            "model_name": model_name,
            "exemplars_only": True,
            "latent": "2 * neuron, plus 1 for the negative side",
        }
        write_text(module / CONFIG, json.dumps(settings, indent=1))
        done["layers"] += 1
        done["contexts"] += len(tokens)
        done["activations"] += len(values)
    return done


def read_delphi(module: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Locations (n, 3) int64, activations (n,) float32 and tokens (contexts, length) int64 of one layer's folder.

    Raises:
        NlaeError: no cache there, or a damaged file.
    """
    places, values, tokens = [], [], None
    files = sorted(module.glob("*_*.safetensors"), key=lambda path: int(path.stem.split("_")[0]))
    if not files:
        raise NlaeError(f"{module}: no latent cache here; give the folder of one layer")
    for path in files:
        try:
            part = load_file(path)
            own = part["locations"].astype(np.int64)
            values.append(part["activations"].astype(np.float32))
            tokens = part["tokens"].astype(np.int64)
        except (OSError, SafetensorError, KeyError) as error:
            raise NlaeError(f"{path}: no readable part of a latent cache ({type(error).__name__})") from error
        own[:, 2] += int(path.stem.split("_")[0])
        places.append(own)
    return torch.from_numpy(np.concatenate(places)), torch.from_numpy(np.concatenate(values)), torch.from_numpy(tokens)


def _flatten(frame: pl.DataFrame, context: int) -> tuple[Any, Any, list[tuple[int, int]]]:
    """Locations without their row, values, and for each the (passage, number of its piece) that it lies in."""
    places: list[tuple[int, int, int]] = []
    values: list[float] = []
    keys: list[tuple[int, int]] = []
    for entry in frame.iter_rows(named=True):
        latent = 2 * entry["neuron"] + (entry["sign"] == "-")
        shown = zip(entry["exemplar_document"], entry["exemplar_position"], entry["exemplar_value"], strict=True)
        for document, position, value in shown:
            # a sign that hardly fires has exemplars below zero, which no latent of the format can have
            if document < 0 or value <= 0:
                continue
            places.append((0, position % context, latent))
            values.append(value)
            keys.append((document, position // context))
    return np.array(places, dtype=np.int64).reshape(-1, 3), np.array(values, dtype=np.float32), keys


def _tokens(
    pieces: Sequence[tuple[int, int]], token_ids: Callable[[int], Sequence[int]], context: int, pad_id: int
) -> Any:
    tokens = np.full((len(pieces), context), pad_id, dtype=np.int64)
    for row, (document, piece) in enumerate(pieces):
        ids = list(token_ids(document))[piece * context : (piece + 1) * context]
        tokens[row, : len(ids)] = ids
    return tokens


def _save(module: Path, places: Any, values: Any, tokens: Any, width: int, splits: int) -> None:
    """One file per share of the latents, empty shares too: readers find a latent by the edges in the names."""
    edges = np.linspace(0, width, min(splits, width) + 1).astype(np.int64)
    for first, after in pairwise(edges):
        inside = (places[:, 2] >= first) & (places[:, 2] < after)
        own = places[inside].copy()
        own[:, 2] -= first
        small = bool(len(tokens) < 2**16 and after - first < 2**16)
        part = {
            "locations": own.astype(np.uint16 if small else np.uint32),
            "activations": values[inside].astype(np.float16),
            "tokens": tokens,
        }
        with replacing(module / f"{first}_{after - 1}.safetensors") as temporary:
            save_file(part, str(temporary))
