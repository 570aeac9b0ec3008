"""Does `torch.compile` win here? `python -m experiments.benchmarks.compiled`: blocks of the target, eager and compiled.

Both sides multiply by oneDNN as nlae does; for the compiler the product is an operator that it cannot look into, so
what it can gain is everything else (norms, rotations, activations, residuals) at one fixed shape. Prints seconds to
compile, and the median ratio of times, interleaved. Shapes that change, as ours do, would be compiled again.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, library

from experiments.benchmarks.environments import BENCH
from experiments.benchmarks.job import Job, Sizes
from experiments.benchmarks.prepare import prepare
from experiments.benchmarks.works import subject
from nlae.functional.linear import product

console = Console()
ROWS, LENGTH, BLOCKS = 8, 64, 12


@library.custom_op("nlae_bench::product", mutates_args=())
def opaque(x_BI: Tensor, weight_OI: Tensor) -> Tensor:
    """X Wᵀ by oneDNN."""
    return product(x_BI, weight_OI)


@opaque.register_fake
def _(x_BI: Tensor, weight_OI: Tensor) -> Tensor:
    return x_BI.new_empty(*x_BI.shape[:-1], len(weight_OI))


def _backward(ctx: Any, gradient_BO: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x_BI, weight_OI = ctx.saved_tensors
    to_x = opaque(gradient_BO, weight_OI.t()) if ctx.needs_input_grad[0] else None
    rows = gradient_BO.flatten(0, -2).t()
    to_weight = opaque(rows, x_BI.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None
    return to_x, to_weight


opaque.register_autograd(_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))


def decoder(path: Any, stack: contextlib.ExitStack, *, compiled: bool) -> Any:
    """The first blocks of a pair's decoder, as the verbalizer runs them until `stack` is left."""
    pair = subject.pair(Job.load(path))
    stack.enter_context(pair.backbone.use("verbalizer"))
    found = pair.target.model.get_decoder()
    found.layers = found.layers[:BLOCKS]
    if not compiled:
        return found
    for module in found.modules():
        if isinstance(module, torch.nn.Linear) and module.bias is None:
            module.forward = lambda x_BI, m=module: opaque(x_BI, m.weight)  # type: ignore[method-assign]
    return torch.compile(found)


def main() -> int:
    """Compile, then measure."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.compiled", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    path = prepare("smollm2_135m", Sizes(), BENCH / "jobs", device="cpu", dtype="float32", threads=given.threads)
    stack = contextlib.ExitStack()
    sides = {name: decoder(path, stack, compiled=name == "compiled") for name in ("eager", "compiled")}
    x_BTD = torch.randn(ROWS, LENGTH, 576)

    def train(side: Any) -> None:
        side(inputs_embeds=x_BTD, use_cache=False).last_hidden_state.pow(2).mean().backward()

    @torch.no_grad()
    def forward(side: Any) -> None:
        side(inputs_embeds=x_BTD, use_cache=False)

    works: dict[str, Callable[[Any], None]] = {"training step": train, "forward": forward}
    for name, work in works.items():
        started = time.perf_counter()
        work(sides["compiled"])
        first = time.perf_counter() - started
        work(sides["eager"])
        ratios = []
        for _ in range(given.rounds):
            seconds = {}
            for side, module in sides.items():
                started = time.perf_counter()
                for _ in range(3):
                    work(module)
                seconds[side] = time.perf_counter() - started
            ratios.append(seconds["eager"] / seconds["compiled"])
        console.print(f"{name}: compiled is {statistics.median(ratios):.2f} times as fast; first call {first:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
