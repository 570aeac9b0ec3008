"""Goal `evaluate`: the held-out numbers of one pair, beside their controls."""

from nlae.stages.context import StageContext

VERSION = 1


def run(context: StageContext) -> dict[str, float]:
    """Measure the subject on the test split; returns the flat metrics."""
    from nlae.autoencoder import Autoencoder
    from nlae.corpus import Corpus
    from nlae.evaluation import evaluate
    from nlae.store import ActivationStore, Descriptions

    autoencoder = Autoencoder.load(context.parents["subject"], device=context.device)
    store = ActivationStore.open(context.parents["extract"])
    corpus = Corpus.open(context.parents["corpus"])
    descriptions = Descriptions.open(context.parents["describe"])
    settings = context.build("evaluation")
    return evaluate(autoencoder, store, corpus, descriptions, context.folder, settings=settings, run=context.run)
