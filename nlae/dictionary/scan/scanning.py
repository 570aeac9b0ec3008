"""The scan: one pass of all blocks over the corpus, from which every neuron gets its exemplars, moments and panels.

What is read and in which order follows from corpus, settings and seed alone. Left out on purpose: the output head,
which no neuron's input needs, an attention mask, since padding stands on the right, where a causal model's real tokens
never see it, and the training passages' early positions, whose massive activations would be every neuron's exemplars.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlae.corpus import Corpus
from nlae.dictionary.scan.exemplars import Streams
from nlae.dictionary.scan.folder import FACTS, ROLES, Scan
from nlae.dictionary.scan.parts import RESUME, finish, read_state, shrunk, write_part, write_state
from nlae.dictionary.scan.plan import Window, calibration_windows, digest, draw_panels, make_windows
from nlae.dictionary.scan.scanner import Scanner
from nlae.errors import NlaeError
from nlae.files.arrow import write_table, write_text
from nlae.files.foreign import read_json
from nlae.target import Site, Target
from nlae.target.trunk import site_width
from nlae.terminal.progress import Bar
from nlae.tracking import Run

VERSION = 2
Seen = Callable[[int, str, Tensor], None]


def scan(
    scanner: Scanner, target: Target, corpus: Corpus, folder: Path, seed: int = 0, run: Run | None = None
) -> dict[str, float]:
    """See `Scanner.scan`."""
    panels = draw_panels(corpus, scanner, seed)
    windows = make_windows(corpus, panels, scanner)
    facts = _facts(target, scanner, seed, digest(windows, panels))
    if not _finished(folder, facts):
        (folder / FACTS).unlink(missing_ok=True)
        reader = Reader(target, corpus, scanner, facts["width"])
        # a state stands between two windows, so it is of one size of windows
        identity = f"{facts['digest']} {scanner.window_tokens}"
        _read_all(reader, folder, windows, identity, scanner.checkpoint_every, run)
        for role, panel in panels.items():
            write_table(folder / f"panel-{role}.arrow", panel.table())
        finish(folder, windows, reader.streams)
        facts |= {"n_tokens": reader.streams.n, "panels": {role: len(panel) for role, panel in panels.items()}}
        write_text(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(folder / RESUME, ignore_errors=True)
    return _metrics(Scan.open(folder))


class Reader:
    """Reads windows into parts, those of the training split also into `streams`; `width` is that of a layer."""

    def __init__(self, target: Target, corpus: Corpus, scanner: Scanner, width: int) -> None:
        self._target, self._corpus, self._scanner = target, corpus, scanner
        self.streams = Streams(target.n_layers, width, scanner.top, target.device)

    def calibrate(self) -> None:
        """Set each layer's threshold: the root mean square of its neurons over some training passages."""
        first, device = self._scanner.min_position, self._target.device
        square_L = torch.zeros(self._target.n_layers, dtype=torch.float64, device=device)
        count = 0
        for window in calibration_windows(self._corpus, self._scanner):
            padding_BT = window.padding(first).to(device)
            count += int((~padding_BT).sum())

            def seen(layer: int, _kind: str, values_BTN: Tensor, padding_BT: Tensor = padding_BT) -> None:
                square_BTN = values_BTN[:, first:].to(device).float().pow(2)
                square_BT = square_BTN.mean(-1, dtype=torch.float64)
                square_L[layer] += square_BT.masked_fill(padding_BT, 0.0).sum()

            run_blocks(self._target, window.token_ids(self._corpus, self._target.pad_id), ["mlp_neurons"], seen)
        self.streams.tensors["threshold"].copy_((square_L / count).sqrt())

    def read(self, window: Window) -> list[tuple[Tensor, Tensor]]:
        """Read one window; returns its panel rows, layer by layer, as `write_part` takes them."""
        device, trains = self._target.device, window.role == "train"
        ids_BT = window.token_ids(self._corpus, self._target.pad_id)
        padding_BT = window.padding(self._scanner.min_position).to(device)
        document_B = torch.tensor(window.documents, dtype=torch.int32).to(device)
        panel_m = torch.from_numpy(window.places[:, 0] * ids_BT.shape[1] + window.places[:, 1]).to(device)
        kept: list[tuple[Tensor, Tensor]] = []

        def seen(layer: int, kind: str, values_BTW: Tensor) -> None:
            values_BTW = values_BTW.to(device)  # a target may be spread over several
            if kind == "mlp_in":
                kept.append(shrunk(values_BTW.flatten(0, -2).index_select(0, panel_m)))
            else:
                self.streams.update(layer, values_BTW, padding_BT, document_B)

        wanted = {"mlp_in": len(panel_m) > 0, "mlp_neurons": trains}
        run_blocks(self._target, ids_BT, [kind for kind, is_wanted in wanted.items() if is_wanted], seen)
        self.streams.n += int((~padding_BT).sum()) if trains else 0
        return kept


