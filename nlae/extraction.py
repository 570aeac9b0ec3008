"""Reading activations: one pass of the truncated trunk over the corpus, into shards.

Which passages share a batch, and which rows share a shard, follows from the corpus and the settings alone. So a run
that was killed redoes only the shards it had not finished and ends with the same files. Only the blocks up to the site
are run, and each passage only up to its last drawn position.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlae.errors import NlaeError
from nlae.progress import Bar
from nlae.store import ActivationStore, Rows, Shard, ShardList, fit_statistics, write_shard
from nlae.store.activations import CONTEXT_TOKENS, check_shard
from nlae.target import Site, Trunk, capture

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.target import Target

Ints = npt.NDArray[np.int64]


class Logs(Protocol):
    """What extraction needs of a run."""

    def log(self, metrics: dict[str, float], update: int | None = None) -> None:
        """Record numbers at a step."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which passages each shard holds, longest first: padding is small, and memory runs out at once or never.

    Attributes:
        shards: document numbers per shard.
        length: int64[documents], tokens to run of each document; 0 for those without rows.
        digest: identifies rows, order and shards.
    """

    shards: tuple[tuple[int, ...], ...]
    length: Ints
    digest: str

    def batches(self, shard: int, batch_tokens: int) -> Iterator[list[int]]:
        """Documents of one shard in batches of at most `batch_tokens` tokens, padding counted; one always fits."""
        batch: list[int] = []
        for document in self.shards[shard]:
            if batch and (len(batch) + 1) * int(self.length[batch[0]]) > batch_tokens:
                yield batch
                batch = []
            batch.append(document)
        if batch:
            yield batch


def make_plan(corpus: Corpus, shard_rows: int) -> Plan:
    """Order passages by length, descending, and close a shard once it has `shard_rows` rows."""
    length = np.zeros(len(corpus), dtype=np.int64)
    np.maximum.at(length, corpus.rows.document, corpus.rows.position + 1)
    rows_of = np.bincount(corpus.rows.document, minlength=len(corpus))
    shards: list[tuple[int, ...]] = []
    current: list[int] = []
    count = 0
    for document in np.lexsort((np.arange(len(corpus)), -length)):
        if not length[document]:
            continue
        current.append(int(document))
        count += int(rows_of[document])
        if count >= shard_rows:
            shards.append(tuple(current))
            current, count = [], 0
    if current:
        shards.append(tuple(current))
    digest = hashlib.sha256(repr(shards).encode())
    digest.update(corpus.rows.document.tobytes() + corpus.rows.position.tobytes() + corpus.rows.token_id.tobytes())
    return Plan(tuple(shards), length, digest.hexdigest()[:32])


def extract(
    target: Target,
    site: Site,
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
        site: where to read; resolved here if it is not.
        corpus: passages and rows.
        folder: the store; `shards.json` lists what is finished.
        batch_tokens: budget of one forward pass, padding counted; changes speed, not results.
        shard_rows: rows from which a shard is closed.
        dtype: float16 or float32, for the unit directions.
        run: receives progress, if given.

    Returns:
        Counts, quantiles of the norm, and tokens per second of the forward passes (all of them, also before a resume).

    Raises:
        NlaeError: no row reaches the site's first position, an activation is not finite, or the disk is full.
    """
    site = site.resolve(target.n_layers)
    folder = Path(folder)
    if dtype not in ("float16", "float32"):
        raise NlaeError(f"store.dtype={dtype}: unknown; choose float16 or float32 (Arrow has no bfloat16)")
    _check_positions(corpus, site)
    plan = make_plan(corpus, shard_rows)
    reader = Reader(target, site)
    listing = _resumed(folder, ShardList(plan.digest, site.name, site.min_position, reader.width, dtype), plan)
    by_document = _rows_by_document(corpus)
    pending: Future[Shard] | None = None
    with Bar("extract", len(plan.shards)) as bar, ThreadPoolExecutor(1) as writer:
        bar.advance(len(listing.shards))
        kept = {shard.name for shard in listing.shards}
        for number in (n for n in range(len(plan.shards)) if _name(n) not in kept):
            rows, tokens, seconds = _read_shard(reader, corpus, plan, number, by_document, batch_tokens)
            # one shard is written while the next one is read; never more, or memory would fill
            listing = _finished(folder, listing, pending)
            pending = writer.submit(write_shard, folder, _name(number), rows, dtype, tokens, seconds)
            rate = tokens / max(seconds, 1e-9)
            bar.advance(note=f"{rate:.0f} tokens/s")
            if run is not None:
                run.log({"extract/shard": number + 1, "extract/tokens_per_second": rate}, number + 1)
        listing = _finished(folder, listing, pending)
    fit_statistics(folder, listing)
    return _metrics(folder, listing)


