"""The scan: one pass of all blocks over the corpus, from which every neuron gets its exemplars, moments and panels.

What is read and in which order follows from corpus, settings and seed alone. Left out on purpose: the output head,
which no neuron's input needs, and the training passages' early positions, whose massive activations would be every
neuron's exemplars.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.exemplars import Streams
from nlae.dictionary.scan.folder import FACTS, ROLES, Scan
from nlae.dictionary.scan.panels import draw_panels
from nlae.dictionary.scan.parts import RESUME, finish, read_state, shrunk, write_part, write_state
from nlae.dictionary.scan.reading import forward, make_reading, token_ids, watching
from nlae.dictionary.scan.scanner import Logs, Scanner
from nlae.dictionary.scan.windows import Window, calibration_windows, digest, make_windows
from nlae.errors import NlaeError
from nlae.files.arrow import write_table, write_text
from nlae.files.foreign import parse_json
from nlae.target import Site, Target
from nlae.target.trunk import site_width
from nlae.terminal.progress import Bar

VERSION = 2


def scan(
    scanner: Scanner, target: Target, corpus: Corpus, folder: Path, seed: int = 0, run: Logs | None = None
) -> dict[str, float]:
    """See `Scanner.scan`."""
    panels = draw_panels(corpus, scanner, seed)
    windows = make_windows(corpus, panels, scanner)
    facts = _facts(target, scanner, seed, digest(windows, panels))
    if _finished(folder, facts):
        shutil.rmtree(folder / RESUME, ignore_errors=True)
        return _metrics(Scan.open(folder))
    (folder / FACTS).unlink(missing_ok=True)
    streams = Streams(target.n_layers, facts["width"], scanner.top, target.device)
    # a state stands between two windows, so it is of one size of windows
    identity = f"{facts['digest']} {scanner.window_tokens}"
    _read_all(Reader(target, corpus, scanner, streams), folder, windows, identity, scanner.checkpoint_every, run)
    for role, rows in panels.items():
        write_table(folder / f"panel-{role}.arrow", rows.table(corpus))
    finish(folder, windows, {role: len(rows) for role, rows in panels.items()}, streams)
    facts |= {"n_tokens": streams.n, "panels": {role: len(rows) for role, rows in panels.items()}}
    write_text(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(folder / RESUME, ignore_errors=True)
    return _metrics(Scan.open(folder))


class Reader:
    """Reads windows into streams and parts.

    Args:
        target: the model.
        corpus: where the tokens are.
        scanner: what is kept.
        streams: what the training windows are added to.
    """

    def __init__(self, target: Target, corpus: Corpus, scanner: Scanner, streams: Streams) -> None:
        self._target, self._corpus, self._scanner, self._streams = target, corpus, scanner, streams

    def calibrate(self) -> None:
        """Set each layer's threshold: the root mean square of its neurons over some training passages."""
        first, device = self._scanner.min_position, self._target.device
        square_L = torch.zeros(self._target.n_layers, dtype=torch.float64, device=device)
        count = 0
        for window in calibration_windows(self._corpus, self._scanner):
            reading = make_reading(window, first, device)
            count += reading.tokens

            def seen(layer: int, _kind: str, values_BTN: Tensor, padding_BT: Tensor = reading.padding_BT) -> None:
                square_BTN = values_BTN[:, first:].to(device).float().pow(2)
                square_BT = square_BTN.mean(-1, dtype=torch.float64)
                square_L[layer] += square_BT.masked_fill(padding_BT, 0.0).sum()

            with watching(self._target, ("mlp_neurons",), seen):
                forward(self._target, token_ids(self._corpus, window, self._target.pad_id))
        self._streams.tensors["threshold"].copy_((square_L / count).sqrt())

    def read(self, number: int, window: Window) -> list[tuple[Tensor, Tensor]]:
        """Read one window, the `number`-th; returns its panel rows, layer by layer, as `write_part` takes them."""
        device = self._target.device
        ids_BT = token_ids(self._corpus, window, self._target.pad_id)
        reading = make_reading(window, self._scanner.min_position, device) if window.role == "train" else None
        panel_m = torch.from_numpy(window.places[:, 0] * ids_BT.shape[1] + window.places[:, 1]).to(device)
        kept: list[tuple[Tensor, Tensor]] = []

        def seen(layer: int, kind: str, values_BTW: Tensor) -> None:
            values_BTW = values_BTW.to(device)  # a target may be spread over several
            if kind == "mlp_in":
                kept.append(shrunk(values_BTW.flatten(0, -2).index_select(0, panel_m)))
            elif reading is not None:
                self._streams.update(layer, values_BTW, reading)

        wanted = {"mlp_in": len(panel_m) > 0, "mlp_neurons": reading is not None}
        with watching(self._target, [kind for kind, is_wanted in wanted.items() if is_wanted], seen):
            forward(self._target, ids_BT)
        if reading is not None:
            self._streams.n += reading.tokens
        return kept

    @property
    def streams(self) -> Streams:
        """What has been accumulated."""
        return self._streams


