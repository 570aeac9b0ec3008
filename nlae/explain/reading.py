"""The result of `explain`: one row for each token and sample, and the forms it is handed on in.

A row is plain values, so a `Reading` outlives the model that made it. The page is built by `nlae.explain.html`;
the terminal table by `nlae.explain.table`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlae.explain.tokens import Passage
from nlae.files.arrow import replacing
from nlae.model.prompt import CLOSE_TAG
from nlae.page import framed, write


@dataclass(frozen=True)
class ReadingRow:
    """One explanation of one activation.

    Attributes:
        passage: number of the passage.
        index: token index in it, or number of the probe.
        token: the token's piece of the text, or the probe's label.
        token_id: its id; −1 for a probe.
        role: who wrote it; "" for plain text.
        generated: whether the model wrote it itself, during this reading.
        sample: number of the sample, from 0.
        explanation: the words.
        fve: 1 − ‖ĥ−ĥ'‖² / mean training ‖ĥ−μ‖²; None where the checkpoint holds no statistics.
        shuffled: the same measure (FVE, cosine where there is none) with the words of the other activations read, on
            average; None when only one was read.
        rank: place of the true activation among itself and the distractors, 1 is first; None without distractors.
        cosine: between activation and reconstruction; not comparable across models or sites; None where an empty
            explanation rebuilds nothing.
        alignment: for a direction, the cosine between it and what the words add to the mean.
        norm: of the raw activation.
        closed: whether the explanation ended by itself.
        n_tokens: its length as generated.
        mark: why this position is unlike those trained on; "" when it is not.
    """

    passage: int
    index: int
    token: str
    token_id: int
    role: str
    generated: bool
    sample: int
    explanation: str
    fve: float | None
    shuffled: float | None
    rank: float | None
    cosine: float | None
    alignment: float | None
    norm: float
    closed: bool
    n_tokens: int
    mark: str

    @property
    def shown(self) -> str:
        """The explanation for people: without the start of a closing tag that the length limit cut through."""
        return self.explanation if self.closed else _without_tag(self.explanation)


@dataclass(frozen=True)
class Reading:
    """Everything that was read, in order of passage, token and sample.

    Attributes:
        rows: the explanations.
        passages: the inputs as tokens.
        about: where the reading comes from, for people: target, site, seed, ….
        notes: what a reader must know, e.g. that a text was cut.
        others: number of distractors that ranks were taken among.
        table_rows: rows that the table in the terminal shows; None for all.
    """

    rows: tuple[ReadingRow, ...]
    passages: tuple[Passage, ...]
    about: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    others: int = 0
    table_rows: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ReadingRow]:
        return iter(self.rows)

    def __repr__(self) -> str:
        mean = "–" if self.mean_fve is None else f"{self.mean_fve:.3f}"
        return f"Reading({len(self.rows)} explanations of {len(self.passages)} passages, mean FVE {mean})"

    def _repr_html_(self) -> str:
        return framed(self.to_html(), title="Reading")

    @property
    def mean_fve(self) -> float | None:
        """Mean of the rows' FVE with marked positions left out; None when no row has one, or rows are unlike."""
        return self._mean("fve")

    @property
    def mean_shuffled(self) -> float | None:
        """Mean of the shuffled control over the same rows."""
        return self._mean("shuffled")

    @property
    def mean_cosine(self) -> float | None:
        """Mean cosine over the same rows."""
        return self._mean("cosine")

    @property
    def scored(self) -> bool:
        """Whether rows have an FVE; else cosine is shown."""
        return self.has("fve")

    @property
    def noun(self) -> str:
        """What a row is about."""
        return "activation" if self.passages and all(p.kind == "vector" for p in self.passages) else "token"

    def has(self, name: str) -> bool:
        """Whether any row says something in this field."""
        return any(getattr(row, name) not in (None, "") for row in self.rows)

    def _mean(self, name: str) -> float | None:
        # both signs of a direction, random ones and the mean are a comparison: a mean over them says nothing
        if self.has("alignment"):
            return None
        found = [getattr(row, name) for row in self.rows if not row.mark]
        known = [value for value in found if value is not None and math.isfinite(value)]
        return sum(known) / len(known) if known else None

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as plain dictionaries."""
        return [dataclasses.asdict(row) for row in self.rows]

    def to_json(self, path: Path | str | None = None) -> str:
        """The whole reading as JSON, written to `path` when one is given; numbers that are not finite become null."""
        whole = {
            "about": dict(self.about),
            "notes": list(self.notes),
            "others": self.others,
            "passages": [dataclasses.asdict(passage) for passage in self.passages],
            "rows": [{key: _plain(value) for key, value in row.items()} for row in self.to_dicts()],
        }
        text = json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        if path is not None:
            write(Path(path), text)
        return text

    def to_parquet(self, path: Path | str) -> Path:
        """The rows as one Parquet file, without the passages."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        with replacing(path) as part:
            pq.write_table(pa.Table.from_pylist(self.to_dicts(), schema=_schema()), part)
        return path

    def to_html(self, path: Path | str | None = None, *, title: str | None = None) -> str:
        """One self-contained page, written to `path` when one is given."""
        from nlae.explain.html import page

        text = page(self, title)
        if path is not None:
            write(Path(path), text)
        return text

    def save(self, folder: Path | str) -> dict[str, Path]:
        """Write `reading.parquet`, `reading.json` and `reading.html` into `folder`; returns their paths by suffix."""
        paths = {suffix: Path(folder) / f"reading.{suffix}" for suffix in ("parquet", "json", "html")}
        self.to_parquet(paths["parquet"])
        self.to_json(paths["json"])
        self.to_html(paths["html"])
        return paths


def _without_tag(text: str) -> str:
    for n in range(len(CLOSE_TAG) - 1, 1, -1):
        if text.endswith(CLOSE_TAG[:n]):
            return text[:-n].rstrip()
    return text


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"int": pa.int64(), "str": pa.string(), "bool": pa.bool_(), "float": pa.float64()}
    return pa.schema(
        [(f.name, kinds[str(f.type).removesuffix(" | None")]) for f in dataclasses.fields(ReadingRow)]
    )  # fmt: skip