class Reader:
    """The trunk, with the residual norm of its last block beside the site's own vectors.

    Attributes:
        width: numbers per activation.
    """

    def __init__(self, target: Target, site: Site) -> None:
        self._target, self._site = target, site
        self._trunk = Trunk(target.model, site)
        self.width = self._trunk.width

    @torch.no_grad()
    def read(self, ids: Sequence[Sequence[int]], places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Activations and residual norms at (index of the text, position), float32 on the CPU: [n, width] and [n]."""
        longest = max(len(text) for text in ids)
        ids_BT = torch.full((len(ids), longest), self._target.pad_id, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for index, text in enumerate(ids):
            ids_BT[index, : len(text)] = torch.tensor(text)
            mask_BT[index, : len(text)] = 1
        device = self._target.device
        hidden_BTD, residual_BTD = self._forward(ids_BT.to(device), mask_BT.to(device))
        chosen_N2 = torch.tensor(places, device=device)
        picked_ND = hidden_BTD[chosen_N2[:, 0], chosen_N2[:, 1]].float()
        residual_ND = residual_BTD[chosen_N2[:, 0], chosen_N2[:, 1]].float()
        return picked_ND.cpu(), residual_ND.norm(dim=-1).cpu()

    def _forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        if self._site.kind == "resid":
            hidden_BTD = self._trunk(input_ids=ids_BT, attention_mask=mask_BT)
            return hidden_BTD, hidden_BTD
        block = dataclasses.replace(self._site, kind="resid")
        with capture(self._trunk.decoder, block) as seen:
            hidden_BTD = self._trunk(input_ids=ids_BT, attention_mask=mask_BT)
        return hidden_BTD, seen.values[0]


def _read_shard(
    reader: Reader, corpus: Corpus, plan: Plan, number: int, by_document: dict[int, Ints], batch_tokens: int
) -> tuple[Rows, int, float]:
    """All rows of one shard, with the tokens that were run and the seconds that took."""
    columns: dict[str, list[Any]] = {"row": [], "context_ids": [], "activation": [], "resid_norm": []}
    started, tokens = time.monotonic(), 0
    for documents in plan.batches(number, batch_tokens):
        ids = [corpus.input_ids(document)[: plan.length[document]] for document in documents]
        rows = np.concatenate([by_document[document] for document in documents])
        index_of = {document: index for index, document in enumerate(documents)}
        places = [(index_of[int(corpus.rows.document[row])], int(corpus.rows.position[row])) for row in rows]
        activation_ND, resid_norm_N = reader.read(ids, places)
        columns["row"].append(rows)
        columns["activation"].append(activation_ND.numpy())
        columns["resid_norm"].append(resid_norm_N.numpy())
        columns["context_ids"] += [ids[i][max(0, p + 1 - CONTEXT_TOKENS) : p + 1] for i, p in places]
        tokens += sum(len(text) for text in ids)
    seconds = time.monotonic() - started
    row = np.concatenate(columns["row"])
    rows_out = Rows(
        row=row,
        document=corpus.rows.document[row],
        position=corpus.rows.position[row],
        token_id=corpus.rows.token_id[row],
        source=[corpus.row_source(int(number)) for number in row],
        split=[str(split) for split in corpus.rows.split[row]],
        context_ids=columns["context_ids"],
        activation=np.concatenate(columns["activation"]),
        resid_norm=np.concatenate(columns["resid_norm"]),
    )
    return rows_out, tokens, seconds


def _rows_by_document(corpus: Corpus) -> dict[int, Ints]:
    documents, starts = np.unique(corpus.rows.document, return_index=True)
    pieces = np.split(corpus.rows.row, starts[1:])
    return {int(document): piece for document, piece in zip(documents, pieces, strict=True)}


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


def _finished(folder: Path, listing: ShardList, pending: Future[Shard] | None) -> ShardList:
    """Wait for the shard that is being written, if any, and enter it."""
    if pending is None:
        return listing
    shards = sorted((*listing.shards, pending.result()), key=lambda shard: shard.name)
    listing = dataclasses.replace(listing, shards=tuple(shards))
    listing.save(folder)
    return listing


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
