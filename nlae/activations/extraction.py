"""Reading activations: one pass of the truncated trunk over the corpus, into shards.

Which passages share a batch, and which rows share a shard, follows from the corpus and the settings alone. So a run
that was killed redoes only the shards it had not finished and ends with the same files. Only the blocks up to the site
are run, and each passage only up to its last drawn position. The next batch is put together and the last shard written
while the model runs. Several sites are read in the same pass, into one store for each, in a folder of the site's
name.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.activations import ActivationStore, Rows, Shard, ShardList, fit_statistics, write_shard
from nlae.activations.store import CONTEXT_TOKENS, check_shard, store_folders
from nlae.corpus.plan import Plan, make_plan
from nlae.errors import NlaeError
from nlae.target import Site, Sites
from nlae.target.reading import SitesReader
from nlae.terminal.progress import Bar

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.target import Target

Ints = npt.NDArray[np.int64]


class Logs(Protocol):
    """What extraction needs of a run."""

    def log(self, metrics: dict[str, float], update: int | None = None) -> None:
        """Record numbers at a step."""


def check_dtype(dtype: str) -> None:
    """Raises: NlaeError, when directions cannot be stored in it."""
    if dtype not in ("float16", "float32"):
        raise NlaeError(f"store.dtype={dtype}: unknown; choose float16 or float32 (Arrow has no bfloat16)")


def extract(
    target: Target,
    site: Site | Sites,
    corpus: Corpus,
    folder: Path,
    *,
    batch_tokens: int = 4096,
    shard_rows: int = 8192,
    dtype: str = "float16",
    run: Logs | None = None,
) -> dict[str, float]:
    """Write the activations of all rows of `corpus` at `site` to `folder`; finished shards there are kept.

    Args:
        target: the model.
        site: where to read; resolved here if it is not. Several are read in one pass.
        corpus: passages and rows.
        folder: the store, or of several sites the folder of their stores; `shards.json` lists what is finished.
        batch_tokens: budget of one forward pass, padding counted; changes speed, not results.
        shard_rows: rows from which a shard is closed; fewer for several sites, whose shards are in memory together.
        dtype: float16 or float32, for the unit directions.
        run: receives progress, if given.

    Returns:
        Counts, quantiles of the norm, and tokens per second of the forward passes (all of them, also before a resume).

    Raises:
        NlaeError: no row reaches the site's first position, an activation is not finite, or the disk is full.
    """
    sites = site.resolve(target.n_layers).sites
    folder = Path(folder)
    check_dtype(dtype)
    _check_positions(corpus, sites[0])
    plan = make_plan(corpus, min(shard_rows, max(256, 4 * shard_rows // len(sites))))
    reader = SitesReader(target, sites)
    folders = store_folders(folder, [one.name for one in sites])
    stores = [
        _Store(folders[one.name], ShardList(plan.digest, one.name, one.min_position, width, dtype))
        for one, width in zip(sites, reader.widths, strict=True)
    ]
    _read_all(reader, corpus, plan, stores, batch_tokens, run)
    for store in stores:
        fit_statistics(store.folder, store.listing)
    return _metrics(folder, stores[0].listing) if len(stores) == 1 else _all_metrics(stores)


@dataclasses.dataclass
class _Store:
    """One site's store while it is written."""

    folder: Path
    listing: ShardList

    def keep(self, names: set[str]) -> None:
        """Leave only these shards in the list."""
        kept = tuple(shard for shard in self.listing.shards if shard.name in names)
        self.listing = dataclasses.replace(self.listing, shards=kept)

    def enter(self, shard: Shard) -> None:
        """Put a finished shard into the list, on disk too."""
        shards = sorted((*self.listing.shards, shard), key=lambda one: one.name)
        self.listing = dataclasses.replace(self.listing, shards=tuple(shards))
        self.listing.save(self.folder)


def _read_all(
    reader: SitesReader, corpus: Corpus, plan: Plan, stores: list[_Store], batch_tokens: int, run: Logs | None
) -> None:
    """Read and write every shard that is not there yet at all sites."""
    for store in stores:
        store.listing = _resumed(store.folder, store.listing, plan)
    kept = set.intersection(*({shard.name for shard in store.listing.shards} for store in stores))
    for store in stores:
        store.keep(kept)
    pending: Future[list[Shard]] | None = None

    def write(number: int, rows: list[Rows], tokens: int, seconds: float) -> list[Shard]:
        pairs = zip(stores, rows, strict=True)
        return [write_shard(s.folder, _name(number), part, s.listing.dtype, tokens, seconds) for s, part in pairs]

    with Bar("extract", len(plan.shards)) as bar, ThreadPoolExecutor(1) as writer:
        bar.advance(len(kept))
        for number in (n for n in range(len(plan.shards)) if _name(n) not in kept):
            try:
                rows, tokens, seconds = _read_shard(reader, corpus, plan, number, batch_tokens)
            finally:
                # one shard is written while the next one is read; never more, or memory would fill. Also when reading
                # was interrupted: what is whole need not be read again
                _finished(stores, pending)
            pending = writer.submit(write, number, rows, tokens, seconds)
            rate = tokens / max(seconds, 1e-9)
            bar.advance(note=f"{rate:.0f} tokens/s")
            if run is not None:
                run.log({"extract/shard": number + 1, "extract/tokens_per_second": rate}, number + 1)
        _finished(stores, pending)


@dataclasses.dataclass(frozen=True)
class _Batch:
    """One forward pass: padded ids (B, T), the rows wanted of it, and where they stand in it (n, 2)."""

    ids_BT: Tensor
    row: Ints
    places_N2: Tensor
    context_ids: list[Ints]
    tokens: int


