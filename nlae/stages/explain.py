"""Service `explain`: read a text, a chat or vectors with a trained pair.

The only stage that writes to standard output: its table is what was asked for.
"""

import logging

from nlae.stages.context import StageContext

VERSION = 1
log = logging.getLogger(__name__)
CHOICES = ("tokens", "stride", "samples", "generate")


def run(context: StageContext) -> dict[str, float]:
    """Explain what the root keys name, print the table, and write Parquet, JSON and one HTML page.

    Raises:
        NlaeError: none or several inputs were named, or one cannot be read.
    """
    from rich.console import Console

    from nlae.autoencoder import Autoencoder
    from nlae.explanation import Estimate, explain, load_inputs
    from nlae.explanation.table import cost, marks, table
    from nlae.progress import Bar

    config = context.config
    inputs = load_inputs(**{key: config.get(key) for key in ("file", "text", "messages", "vector")})
    settings = context.node("explain")
    rows = settings.pop("table_rows", None)
    settings |= {key: config[key] for key in CHOICES if config.get(key) is not None}
    autoencoder = Autoencoder.load(context.parents["subject"], device=context.device, precision=context.precision)
    with Bar("explaining") as bar:

        def announce(estimate: Estimate) -> None:
            log.info("%s", cost(estimate))

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.advance(done - bar.done)

        reading = explain(autoencoder, inputs, seed=context.seed, on_estimate=announce, on_progress=advance, **settings)
    reading.save(context.folder)
    console = Console()
    console.print(table(reading, rows))
    for line in (*marks(reading), *reading.notes):
        console.print(line, markup=False, highlight=False)
    return {}
