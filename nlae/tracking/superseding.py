"""Which W&B runs a stage's folder has had, and the tag `superseded` on those that a resumed stage replaces.

An offline run that was killed lies on disk until somebody syncs it, so its tag is written into its own file. What
cannot be done offline: a run that was synced already keeps its tags on the server; sync it again to bring the tag
there.
"""

import json
import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nlae.files.foreign import parse_json

__all__ = ["TAG", "remember", "remembered", "supersede"]

logger = logging.getLogger(__name__)
TAG = "superseded"
MEMORY = ".wandb-runs.jsonl"  # hidden: no output of the stage
# W&B's file: a header, then LevelDB's log of protobuf records in blocks
_HEADER, _BLOCK = 7, 32768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def remember(folder: Path, run: dict[str, Any]) -> None:
    """Note that a W&B run was opened for the stage of `folder`."""
    with (folder / MEMORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")


def remembered(folder: Path | None) -> list[dict[str, Any]]:
    """The runs that earlier executions opened, oldest first; a last line that a kill cut short is left out."""
    if folder is None or not (folder / MEMORY).exists():
        return []
    found = []
    for line in (folder / MEMORY).read_text(encoding="utf-8").splitlines():
        try:
            found.append(parse_json(line))
        except json.JSONDecodeError:
            break
    return found


def supersede(run: dict[str, Any]) -> None:
    """Tag a run that was remembered; where that cannot be done, say so and go on: a tag is worth no stage."""
    import wandb

    try:
        if run["mode"] == "online":
            held: Any = wandb.Api().run(run["path"])
            if TAG not in held.tags:
                held.tags = [*held.tags, TAG]
                held.update()
            return
        for path in Path(run["directory"]).glob("*.wandb"):
            if path.stat().st_size > _HEADER:  # else W&B had written nothing out, and there is no run to sync
                tag_file(path)
    except (wandb.Error, OSError, ValueError) as error:
        logger.warning("W&B run %s could not be tagged %s: %s", run["id"], TAG, " ".join(str(error).split()))


def tag_file(path: Path) -> None:
    """Add the tag to the run that an offline file holds; the file is replaced whole or not at all.

    Raises:
        ValueError: it is no file of W&B's, or holds no run.
    """
    import wandb.proto.wandb_internal_pb2 as generated

    proto: Any = generated
    given = path.read_bytes()
    if given[:4] != b":W&B":
        raise ValueError(f"{path} is no W&B run")
    written, found = bytearray(given[:_HEADER]), False
    for data in _records(given):
        record = proto.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            found = True
            if TAG not in record.run.tags:
                record.run.tags.append(TAG)
                data = record.SerializeToString()
        _append(written, data)
    if not found:
        raise ValueError(f"{path} holds no run")
    new = path.with_name(path.name + ".new")
    new.write_bytes(written)
    new.replace(path)


def _records(given: bytes) -> Iterator[bytes]:
    """Whole records, up to the one that a kill cut short."""
    place, parts = _HEADER, b""
    while place + 7 <= len(given):
        if (left := _BLOCK - place % _BLOCK) < 7:
            place += left
            continue
        checksum, length, kind = struct.unpack("<IHB", given[place : place + 7])
        data = given[place + 7 : place + 7 + length]
        if len(data) < length or checksum != _checksum(kind, data):
            return
        place += 7 + length
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            yield parts


def _append(written: bytearray, data: bytes) -> None:
    first = True
    while True:
        left = _BLOCK - len(written) % _BLOCK
        if left < 7:
            written += bytes(left)
            left = _BLOCK
        part, data = data[: left - 7], data[left - 7 :]
        kind = (_FIRST if data else _FULL) if first else (_MIDDLE if data else _LAST)
        written += struct.pack("<IHB", _checksum(kind, part), len(part), kind) + part
        first = False
        if not data:
            return


def _checksum(kind: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(bytes([kind])))
