"""Service `export`: write a trained pair, or a finished dictionary, in a layout that others read."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nlae.errors import NlaeError
from nlae.pipeline.table import DICTIONARY, DICTIONARY_FORMATS
from nlae.stages.context import StageContext
from nlae.stages.evaluate import TRAINING_DOCUMENTS

VERSION = 2
REFERENCE = "reference"


def check(config: Mapping[str, Any]) -> None:
    """Refuse an unknown layout before anything is looked for.

    Raises:
        NlaeError: there is no such layout.
    """
    layout, known = config.get("format") or REFERENCE, (REFERENCE, *DICTIONARY_FORMATS)
    if layout not in known:
        raise NlaeError(f"format={layout}: unknown; choose one of {', '.join(known)}")


def run(context: StageContext) -> dict[str, float]:
    """Write `format=reference` (`av` and `ar`, adapters merged), or a dictionary as `neuronpedia` or `delphi`."""
    check(context.config)
    layout = context.config.get("format") or REFERENCE
    if layout in DICTIONARY_FORMATS:
        return _export_dictionary(context, layout)
    from nlae.autoencoder import Autoencoder
    from nlae.reference_layout import export_reference

    subject = context.parents["subject"]
    export_reference(Autoencoder.load(subject, device=context.device), context.folder)
    for kept in (subject / TRAINING_DOCUMENTS, subject / "av" / TRAINING_DOCUMENTS):
        if kept.is_file():  # so that it can be evaluated elsewhere, and on nothing that it was trained on
            shutil.copyfile(kept, context.folder / "av" / TRAINING_DOCUMENTS)
    return {}


def _export_dictionary(context: StageContext, layout: str) -> dict[str, float]:
    from nlae.dictionary.entries import Dictionary
    from nlae.dictionary.export import export_delphi, export_neuronpedia

    dictionary = Dictionary.open(context.parents[DICTIONARY])
    node = context.node("target")
    name = str(node.get("model") or node.get("name") or "model")
    if layout == "neuronpedia":
        counts = export_neuronpedia(dictionary, context.folder, model_id=name.rsplit("/", 1)[-1].lower())
        return {f"rows/{file.removesuffix('.jsonl')}": float(count) for file, count in counts.items()}
    tokenizer = context.build("target").load_tokenizer()
    counts = export_delphi(dictionary, context.folder, _token_ids(context, dictionary, tokenizer), model_name=name)
    return {kind: float(count) for kind, count in counts.items()}


def _token_ids(context: StageContext, dictionary: Any, tokenizer: Any) -> Callable[[int], Sequence[int]]:
    """Tokens of a passage, read from the corpus and compared with the text that the dictionary kept.

    Raises:
        NlaeError: the corpus is gone, or is not the one that the dictionary was made from.
    """
    if "corpus" not in context.parents:
        raise NlaeError("format=delphi needs the dictionary's corpus; bring it back with `nlae corpus`, same overrides")
    from nlae.corpus import Corpus

    corpus = Corpus.open(context.parents["corpus"])

    def read(document: int) -> Sequence[int]:
        ids = corpus.input_ids(document) if document < len(corpus) else []
        kept = dictionary.context(document).tokens
        if len(ids) != len(kept) or "".join(kept).split() != tokenizer.decode(ids).split():
            raise NlaeError(
                f"format=delphi: passage {document} of the corpus is not what the dictionary was made from; give the "
                "overrides that it was made with"
            )
        return ids

    return read
