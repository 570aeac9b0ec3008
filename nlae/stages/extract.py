"""Goal `extract`: activations of the target at the site, on the corpus's rows."""

from collections.abc import Mapping
from typing import Any

from nlae.pipeline.context import StageContext

VERSION = 2


def check(config: Mapping[str, Any]) -> None:
    """Refuse a type that directions cannot be stored in before a corpus is built for them."""
    from nlae.activations.extraction import check_dtype

    check_dtype(config["store"].get("dtype", "float16"))


def run(context: StageContext) -> dict[str, float]:
    """Read every row's activation; returns norms and the rate of extraction."""
    from nlae.corpus import Corpus
    from nlae.target import self_check
    from nlae.tracking.history import Recorded

    target = context.build("target").load(dtype=context.dtype, device=context.device)
    site = context.build("site")
    sites = site.resolve(target.n_layers).sites
    # blocks are built alike: of several, each kind is checked at its first and its last layer
    for one in dict.fromkeys([*sites[: len({s.kind for s in sites})], *sites[-len({s.kind for s in sites}) :]]):
        self_check(target, one)
    corpus = Corpus.open(context.parents["corpus"])
    extract = context.build("store")
    found: dict[str, float] = extract(target, site, corpus, context.folder, run=Recorded(context.run, context.folder))
    return found
