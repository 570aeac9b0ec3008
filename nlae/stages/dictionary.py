"""Goal `dictionary`: what every neuron of the layers stands for, with scores beside their nulls, or an honest "no"."""

from typing import TYPE_CHECKING, Any

from nlae.stages.context import StageContext

if TYPE_CHECKING:
    from nlae.corpus import Corpus
    from nlae.dictionary.build import Examine
    from nlae.dictionary.settings import DictionarySettings

VERSION = 2


def run(context: StageContext) -> dict[str, float]:
    """Describe and score every neuron; returns the flat metrics.

    Raises:
        NlaeError: the autoencoder was trained on documents that are now to test it, or lacks a site.
    """
    from nlae.corpus import Corpus
    from nlae.dictionary import Dictionary
    from nlae.dictionary.browse import write_overview
    from nlae.dictionary.build import build_dictionary, pick_layers
    from nlae.dictionary.scan import Scan, promoted
    from nlae.dictionary.speaker import MixtureSpeaker
    from nlae.mixture import Mixture
    from nlae.stages.evaluate import check_unseen

    settings = context.build("dictionary")
    corpus, scan = Corpus.open(context.parents["corpus"]), Scan.open(context.parents["scan"])
    check_unseen(corpus, context.parents["subject"])
    mixture = Mixture.load(context.parents["subject"], device=context.device, precision=context.precision)
    target = mixture.target
    layers = pick_layers(settings.layers or _trained_layers(mixture.sites), target.n_layers)
    metrics = build_dictionary(
        scan,
        corpus,
        MixtureSpeaker(mixture, layers, settings.temperature, settings.batch_size),
        target.tokenizer,
        lambda layer: promoted(target, layer, settings.promoted),
        context.folder,
        settings=settings,
        layers=layers,
        max_tokens=int(context.config["prompt"]["max_tokens"]),
        target=str(context.config["target"].get("name") or "the target"),
        run=context.run,
        examine=_examine(context, settings, corpus) if settings.judge is not None or settings.steered else None,
    )
    context.run.html("dictionary", write_overview(Dictionary.open(context.folder)))
    return metrics


def _examine(context: StageContext, settings: "DictionarySettings", corpus: "Corpus") -> "Examine":
    """Judging and steering, on the target as it is, without the autoencoder's adapters."""
    from nlae.dictionary.examine import examine

    def with_target(entries: Any, texts: list[dict[str, Any]]) -> Any:
        target = context.build("target").load(dtype=context.dtype, device=context.device)
        return examine(target, corpus, entries, texts, settings, context.folder)

    return with_target


def _trained_layers(sites: Any) -> list[int]:
    """Blocks that the mixture was trained on."""
    return sorted({site.index for site in sites})