def _prepared(reader: SitesReader, corpus: Corpus, plan: Plan, documents: list[int]) -> _Batch:
    ids = [corpus.token_ids(document)[: plan.length[document]] for document in documents]
    # rows are numbered document by document
    bounds = np.searchsorted(corpus.rows.document, [[document, document + 1] for document in documents])
    row = np.concatenate([np.arange(start, stop) for start, stop in bounds])
    index = np.repeat(np.arange(len(documents)), bounds[:, 1] - bounds[:, 0])
    position = corpus.rows.position[row]
    context = [ids[i][max(0, p + 1 - CONTEXT_TOKENS) : p + 1] for i, p in zip(index, position, strict=True)]
    places = torch.from_numpy(np.stack([index, position], axis=1))
    return _Batch(reader.pad(ids), row, places, context, sum(map(len, ids)))


def _ahead(prepare: Callable[[list[int]], _Batch], batches: Iterator[list[int]]) -> Iterator[_Batch]:
    """Batches in order, each put together in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting: Future[_Batch] | None = None
        for batch in batches:
            following = thread.submit(prepare, batch)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _read_shard(
    reader: SitesReader, corpus: Corpus, plan: Plan, number: int, batch_tokens: int
) -> tuple[list[Rows], int, float]:
    """All rows of one shard at each site, with the tokens that were run and the seconds that took."""
    row: list[Ints] = []
    contexts: list[Ints] = []
    read: list[list[tuple[Tensor, Tensor]]] = []
    started, tokens = time.monotonic(), 0
    for batch in _ahead(partial(_prepared, reader, corpus, plan), plan.batches(number, batch_tokens)):
        read.append(reader.read_padded(batch.ids_BT, batch.places_N2))
        row.append(batch.row)
        contexts += batch.context_ids
        tokens += batch.tokens
    seconds = time.monotonic() - started
    row_N = np.concatenate(row)
    document_N = corpus.rows.document[row_N]
    shared: dict[str, Any] = {
        "row": row_N,
        "document": document_N,
        "position": corpus.rows.position[row_N],
        "token_id": corpus.rows.token_id[row_N],
        "source": corpus.sources_of(document_N),
        "split": corpus.rows.split[row_N].tolist(),
        "context_ids": contexts,
    }
    by_site = [
        Rows(
            **shared,
            activation=np.concatenate([activation_ND.numpy() for activation_ND, _ in parts]),
            resid_norm=np.concatenate([norm_N.numpy() for _, norm_N in parts]),
        )
        for parts in zip(*read, strict=True)
    ]
    return by_site, tokens, seconds


def _resumed(folder: Path, wanted: ShardList, plan: Plan) -> ShardList:
    """What of the wanted list is already there and sound; shards of another plan do not count."""
    wanted = dataclasses.replace(wanted, total=len(plan.shards))
    found = ShardList.load(folder)
    if found is None or dataclasses.replace(found, shards=()) != wanted:
        return wanted
    return dataclasses.replace(wanted, shards=tuple(shard for shard in found.shards if _sound(folder, shard)))


def _sound(folder: Path, shard: Shard) -> bool:
    try:
        check_shard(folder, shard, verify=True)
    except NlaeError:
        return False
    return True


def _finished(stores: list[_Store], pending: Future[list[Shard]] | None) -> None:
    """Wait for the shards that are being written, if any, and enter them."""
    if pending is not None:
        for store, shard in zip(stores, pending.result(), strict=True):
            store.enter(shard)


def _name(number: int) -> str:
    return f"shard-{number:05d}.arrow"


def _check_positions(corpus: Corpus, site: Site) -> None:
    rows = corpus.rows
    train = rows.position[rows.split == "train"]
    if not len(train) or train.max() < site.min_position:
        longest = int(train.max()) if len(train) else 0
        raise NlaeError(
            f"no training row reaches site.min_position={site.min_position} (the latest position drawn is {longest}): "
            "the documents are too short; give longer ones, raise corpus.positions_per_document or lower "
            "site.min_position"
        )


def _metrics(folder: Path, listing: ShardList) -> dict[str, float]:
    store = ActivationStore.open(folder, verify=False)
    norm, position = store.column("norm"), store.column("position")
    late = norm[position >= store.min_position]
    tokens = sum(shard.tokens for shard in listing.shards)
    seconds = sum(shard.seconds for shard in listing.shards)
    metrics = {f"norm_p{int(100 * q):02d}": float(np.quantile(late, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return metrics | {
        "norm_max": float(norm.max()),
        "alpha": store.statistics.alpha,
        "variance": store.statistics.variance,
        "rows": len(store),
        "rows_early": int((position < store.min_position).sum()),
        "shards": len(listing.shards),
        "width": store.width,
        "bytes": sum(shard.bytes for shard in listing.shards),
        "tokens": tokens,
        "extraction_rate": tokens / max(seconds, 1e-9),
    }


def _all_metrics(stores: list[_Store]) -> dict[str, float]:
    """Counts of all stores together, and what differs from site to site under its name."""
    by_site = {store.listing.site: _metrics(store.folder, store.listing) for store in stores}
    first = next(iter(by_site.values()))
    found = {key: first[key] for key in ("rows", "rows_early", "shards", "tokens", "extraction_rate")}
    found |= {key: sum(metrics[key] for metrics in by_site.values()) for key in ("width", "bytes")}
    found["sites"] = len(by_site)
    each = ("norm_p50", "alpha", "variance")
    return found | {f"{key}/{site}": metrics[key] for site, metrics in by_site.items() for key in each}
