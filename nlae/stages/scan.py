"""Goal `scan`: exemplars, moments and panels of all neurons in one pass over the corpus."""

from nlae.pipeline.context import StageContext

VERSION = 2


def run(context: StageContext) -> dict[str, float]:
    """Read the whole corpus once; returns counts."""
    from nlae.corpus import Corpus
    from nlae.target import Site, self_check
    from nlae.tracking.history import Recorded

    target = context.build("target").load(dtype=context.dtype, device=context.device)
    for kind in ("mlp_in", "mlp_neurons"):
        self_check(target, Site(kind, target.n_layers - 1))
    metrics: dict[str, float] = context.build("dictionary.scan").scan(
        target,
        Corpus.open(context.parents["corpus"]),
        context.folder,
        seed=int(context.config["dictionary"]["seed"]),
        run=Recorded(context.run, context.folder),
    )
    return metrics
