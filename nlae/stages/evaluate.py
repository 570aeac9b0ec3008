"""Goal `evaluate`: the held-out numbers of one autoencoder, beside their controls."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nlae.errors import NlaeError
from nlae.files.foreign import parse_json
from nlae.pipeline.context import StageContext

if TYPE_CHECKING:
    from nlae.corpus import Corpus

VERSION = 7
TRAINING_DOCUMENTS = "training_documents.txt"
log = logging.getLogger(__name__)


def run(context: StageContext) -> dict[str, float]:
    """Measure the subject on the test split; returns the flat metrics.

    Raises:
        NlaeError: it was trained on documents that are now to test it.
    """
    from nlae.activations import Descriptions
    from nlae.activations.store import open_stores
    from nlae.corpus import Corpus
    from nlae.evaluation.per_site import evaluate_sites
    from nlae.stages.subject import load_subject

    corpus = Corpus.open(context.parents["corpus"])
    check_unseen(corpus, context.parents["subject"])
    autoencoder, names = load_subject(context)
    evaluation, stores = context.build("evaluation"), open_stores(context.parents["extract"], names)
    if len(names) > 1:
        return evaluate_sites(
            evaluation,
            autoencoder,
            stores,
            context.folder,
            seed=context.seed,
            run=context.run,
        )
    metrics: dict[str, float] = evaluation(
        autoencoder.at(names[0]),
        stores[names[0]],
        context.folder,
        corpus=corpus,
        descriptions=Descriptions.open(context.parents["describe"]),
        seed=context.seed,
        extraction=parse_json((context.parents["extract"] / "metrics.json").read_text(encoding="utf-8")),
        run=context.run,
    )
    return metrics


def check_unseen(corpus: "Corpus", subject: Path) -> None:
    """No test document may be one that the autoencoder was trained on.

    Raises:
        NlaeError: at least one is.
    """
    kept = [path for path in (subject, subject / "av") if (path / TRAINING_DOCUMENTS).is_file()]
    if not kept:
        log.warning(
            "%s does not say what it was trained on: whether the test documents are new to it is unknown", subject
        )
        return
    seen = set((kept[0] / TRAINING_DOCUMENTS).read_text(encoding="utf-8").split())
    shared = seen & set(corpus.document_hashes("test"))
    if shared:
        raise NlaeError(
            f"checkpoint {subject} was trained on {len(shared)} of this corpus's test documents: evaluate it with the "
            "corpus and corpus.seed that it was trained with, or on other text"
        )
