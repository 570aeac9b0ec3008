"""Goal `evaluate`: the held-out numbers of one pair, beside their controls."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nlae.errors import NlaeError
from nlae.files.foreign import parse_json
from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from nlae.corpus import Corpus

VERSION = 6
TRAINING_DOCUMENTS = "training_documents.txt"
log = logging.getLogger(__name__)


def run(context: StageContext) -> dict[str, float]:
    """Measure the subject on the test split; returns the flat metrics.

    Raises:
        NlaeError: the pair was trained on documents that are now to test it.
    """
    from nlae.activations import ActivationStore, Descriptions
    from nlae.corpus import Corpus
    from nlae.evaluation.mixture import evaluate_mixture
    from nlae.model.mixture import Mixture
    from nlae.stages.subject import load_subject

    corpus = Corpus.open(context.parents["corpus"])
    check_unseen(corpus, context.parents["subject"])
    pair, evaluation = load_subject(context), context.build("evaluation")
    if isinstance(pair, Mixture):
        folder = context.parents["extract"]
        return evaluate_mixture(
            evaluation,
            pair,
            {name: ActivationStore.open(folder / name) for name in pair.names},
            context.folder,
            seed=context.seed,
            run=context.run,
        )
    metrics: dict[str, float] = evaluation(
        pair,
        ActivationStore.open(context.parents["extract"]),
        context.folder,
        corpus=corpus,
        descriptions=Descriptions.open(context.parents["describe"]),
        seed=context.seed,
        extraction=parse_json((context.parents["extract"] / "metrics.json").read_text(encoding="utf-8")),
        run=context.run,
    )
    return metrics


def check_unseen(corpus: "Corpus", subject: Path) -> None:
    """No test document may be one that the pair was trained on.

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
