"""A finished dictionary on disk: `dictionary.parquet`, the passages its exemplars refer to, and a summary per layer.

Entries are sorted by layer, neuron and sign and lie in small row groups, so that one of half a million is read in
milliseconds without loading the rest. Nothing here loads a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nlae.dictionary.schema import ARROW, COMPAT, SCHEMA, SIGNS, VERSION, Entry
from nlae.errors import NlaeError
from nlae.files.arrow import read_table, replacing, write_table, write_text
from nlae.files.foreign import read_json

__all__ = ["CONTEXTS", "FACTS", "FILE", "LAYERS", "Context", "Dictionary", "Entry", "Unseen", "write_dictionary"]

FILE, CONTEXTS, LAYERS, FACTS = "dictionary.parquet", "contexts.arrow", "layers.json", "dictionary.json"
METRICS, OVERVIEW = "metrics.json", "dictionary.html"
ROW_GROUP = 512
_PASSAGES = pa.schema({"document": pa.int32(), "source": pa.string(), "tokens": pa.list_(pa.string())})
_REBUILD = "run `nlae dictionary` again with the same overrides"


@dataclass(frozen=True)
class Context:
    """A passage that exemplars or unseen windows refer to: its number in the corpus, source work and tokens as text."""

    document: int
    source: str
    tokens: list[str]


@dataclass(frozen=True)
class Unseen:
    """A window of a test work in which an entry fires.

    Attributes:
        source: the source work.
        tokens: its tokens as text.
        levels: activation at each of them, 0 to 255, as a share of the entry's largest exemplar value.
        values: the same as activations.
    """

    source: str
    tokens: list[str]
    levels: list[int]
    values: list[float]


def write_dictionary(
    folder: Path,
    parts: Iterable[pl.DataFrame],
    *,
    contexts: Iterable[Context],
    layers: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Write the files of a dictionary, each whole or not at all.

    Args:
        folder: gets `dictionary.parquet`, `contexts.arrow`, `layers.json` and `dictionary.json`.
        parts: entries with the columns of `SCHEMA`, in order of layer, neuron and sign; one part at a time is held.
        contexts: every passage that an exemplar or an unseen window refers to.
        layers: summary per block.
        facts: target, layers and other things that hold for all entries.

    Raises:
        ValueError: parts that are out of order or lack a column.
    """
    last = -1
    with (
        replacing(folder / FILE) as temporary,
        pq.ParquetWriter(temporary, ARROW, compression="zstd", use_dictionary=True) as out,
    ):
        for part in parts:
            frame = part.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
            layer, neuron = (frame[name].cast(pl.Int64).to_numpy() for name in ("layer", "neuron"))
            keys = (layer << 40) + (neuron << 1) + (frame["sign"] == SIGNS[1]).to_numpy()
            if (np.diff(keys, prepend=last) <= 0).any():
                raise ValueError("entries must come sorted by layer, neuron and sign, each of them once")
            last = int(keys[-1]) if len(keys) else last
            out.write_table(frame.to_arrow(compat_level=COMPAT).cast(ARROW), row_group_size=ROW_GROUP)
    write_table(folder / CONTEXTS, pa.Table.from_pylist([vars(item) for item in contexts], schema=_PASSAGES))
    for name, content in ((LAYERS, list(layers)), (FACTS, {"version": VERSION, **facts})):
        write_text(folder / name, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


class Dictionary:
    """A finished dictionary, read on demand: `facts` hold for all entries, `layers` are one summary each."""

    def __init__(self, folder: Path, facts: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        self.folder, self.facts, self.layers = folder, facts, layers
        self._entries = pl.scan_parquet(folder / FILE)  # one, so that what is known of the file is kept

    @classmethod
    def open(cls, folder: Path | str) -> Dictionary:
        """Open what `write_dictionary` wrote.

        Raises:
            NlaeError: no dictionary there, a damaged file, or one of an older or a newer format.
        """
        folder = Path(folder)
        try:
            facts, layers = read_json(folder / FACTS), read_json(folder / LAYERS)
            pq.read_schema(folder / FILE)
            columns = pl.read_parquet_schema(folder / FILE)
            # a folder may come from elsewhere
            if not isinstance(facts, dict) or not isinstance(facts.get("version", 0), int):
                raise ValueError(f"{FACTS} holds no facts")
            rows = [row if isinstance(row, dict) else {} for row in (layers if isinstance(layers, list) else [None])]
            if not all(isinstance(row.get(key), int) for row in rows for key in ("layer", "neurons")):
                raise ValueError(f"{LAYERS} holds no summaries of layers")
            version = facts.get("version", 0)
            wrong = [name for name, kind in SCHEMA.items() if columns.get(name) != kind]
            if wrong and version == VERSION:
                raise ValueError(f"{FILE} lacks or mistypes {', '.join(wrong[:3])}")
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise NlaeError(f"{folder}: no dictionary here ({missing} is missing); {_REBUILD}") from None
        except (ValueError, pa.ArrowInvalid, OSError) as error:
            raise NlaeError(f"{folder}: its dictionary is damaged ({str(error).splitlines()[0]}); {_REBUILD}") from None
        if version < VERSION:
            raise NlaeError(f"{folder}: its dictionary was made by an older nlae: run `nlae dictionary` again")
        if version > VERSION:
            raise NlaeError(f"{folder}: its dictionary has format {version}, newer than this nlae; update nlae")
        return cls(folder, facts, layers)

    def frame(self) -> pl.LazyFrame:
        """All entries, lazily; columns as in `schema.Entry`."""
        return self._entries

    @cached_property
    def overview(self) -> pl.DataFrame:
        """The narrow columns of all entries, in memory: what lists and an overview of half a million need."""
        names = [name for name, kind in SCHEMA.items() if not isinstance(kind, pl.List) or name == "tokens"]
        return self.frame().select(names).collect()

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The flat numbers that lie beside it once it is sealed; empty before.

        Raises:
            NlaeError: a damaged file.
        """
        path = self.folder / METRICS
        try:
            return {name: float(value) for name, value in read_json(path).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            raise NlaeError(f"{path}: damaged, no flat numbers; {_REBUILD}") from None

    def __len__(self) -> int:
        """Number of entries."""
        return int(self._entries.select(pl.len()).collect().item())

    def __iter__(self) -> Iterator[Entry]:
        """All entries in the order of the file, some at a time."""
        for start in range(0, len(self), ROW_GROUP):
            yield from self._read(self._entries.slice(start, ROW_GROUP))

    def entry(self, layer: int, neuron: int, sign: str = "+") -> Entry:
        """One entry.

        Raises:
            NlaeError: the dictionary has no such entry.
        """
        for entry in self._signs(layer, neuron):
            if entry.sign == sign:
                return entry
        known = ", ".join(f"{row['layer']} ({row['neurons']} neurons)" for row in self.layers[:8])
        raise NlaeError(
            f"{self.folder}: no entry for layer {layer}, neuron {neuron}, sign {sign}; it has layers {known}"
            f"{', …' if len(self.layers) > 8 else ''}"
        )

    def neuron(self, layer: int, neuron: int) -> tuple[Entry, ...]:
        """Both signs of a neuron, `+` first; that alone for a direction that is never negative.

        Raises:
            NlaeError: the dictionary has no such neuron.
        """
        self.entry(layer, neuron)
        return self._signs(layer, neuron)

    def at(self, place: int) -> Entry:
        """The entry at a place in the order of the file."""
        (entry,) = self._read(self._entries.slice(place, 1))
        return entry

    def _signs(self, layer: int, neuron: int) -> tuple[Entry, ...]:
        if not (0 <= layer < 1 << 31 and 0 <= neuron < 1 << 31):  # what a column can hold
            return ()
        return self._read(self._entries.filter(pl.col("layer") == layer, pl.col("neuron") == neuron))

    def _read(self, rows: pl.LazyFrame) -> tuple[Entry, ...]:
        return tuple(Entry(**row) for row in rows.collect().to_dicts())

    def context(self, document: int) -> Context:
        """The passage of this number.

        Raises:
            NlaeError: nothing refers to it.
        """
        table, place = self._passages
        if document not in place:
            raise NlaeError(f"{self.folder}: no passage {document} in its {CONTEXTS}")
        return Context(**table.slice(place[document], 1).to_pylist()[0])

    def unseen(self, entry: Entry) -> list[Unseen]:
        """The windows of test works that are kept of an entry, strongest first.

        Raises:
            NlaeError: its levels do not fit the passages.
        """
        contexts = [self.context(document) for document in entry.unseen_document]
        tokens = [context.tokens[start:] for context, start in zip(contexts, entry.unseen_start, strict=True)]
        levels, largest, found = list(entry.unseen_level), max(entry.exemplar_value, default=0.0), []
        # windows are equally long but where a passage ends earlier
        fits = (n for n in range(len(levels) + 1) if sum(len(text[:n]) for text in tokens) == len(levels))
        longest = next(fits, None)
        if longest is None:
            raise NlaeError(f"{self.folder}: levels of {entry.name} do not fit its unseen passages; {_REBUILD}")
        for context, text in zip(contexts, tokens, strict=True):
            text = text[:longest]
            own, levels = levels[: len(text)], levels[len(text) :]
            found.append(Unseen(context.source, text, own, [largest * level / 255 for level in own]))
        return found

    @cached_property
    def _passages(self) -> tuple[pa.Table, dict[int, int]]:
        """All passages, and the row of each of them."""
        table = read_table(self.folder / CONTEXTS, _REBUILD)
        return table, {document: row for row, document in enumerate(table["document"].to_pylist())}