@torch.no_grad()
def run_blocks(target: Target, ids_BT: Tensor, kinds: Sequence[str], seen: Seen) -> None:
    """Run all blocks without the output head on tokens that are padded on the right.

    In each of them `seen(layer, kind, values_BTW)` is called for `kinds`: `mlp_in`, `mlp_neurons`, both or none.
    """
    handles = []
    for layer in range(target.n_layers):
        for kind in kinds:
            module, side = target.architecture.hooked(target.model, kind, layer)
            assert side == "input"

            def hook(module: Any, args: Any, layer: int = layer, kind: str = kind) -> None:
                seen(layer, kind, args[0])

            handles.append(module.register_forward_pre_hook(hook))
    try:
        target.architecture.decoder(target.model)(input_ids=ids_BT.to(target.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _read_all(
    reader: Reader, folder: Path, windows: Sequence[Window], identity: str, every: int, run: Run | None
) -> None:
    """Read all windows from the last state on; a single writer is never more than one file behind the reader."""
    streams = reader.streams
    done = read_state(folder, identity, windows, streams)
    pending: Future[None] | None = None
    with Bar("scan", len(windows)) as bar, ThreadPoolExecutor(1) as writer:

        def write(how: Callable[..., None], *what: object) -> None:
            nonlocal pending
            if pending is not None:  # a state follows the parts that it counts on
                pending.result()
            pending = writer.submit(how, folder, *what)

        bar.advance(done)
        if not done:
            reader.calibrate()
        for number, window in enumerate(windows[done:], done):
            kept = reader.read(window)
            if len(window.rows):
                write(write_part, number, kept)
            if (number + 1) % every == 0 or number + 1 == len(windows):
                state = {name: tensor.to("cpu", copy=True) for name, tensor in streams.tensors.items()}
                write(write_state, state, {"digest": identity, "done": number + 1, "n": streams.n})
                if run is not None:
                    run.log({"scan/window": number + 1, "scan/tokens": streams.n}, number + 1)
            bar.advance(note=f"{streams.n} training tokens")
        if pending is not None:
            pending.result()


def _facts(target: Target, scanner: Scanner, seed: int, read: str) -> dict[str, Any]:
    """All that identifies a scan; `digest` sums it up."""
    widths = sorted({site_width(target.model, Site("mlp_neurons", layer)) for layer in range(target.n_layers)})
    if len(widths) != 1:
        raise NlaeError(
            f"target {target.source_name}: its MLPs have several widths ({', '.join(map(str, widths))}), which the "
            "dictionary has no place for; choose another target"
        )
    facts: dict[str, Any] = {
        "version": VERSION,
        "target": target.source_name,
        "target_fingerprint": target.fingerprint,
        "dtype": str(target.dtype).removeprefix("torch."),
        "layers": list(range(target.n_layers)),
        "width": widths[0],
        "d_model": target.d_model,
        "top": scanner.top,
        "min_position": scanner.min_position,
        "seed": seed,
    }
    text = json.dumps([facts, read], sort_keys=True)
    return facts | {"digest": hashlib.sha256(text.encode()).hexdigest()[:32]}


def _finished(folder: Path, facts: dict[str, Any]) -> bool:
    try:
        return bool(read_json(folder / FACTS)["digest"] == facts["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _metrics(finished: Scan) -> dict[str, float]:
    metrics: dict[str, float] = {
        "tokens": finished.n_tokens,
        "layers": len(finished.layers),
        "width": finished.width,
        "neurons": len(finished.layers) * finished.width,
        "bytes": sum(path.stat().st_size for path in finished.folder.iterdir() if path.is_file()),
    }
    return metrics | {f"panel_{role}": int(finished.facts["panels"][role]) for role in ROLES}
