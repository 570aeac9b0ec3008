"""Goal `dictionary`: what every neuron of the layers stands for, with scores beside their nulls, or an honest "no"."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError
from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from nlae.autoencoder import Autoencoder
    from nlae.corpus import Corpus
    from nlae.dictionary.build import Examine
    from nlae.dictionary.direction_scan import DirectionScan
    from nlae.dictionary.scan import Scan
    from nlae.dictionary.settings import DictionarySettings
    from nlae.mixture import Mixture

VERSION = 7


def check(config: Mapping[str, Any]) -> None:
    """Refuse, before anything is trained, directions that the autoencoder will not be able to read.

    Raises:
        NlaeError: they live at another site than it, or do not say where.
    """
    given = config["dictionary"].get("directions")
    if given is None:
        return
    from nlae.dictionary.directions import named_site

    site, node = named_site(given), config["site"]
    if site is None:
        raise NlaeError(f"dictionary.directions={given} does not name its site: give it the metadata site, as resid.12")
    layers, kinds = (node["layers"], node["kinds"]) if "kinds" in node else ([node["layer"]], [node["kind"]])
    if site.kind not in kinds or site.index not in layers:
        raise NlaeError(
            f"dictionary.directions={given}: they live at {site.name}, but the autoencoder reads {', '.join(kinds)} of "
            f"layer {', '.join(map(str, layers))}: train it there with site={site.kind} site.layer={site.index}"
        )


def run(context: StageContext) -> dict[str, float]:
    """Describe and score every neuron, or given directions; returns the flat metrics.

    Raises:
        NlaeError: the autoencoder was trained on documents that are now to test it, or lacks a site.
    """
    from nlae.corpus import Corpus
    from nlae.dictionary import Dictionary
    from nlae.dictionary.browse import write_overview
    from nlae.dictionary.build import build_dictionary, pick_layers
    from nlae.dictionary.direction_scan import promoted_by
    from nlae.dictionary.scan import Scan, promoted
    from nlae.dictionary.speaker import INPUT, NEURONS, MixtureSpeaker, OneSite
    from nlae.mixture import Mixture, load_trained
    from nlae.stages.evaluate import check_unseen

    settings = context.build("dictionary")
    corpus, scan = Corpus.open(context.parents["corpus"]), Scan.open(context.parents["scan"])
    check_unseen(corpus, context.parents["subject"])
    given = None if settings.directions is None else _directions(context, settings, corpus, scan)
    pair = load_trained(context.parents["subject"], device=context.device, precision=context.precision)
    mixture = pair if isinstance(pair, Mixture) else OneSite(pair)
    target = mixture.target
    if given is None:
        layers = pick_layers(settings.layers or _trained_layers(mixture.sites), target.n_layers)
        kinds = (NEURONS, INPUT)
    else:
        layers, kinds = list(given.layers), (given.site.kind, given.site.kind)
    asked = settings.judge is not None or settings.steered
    metrics = build_dictionary(
        scan if given is None else given,
        corpus,
        MixtureSpeaker(mixture, layers, settings.temperature, settings.batch_size, kinds),
        target.tokenizer,
        lambda layer: (
            promoted(target, layer, settings.promoted)
            if given is None
            else promoted_by(target, given.site, given.directions.write_nd, settings.promoted)
        ),
        context.folder,
        settings=settings,
        layers=layers,
        max_tokens=int(context.config["prompt"]["max_tokens"]),
        target=str(context.config["target"].get("name") or "the target"),
        run=context.run,
        examine=_examine(pair, settings, corpus, context.folder) if asked else None,
    )
    context.run.html("dictionary", write_overview(Dictionary.open(context.folder), metrics=metrics))
    return metrics


def _directions(
    context: StageContext, settings: "DictionarySettings", corpus: "Corpus", scan: "Scan"
) -> "DirectionScan":
    """The directions at the panels' tokens, read from the target as it is; it is let go again."""
    from nlae.dictionary.direction_scan import DirectionScan
    from nlae.dictionary.directions import Directions, named_site
    from nlae.dictionary.scan.decoys import token_counts
    from nlae.target.trunk import site_width

    path = str(settings.directions)
    site = named_site(path)
    assert site is not None  # else `check` has refused it
    target = context.build("target").load(dtype=context.dtype, device=context.device)
    directions = Directions.load(path, site_width(target.model, site.resolve(target.n_layers)))
    return DirectionScan.read(scan, directions, target, corpus, token_counts(corpus), settings.seed)


def _examine(
    trained: "Autoencoder | Mixture", settings: "DictionarySettings", corpus: "Corpus", folder: Path
) -> "Examine":
    """Judging and steering, on the target as it is: the autoencoder's own copy, its adapters aside."""
    from nlae.dictionary.examine import examine

    def with_target(entries: Any, texts: list[dict[str, Any]]) -> Any:
        with trained.backbone.use(None):
            return examine(trained.target, corpus, entries, texts, settings, folder)

    return with_target


def _trained_layers(sites: Any) -> list[int]:
    """Blocks that the mixture was trained on."""
    return sorted({site.index for site in sites})
