"""Describes every row of a corpus with a teacher and writes `descriptions.arrow`.

Resumable at any point: answers lie in an append-only cache beside the result, keyed by content. Rows with the same
prefix are asked once. Rows a teacher failed on are absent from the result and counted in the metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from nlae.activations.descriptions import Descriptions
from nlae.errors import NlaeError
from nlae.model.prompt import without_tags
from nlae.teacher.base import Material, Teacher, TeacherContext
from nlae.teacher.cache import AnswerCache, content_key
from nlae.teacher.consent import require_consent
from nlae.teacher.words import DocumentFrequencies
from nlae.terminal.progress import Bar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nlae.corpus import Corpus
    from nlae.model.prompt import Prompt
    from nlae.target import Target
    from nlae.tracking import Run

__all__ = ["Descriptions", "describe_contexts", "describe_corpus"]

CACHE = "answers.jsonl"
_SAMPLES = 40
logger = logging.getLogger(__name__)


def describe_corpus(
    teacher: Teacher,
    corpus: Corpus,
    target_loader: Callable[[], Target],
    prompt: Prompt,
    folder: Path,
    run: Run,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    cache: Path | None = None,
    ask: Callable[[str], bool] | None = None,
) -> dict[str, float]:
    """Describe all rows of `corpus`; what is in `folder` already is not asked again.

    Args:
        teacher: who writes.
        corpus: opened corpus.
        target_loader: loads the target; called only by a teacher that needs it, or if `tokenizer` is None.
        prompt: `text` for language models, `style` for the context teacher.
        folder: receives `descriptions.arrow`; the answer cache lies there too unless `cache` names a file elsewhere.
        run: metrics and a table of samples go there.
        tokenizer: the target's tokenizer.
        cache: file of the answer cache, to share answers between artifacts.
        ask: how to confirm a paid run; default: on the terminal.

    Returns:
        rows, described, failed, words_mean, tokens_mean, distinct_share.

    Raises:
        NlaeError: nobody agreed to pay, access refused, too many failures, no row described, disk full.
    """
    loaded: list[Target] = []

    def load() -> Target:
        if not loaded:
            loaded.append(target_loader())
        return loaded[0]

    def frequencies() -> DocumentFrequencies:
        train = (document for document, split in enumerate(corpus.split) if split == "train")
        return DocumentFrequencies.fit(corpus.text(document) for document in train)

    tokenizer = tokenizer if tokenizer is not None else load().tokenizer
    contexts = read_contexts(corpus, tokenizer)
    material = Material(prompt=prompt, load_target=load, frequencies=frequencies)
    texts = describe_contexts(teacher, contexts, material, cache or folder / CACHE, ask=ask)
    if not texts:
        raise NlaeError(
            f"teacher {teacher.name} described none of {len(contexts)} rows; "
            "look at the log above, or choose teacher=context"
        )
    Descriptions.write(folder, list(texts), list(texts.values()))
    metrics = _metrics(texts, len(contexts), tokenizer)
    run.table("descriptions", ["row", "text before", "description"], _samples(contexts, texts))
    run.summary(metrics)
    return metrics


def read_contexts(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> list[TeacherContext]:
    """One context per row of the corpus, in its order."""
    pairs = zip(corpus.rows.row.tolist(), corpus.rows.document.tolist(), strict=True)
    return [
        TeacherContext(row, document, corpus.prefix_text(row, tokenizer), corpus.context_ids(row))
        for row, document in pairs
    ]


def describe_contexts(
    teacher: Teacher,
    contexts: Sequence[TeacherContext],
    material: Material,
    cache_path: Path,
    *,
    ask: Callable[[str], bool] | None = None,
) -> dict[int, str]:
    """Row → text for every context that the cache or the teacher has an answer for."""
    teacher.prepare(material)
    return ask_cached(teacher, contexts, instructions(material.prompt), cache_path, ask=ask)


def ask_cached(
    teacher: Teacher,
    contexts: Sequence[TeacherContext],
    instructions: str,
    cache_path: Path,
    *,
    ask: Callable[[str], bool] | None = None,
    label: str = "describing",
) -> dict[int, str]:
    """Row → answer for every context, asking a prepared teacher only what the cache does not know.

    Args:
        teacher: who answers.
        contexts: what is asked about.
        instructions: everything else that an answer depends on, for the cache key.
        cache_path: file of the answer cache.
        ask: how to confirm a paid run; default: on the terminal.
        label: of the progress bar.
    """
    with AnswerCache(cache_path) as cache:
        if getattr(teacher, "retry_failed", False):
            cache.forget_failures()
        identity = teacher.identity()  # after preparing: a text may depend on what was loaded
        keys = {c.row: content_key(identity, instructions, c.text) for c in contexts}
        asked: dict[str, TeacherContext] = {}
        for context in contexts:
            if keys[context.row] not in cache:
                asked.setdefault(keys[context.row], context)
        if asked:
            _ask_teacher(teacher, list(asked.values()), keys, cache, ask, label)
        answers = {row: cache[key] for row, key in keys.items() if key in cache}
    return {row: text for row, text in answers.items() if text}


def instructions(prompt: Prompt) -> str:
    """Everything of the prompt that a teacher may read, as one string for the cache key."""
    return f"{prompt.text}\n{sorted(prompt.style.items())}\n{prompt.max_tokens}"


def _ask_teacher(
    teacher: Teacher,
    contexts: list[TeacherContext],
    keys: dict[int, str],
    cache: AnswerCache,
    ask: Callable[[str], bool] | None,
    label: str,
) -> None:
    if getattr(teacher, "needs_consent", teacher.paid):
        estimate = teacher.estimate(contexts)
        called = {
            name: getattr(teacher, name) for name in ("role", "node", "instead", "sends") if hasattr(teacher, name)
        }
        require_consent(teacher.name, estimate, yes=bool(getattr(teacher, "yes", False)), ask=ask, **called)
    with Bar(label, total=len(contexts)) as bar:

        def keep(row: int, text: str | None) -> None:
            cache.add(keys[row], text and without_tags(text))
            bar.advance()

        teacher.describe(contexts, keep)


def _metrics(texts: dict[int, str], rows: int, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    lengths = [len(ids) for ids in cast(Any, tokenizer)(list(texts.values()), add_special_tokens=False)["input_ids"]]
    return {
        "rows": float(rows),
        "described": float(len(texts)),
        "failed": float(rows - len(texts)),
        "words_mean": fmean(len(text.split()) for text in texts.values()),
        "tokens_mean": fmean(lengths),
        "tokens_max": float(max(lengths)),
        "distinct_share": len(set(texts.values())) / len(texts),
    }


def _samples(contexts: Sequence[TeacherContext], texts: dict[int, str]) -> list[list[Any]]:
    described = [context for context in contexts if context.row in texts]
    step = max(1, len(described) // _SAMPLES)
    return [[c.row, c.text[-200:], texts[c.row]] for c in described[::step][:_SAMPLES]]
