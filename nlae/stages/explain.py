"""Service `explain`: read a text, a chat or vectors with a trained autoencoder.

The only stage that writes to standard output: its table is what was asked for.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.context import StageContext

VERSION = 1
log = logging.getLogger(__name__)
CHOICES = ("tokens", "stride", "samples", "generate")
INPUTS = ("file", "text", "messages", "vector")


def check(config: Mapping[str, Any]) -> None:
    """Read the input before anything is looked for or loaded; standard input can be read once only, later.

    Raises:
        NlaeError: none or several inputs were named, or one cannot be read.
    """
    from nlae.explain import load_inputs

    given = {key: config.get(key) for key in INPUTS}
    if given["file"] != "-" or any(given[key] is not None for key in INPUTS[1:]):
        load_inputs(**given)


def run(context: StageContext) -> dict[str, float]:
    """Explain what the root keys name, print the table, and write Parquet, JSON and one HTML page.

    Returns:
        How many explanations were made, and their mean FVE where there is one.

    Raises:
        NlaeError: none or several inputs were named, or one cannot be read.
    """
    from rich.console import Console

    from nlae.explain import Estimate, load_inputs
    from nlae.explain.table import cost, heading, legend, marks, table
    from nlae.stages.subject import load_subject
    from nlae.terminal.plain import plain
    from nlae.terminal.progress import Bar

    config = context.config
    inputs = load_inputs(**{key: config.get(key) for key in INPUTS})
    chosen = {key: config[key] for key in CHOICES if config.get(key) is not None}
    autoencoder, names = load_subject(context)
    if len(names) > 1:
        folder, site = context.parents["subject"], autoencoder.at(names[-1]).site
        raise NlaeError(
            f"explain: {folder} reads {len(names)} sites ({', '.join(names[:4])}, …), a text is explained at one; name "
            f"it: checkpoint={folder} site={site.kind} site.layer={site.index}"
        )
    with Bar("explaining") as bar:

        def announce(estimate: Estimate) -> None:
            log.info("%s", cost(estimate))

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.advance(done - bar.done)

        explain, view = context.build("explain"), autoencoder.at(names[0])
        reading = explain(view, inputs, seed=context.seed, on_estimate=announce, on_progress=advance, **chosen)
    paths = reading.save(context.folder)
    console = Console()
    show = partial(console.print, markup=False, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        show(plain(line))

    for line in heading(reading):
        say(line)
    console.print(table(reading))
    for line in (*marks(reading), *legend(reading), *reading.notes):
        say(line)
    say(f"Page to click through: {paths['html']}")
    context.run.html("reading", paths["html"])
    found = {"explanations": float(len(reading)), "mean_fve": reading.mean_fve, "mean_cosine": reading.mean_cosine}
    return {name: value for name, value in found.items() if value is not None}
