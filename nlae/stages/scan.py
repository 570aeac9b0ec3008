"""Goal `scan`: exemplars, moments, decoys and panels of all neurons in one pass over the corpus."""

from nlae.stages.context import StageContext

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Read the whole corpus once; returns counts."""
    from nlae.corpus import Corpus
    from nlae.dictionary.scan import scan

    return scan(
        context.build("target").load(dtype=context.dtype, device=context.device),
        Corpus.open(context.parents["corpus"]),
        context.folder,
        settings=context.build("dictionary.scan"),
        seed=int(context.config["dictionary"]["seed"]),
        run=context.run,
    )
