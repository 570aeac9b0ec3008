"""Goal `describe`: what the teacher says about every row's text, up to the row's position."""

from nlae.pipeline.context import StageContext
from nlae.target import Target

VERSION = 3


def run(context: StageContext) -> dict[str, float]:
    """Describe every row; returns counts and lengths."""
    from nlae.corpus import Corpus
    from nlae.teacher import describe_corpus

    source = context.build("target")

    def load() -> Target:
        target: Target = source.load(dtype=context.dtype, device=context.device)
        return target

    return describe_corpus(
        context.build("teacher"),
        Corpus.open(context.parents["corpus"]),
        load,
        context.build("prompt"),
        context.folder,
        context.run,
        tokenizer=source.load_tokenizer(),
    )
