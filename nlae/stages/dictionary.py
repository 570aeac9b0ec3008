"""Goal `dictionary`: what every neuron of the layers stands for, with scores beside their nulls, or an honest "no"."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError
from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.dictionary.settings import DictionarySettings
    from nlae.dictionary.subjects import Subjects
    from nlae.target import Target

VERSION = 8


def check(config: Mapping[str, Any]) -> None:
    """Refuse, before anything is scanned, directions that do not say where they live.

    Raises:
        NlaeError: they do not.
    """
    given = config["dictionary"].get("directions")
    if given is None:
        return
    from nlae.dictionary.directions import named_site

    if named_site(given) is None:
        raise NlaeError(f"dictionary.directions={given} does not name its site: give it the metadata site, as resid.12")


def run(context: StageContext) -> dict[str, float]:
    """Describe and score every neuron, or given directions; returns the flat metrics."""
    from nlae.corpus import Corpus
    from nlae.dictionary import Dictionary
    from nlae.dictionary.browse import write_overview
    from nlae.dictionary.build import Job, build_dictionary, pick_layers
    from nlae.dictionary.examining import Examiner
    from nlae.dictionary.scan import Scan
    from nlae.dictionary.subjects import DirectionSubjects

    settings = context.build("dictionary")
    corpus, scan = Corpus.open(context.parents["corpus"]), Scan.open(context.parents["scan"])
    target = context.build("target").load(dtype=context.dtype, device=context.device)
    subjects = _subjects(settings, corpus, scan, target)
    layers = pick_layers(settings.layers, subjects.layers)
    facts = {
        "target": str(context.config["target"].get("name") or "the target"),
        "n_layers": len(scan.layers),
        "scanned_tokens": scan.n_tokens,
    }
    if isinstance(subjects, DirectionSubjects):
        facts |= {"directions": Path(str(settings.directions)).name, "site": subjects.site.name}
    model: Any = target.model
    embedding_VD = model.get_input_embeddings().weight.detach().float().cpu()
    examiner = Examiner(settings, subjects, corpus, target, context.folder)
    metrics = build_dictionary(
        Job(subjects, corpus, target.tokenizer, embedding_VD, settings, layers, facts),
        context.folder,
        run=context.run,
        taught=examiner.taught if settings.teacher is not None else None,
        examine=examiner.examine if examiner.wanted else None,
    )
    context.run.html("dictionary", write_overview(Dictionary.open(context.folder), metrics=metrics))
    return metrics


def _subjects(settings: "DictionarySettings", corpus: "Corpus", scan: Any, target: "Target") -> "Subjects":
    """The neurons of the scan, or directions read at its panels' positions."""
    from nlae.dictionary.subjects import DirectionSubjects, Neurons

    if settings.directions is None:
        return Neurons(scan, target)
    from nlae.dictionary.directions import Directions, named_site
    from nlae.target.trunk import site_width

    path = str(settings.directions)
    site = named_site(path)
    assert site is not None  # else `check` has refused it
    directions = Directions.load(path, site_width(target.model, site.resolve(target.n_layers)))
    return DirectionSubjects(scan, directions, target, corpus)
