"""A finished dictionary on disk: `dictionary.parquet`, the passages its exemplars refer to, and a summary per layer.

Entries are sorted by layer, neuron and sign and lie in small row groups, so that one of half a million is read in
milliseconds without loading the rest. Nothing here loads a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nlae.dictionary.schema import ARROW, COMPAT, SCHEMA, SIGNS, VERSION, Entry
from nlae.errors import NlaeError
from nlae.files.arrow import read_table, replacing, write_table, write_text
from nlae.files.foreign import parse_json, read_json

__all__ = ["CONTEXTS", "FACTS", "FILE", "LAYERS", "Context", "Dictionary", "Entry", "Unseen", "write_dictionary"]

FILE, CONTEXTS, LAYERS, FACTS = "dictionary.parquet", "contexts.arrow", "layers.json", "dictionary.json"
METRICS, OVERVIEW = "metrics.json", "dictionary.html"
ROW_GROUP = 512
_PASSAGES = pa.schema({"document": pa.int32(), "source": pa.string(), "tokens": pa.list_(pa.string())})
_REBUILD = "run `nlae dictionary` again with the same overrides"


@dataclass(frozen=True)
class Context:
    """A passage that exemplars or unseen windows refer to.

    Attributes:
        document: its number in the corpus.
        source: the source work.
        tokens: its tokens as text, one string each.
    """

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
) -> int:
    """Write the files of a dictionary, each whole or not at all.

    Args:
        folder: gets `dictionary.parquet`, `contexts.arrow`, `layers.json` and `dictionary.json`.
        parts: entries with the columns of `SCHEMA`, in order of layer, neuron and sign; one part at a time is held.
        contexts: every passage that an exemplar or an unseen window refers to.
        layers: summary per block.
        facts: target, layers and other things that hold for all entries.

    Returns:
        Number of entries.

    Raises:
        ValueError: parts that are out of order or lack a column.
    """
    last, count = -1, 0
    with (
        replacing(folder / FILE) as temporary,
        pq.ParquetWriter(temporary, ARROW, compression="zstd", use_dictionary=True) as out,
    ):
        for part in parts:
            frame = part.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
            keys = _keys(frame)
            if len(keys) and (keys[0] <= last or (np.diff(keys) <= 0).any()):
                raise ValueError("entries must come sorted by layer, neuron and sign, each of them once")
            last, count = int(keys[-1]) if len(keys) else last, count + len(keys)
            out.write_table(frame.to_arrow(compat_level=COMPAT).cast(ARROW), row_group_size=ROW_GROUP)
    write_table(folder / CONTEXTS, pa.Table.from_pylist([vars(item) for item in contexts], schema=_PASSAGES))
    for name, content in ((LAYERS, list(layers)), (FACTS, {"version": VERSION, **facts})):
        write_text(folder / name, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
    return count


def _keys(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """One ascending number per (layer, neuron, sign)."""
    minus = (frame["sign"] == SIGNS[1]).cast(pl.Int64).to_numpy()
    layer, neuron = (frame[name].cast(pl.Int64).to_numpy() for name in ("layer", "neuron"))
    keys: npt.NDArray[np.int64] = (layer << 40) + (neuron << 1) + minus
    return keys


class Dictionary:
    """A finished dictionary, read on demand.

    Attributes:
        folder: where it lies.
        facts: what holds for all entries: target, thresholds of passing.
        layers: one summary per layer, by layer.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        self.folder, self.facts, self.layers = folder, facts, layers
        self._held: tuple[int, pa.Table] | None = None

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
            _check_form(facts, layers, pl.read_parquet_schema(folder / FILE))
        except FileNotFoundError as error:
            raise NlaeError(
                f"{folder}: no dictionary here ({Path(error.filename).name} is missing); {_REBUILD}"
            ) from None
        except (ValueError, pa.ArrowInvalid, OSError) as error:
            raise NlaeError(f"{folder}: its dictionary is damaged ({str(error).splitlines()[0]}); {_REBUILD}") from None
        if facts.get("version", 0) < VERSION:
            raise NlaeError(f"{folder}: its dictionary was made by an older nlae: run `nlae dictionary` again")
        if facts["version"] > VERSION:
            raise NlaeError(
                f"{folder}: its dictionary has format {facts['version']}, newer than this nlae; update nlae"
            )
        return cls(folder, facts, layers)

    def frame(self) -> pl.LazyFrame:
        """All entries, lazily; columns as in `schema.Entry`."""
        return pl.scan_parquet(self.folder / FILE)

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
            return {name: float(value) for name, value in parse_json(path.read_text(encoding="utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            raise NlaeError(f"{path}: damaged, no flat numbers; {_REBUILD}") from None

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._key)

    def entry(self, layer: int, neuron: int, sign: str = "+") -> Entry:
        """One entry.

        Raises:
            NlaeError: the dictionary has no such entry.
        """
        place = self._place(layer, neuron, sign)
        if place is None:
            raise NlaeError(f"{self.folder}: no entry for layer {layer}, neuron {neuron}, sign {sign}; {self._range()}")
        return self.at(place)

    def neuron(self, layer: int, neuron: int) -> tuple[Entry, ...]:
        """Both signs of a neuron, `+` first; that alone for a direction that is never negative.

        Raises:
            NlaeError: the dictionary has no such neuron.
        """
        plus = self.entry(layer, neuron, "+")
        behind = self._place(layer, neuron, "-")
        return (plus,) if behind is None else (plus, self.at(behind))

    def _place(self, layer: int, neuron: int, sign: str) -> int | None:
        if sign not in SIGNS or not (0 <= layer < 1 << 20 and 0 <= neuron < 1 << 38):  # what a key can hold
            return None
        wanted = (int(layer) << 40) + (int(neuron) << 1) + int(sign == SIGNS[1])
        place = int(np.searchsorted(self._key, wanted))
        return place if place < len(self) and self._key[place] == wanted else None

    def at(self, place: int) -> Entry:
        """The entry at a place in the order of the file."""
        group = int(np.searchsorted(self._starts, place, side="right")) - 1
        if self._held is None or self._held[0] != group:  # both signs of a neuron lie side by side
            self._held = (group, self._file.read_row_group(group, columns=list(SCHEMA), use_threads=False))
        return Entry(**self._held[1].slice(place - int(self._starts[group]), 1).to_pylist()[0])

    def context(self, document: int) -> Context:
        """The passage of this number.

        Raises:
            NlaeError: nothing refers to it.
        """
        place = self._context_place.get(int(document))
        if place is None:
            raise NlaeError(f"{self.folder}: no passage {document} in its {CONTEXTS}")
        row = self._contexts.slice(place, 1).to_pylist()[0]
        return Context(int(row["document"]), row["source"], row["tokens"])

    def unseen(self, entry: Entry) -> list[Unseen]:
        """The windows of test works that are kept of an entry, strongest first.

        Raises:
            NlaeError: its levels do not fit the passages.
        """
        contexts = [self.context(document) for document in entry.unseen_document]
        tokens = [context.tokens[start:] for context, start in zip(contexts, entry.unseen_start, strict=True)]
        levels, largest, found = list(entry.unseen_level), max(entry.exemplar_value, default=0.0), []
        # windows are equally long but where a passage ends earlier
        fits = (n for n in range(len(levels) + 1) if sum(min(n, len(text)) for text in tokens) == len(levels))
        longest = next(fits, None)
        if longest is None:
            raise NlaeError(f"{self.folder}: levels of {entry.name} do not fit its unseen passages; {_REBUILD}")
        for context, text in zip(contexts, tokens, strict=True):
            text = text[:longest]
            own, levels = levels[: len(text)], levels[len(text) :]
            found.append(Unseen(context.source, text, own, [largest * level / 255 for level in own]))
        return found

    @cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.folder / FILE)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """First row of every row group."""
        data = self._file.metadata
        sizes = [data.row_group(group).num_rows for group in range(data.num_row_groups)]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) if sizes else np.zeros(1, np.int64)

    @cached_property
    def _key(self) -> npt.NDArray[np.int64]:
        return _keys(self.frame().select("layer", "neuron", "sign").collect())

    @cached_property
    def _contexts(self) -> pa.Table:
        return read_table(self.folder / CONTEXTS, _REBUILD)

    @cached_property
    def _context_place(self) -> dict[int, int]:
        return {int(document): place for place, document in enumerate(self._contexts["document"].to_pylist())}

    def _range(self) -> str:
        known = ", ".join(f"{row['layer']} ({row['neurons']} neurons)" for row in self.layers[:8])
        return f"it has layers {known}{', …' if len(self.layers) > 8 else ''}"


def _check_form(facts: Any, layers: Any, columns: Mapping[str, Any]) -> None:
    """Whether a folder, which may come from elsewhere, holds what `write_dictionary` writes.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(facts, dict) or not isinstance(facts.get("version", 0), int):
        raise ValueError(f"{FACTS} holds no facts")
    rows = [row if isinstance(row, dict) else {} for row in (layers if isinstance(layers, list) else [None])]
    if not all(isinstance(row.get(key), int) for row in rows for key in ("layer", "neurons")):
        raise ValueError(f"{LAYERS} holds no summaries of layers")
    if facts.get("version", 0) == VERSION:
        wrong = [name for name, kind in SCHEMA.items() if columns.get(name) != kind]
        if wrong:
            raise ValueError(f"{FILE} lacks or mistypes {', '.join(wrong[:3])}")