@torch.no_grad()
def _read_all(
    reader: Reader, folder: Path, windows: Sequence[Window], digest: str, every: int, run: Logs | None
) -> None:
    streams = reader.streams
    done = read_state(folder, digest, windows, streams)
    pending: Future[None] | None = None
    with Bar("scan", len(windows)) as bar, ThreadPoolExecutor(1) as writer:
        bar.advance(done)
        if not done:
            reader.calibrate()
        for number in range(done, len(windows)):
            kept = reader.read(number, windows[number])
            # a single writer, never more than one window behind: a state follows the parts that it counts on
            if pending is not None:
                pending.result()
            if len(windows[number].rows):
                pending = writer.submit(write_part, folder, number, kept)
            if (number + 1) % every == 0 or number + 1 == len(windows):
                state = {name: tensor.to("cpu", copy=True) for name, tensor in streams.tensors.items()}
                facts = {"digest": digest, "done": number + 1, "n": streams.n}
                if pending is not None:
                    pending.result()
                pending = writer.submit(write_state, folder, state, facts)
                if run is not None:
                    run.log({"scan/window": number + 1, "scan/tokens": streams.n}, number + 1)
            bar.advance(note=f"{streams.n} training tokens")
        if pending is not None:
            pending.result()


def _facts(target: Target, scanner: Scanner, seed: int, read: str) -> dict[str, Any]:
    """All that identifies a scan; `digest` sums it up."""
    widths = {site_width(target.model, Site("mlp_neurons", layer)) for layer in range(target.n_layers)}
    if len(widths) != 1:
        raise NlaeError(
            f"target {target.source_name}: its MLPs have several widths ({', '.join(map(str, sorted(widths)))}), which "
            "the dictionary has no place for; choose another target"
        )
    facts: dict[str, Any] = {
        "version": VERSION,
        "target": target.source_name,
        "target_fingerprint": target.fingerprint,
        "dtype": str(target.dtype).removeprefix("torch."),
        "layers": list(range(target.n_layers)),
        "width": widths.pop(),
        "d_model": target.d_model,
        "top": scanner.top,
        "min_position": scanner.min_position,
        "seed": seed,
    }
    text = json.dumps([facts, read], sort_keys=True)
    return facts | {"digest": hashlib.sha256(text.encode()).hexdigest()[:32]}


def _finished(folder: Path, facts: dict[str, Any]) -> bool:
    try:
        found = parse_json((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found.get("digest") == facts["digest"])


def _metrics(finished: Scan) -> dict[str, float]:
    metrics: dict[str, float] = {
        "tokens": finished.n_tokens,
        "layers": len(finished.layers),
        "width": finished.width,
        "neurons": len(finished.layers) * finished.width,
        "bytes": sum(path.stat().st_size for path in finished.folder.iterdir() if path.is_file()),
    }
    return metrics | {f"panel_{role}": int(finished.facts["panels"][role]) for role in ROLES}
