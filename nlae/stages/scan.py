"""Goal `scan`: exemplars, moments and panels of all neurons in one pass over the corpus."""

from nlae.stages.context import StageContext

VERSION = 2


def run(context: StageContext) -> dict[str, float]:
    """Read the whole corpus once; returns counts."""
    from nlae.corpus import Corpus
    from nlae.dictionary.scan import scan
    from nlae.target import Site, self_check
    from nlae.tracking.history import Recorded

    target = context.build("target").load(dtype=context.dtype, device=context.device)
    for kind in ("mlp_in", "mlp_neurons"):
        self_check(target, Site(kind, target.n_layers - 1))
    return scan(
        target,
        Corpus.open(context.parents["corpus"]),
        context.folder,
        settings=context.build("dictionary.scan"),
        seed=int(context.config["dictionary"]["seed"]),
        run=Recorded(context.run, context.folder),
    )
