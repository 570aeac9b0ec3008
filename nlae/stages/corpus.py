"""Goal `corpus`: documents, their splits, and the positions that are read in every target of one tokenizer."""

from nlae.pipeline.context import StageContext

VERSION = 3


def run(context: StageContext) -> dict[str, float]:
    """Build the corpus; returns counts of documents, rows and clusters."""
    from nlae.corpus import build_corpus

    source = context.build("corpus")
    tokenizer = context.build("target").load_tokenizer()
    return build_corpus(source, tokenizer, context.folder)
