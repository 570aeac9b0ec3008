"""Goal `dictionary`: what every neuron of the layers stands for, with scores beside their nulls, or an honest "no"."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.pipeline.context import StageContext

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.dictionary.subjects.neurons import Subjects
    from nlae.target import Target

VERSION = 10


def check(config: Mapping[str, Any]) -> None:
    """Refuse, before anything is scanned, layers that the target lacks and directions that do not say where they live.

    Raises:
        NlaeError: they do not, or it lacks them.
    """
    layers, given = (config["dictionary"].get(key) for key in ("layers", "directions"))
    if layers is not None:
        from nlae.config.build import build
        from nlae.dictionary.builder import pick_layers

        pick_layers(layers, range(int(build(config["target"], "target").load_config().num_hidden_layers)))
    if given is not None:
        from nlae.dictionary.subjects.directions import named_site

        named_site(given)


def run(context: StageContext) -> dict[str, float]:
    """Describe and score every neuron, or given directions; returns the flat metrics."""
    from nlae.corpus import Corpus
    from nlae.dictionary import Dictionary
    from nlae.dictionary.browse import write_overview
    from nlae.dictionary.scan.folder import Scan

    builder = context.build("dictionary")
    corpus, scan = Corpus.open(context.parents["corpus"]), Scan.open(context.parents["scan"])
    target = context.build("target").load(dtype=context.dtype, device=context.device)
    subjects, of = _subjects(builder.directions, corpus, scan, target)
    facts = {
        "target": str(context.config["target"].get("name") or "the target"),
        "n_layers": len(scan.layers),
        "scanned_tokens": scan.n_tokens,
        **of,
    }
    metrics: dict[str, float] = builder.build(subjects, corpus, target, context.folder, facts, context.run)
    context.run.html("dictionary", write_overview(Dictionary.open(context.folder), metrics=metrics))
    return metrics


def _subjects(path: str | None, corpus: "Corpus", scan: Any, target: "Target") -> tuple["Subjects", dict[str, str]]:
    """The neurons of the scan, or directions read at its panels' positions; and what is to be noted of these."""
    if path is None:
        from nlae.dictionary.subjects.neurons import Neurons

        return Neurons(scan, target), {}
    from nlae.dictionary.subjects.direction_scan import DirectionSubjects
    from nlae.dictionary.subjects.directions import Directions, named_site
    from nlae.target.trunk import site_width

    site = named_site(path).resolve(target.n_layers)
    directions = Directions.load(path, site_width(target.model, site))
    subjects = DirectionSubjects(scan, directions, target, corpus)
    return subjects, {"directions": Path(path).name, "site": subjects.site.name}
