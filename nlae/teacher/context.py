"""The `context` teacher: no model of its own and no key, only the text and the target's own next-token predictions.

By default it *describes* the last word and never quotes it: a verbalizer that is taught to quote becomes a parrot whose
fidelity says nothing. Left out: entity linking and syntax, which would need models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nlae.errors import NlaeError
from nlae.teacher.base import Estimate, Material, OnResult, TeacherContext
from nlae.teacher.compose import TEMPLATE_WORDS, Findings, bullets, sentences, shorten
from nlae.teacher.ending import MARKS, Ending, describe_ending, part_of_speech
from nlae.teacher.form import current_sentence, register, where_inside
from nlae.teacher.predictions import Prediction, Predictor, glued_endings, mark_share, next_words
from nlae.teacher.words import DocumentFrequencies, is_key, pick_distinct, topic_words, words

VERSION = 2  # raise it when the same prefix would get another text
TAILS = ("verbatim", "described", "none")
_SHORT_WORDS = 32
_LONG_WORDS = 90
_CLOSING = 8  # room for the closing tag within prompt.max_tokens
_PASSING = frozenset({"adverb", "preterite verb", "verb", "bare verb", "adjective", "present participle"})  # named last
_EXPECTED_MARKS = (".", ",", ":", ";", "(", ")", '"', "-", "\n", "=")


@dataclass(kw_only=True, eq=False)
class ContextTeacher:
    """Describes a prefix by topics, register, kind of ending and likely continuation; deterministic.

    `tail`: how the end is given. `max_words` and the counts default to what the prompt's style asks for.
    """

    name: ClassVar[str] = "context"
    paid: ClassVar[bool] = False
    asks_target: ClassVar[bool] = True

    tail: str = "described"
    quote_tokens: int = 8
    max_words: int | None = None
    topics: int | None = None
    continuations: int | None = None
    relatives: int | None = None
    batch_tokens: int = 2048
    _style: Mapping[str, Any] = field(default_factory=dict, init=False, repr=False)
    _max_tokens: int = field(default=10**6, init=False, repr=False)
    _predictor: Predictor | None = field(default=None, init=False, repr=False)
    _frequencies: DocumentFrequencies = field(
        default_factory=lambda: DocumentFrequencies(0, {}, {}), init=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.tail not in TAILS:
            raise NlaeError(f"teacher.tail={self.tail!r} is unknown; use one of {', '.join(TAILS)}")
        if self.quote_tokens < 1:
            raise NlaeError(
                f"teacher.quote_tokens={self.quote_tokens} must be at least 1; use teacher.tail=described for no quote"
            )

    def identity(self) -> dict[str, Any]:
        """Settings that change the text."""
        kept = ("tail", "quote_tokens", "max_words", "topics", "continuations", "relatives")
        settings = {"teacher": self.name, "version": VERSION, **{key: getattr(self, key) for key in kept}}
        if self._predictor is not None:
            settings["target"] = self._predictor.target.fingerprint
            settings["frequencies"] = self._frequencies.digest()
        return settings

    def prepare(self, material: Material) -> None:
        """Load the target and the training documents' word counts."""
        self._style = dict(material.prompt.style)
        self._max_tokens = material.prompt.max_tokens - _CLOSING
        self._predictor = Predictor(material.load_target(), batch_tokens=self.batch_tokens)
        self._frequencies = material.frequencies()

    def estimate(self, contexts: Sequence[TeacherContext]) -> Estimate:
        """Free: the cost is one forward per document."""
        return Estimate(requests=0, input_tokens=sum(len(c.input_ids) for c in contexts), output_tokens=0, usd=0.0)

    def describe(self, contexts: Sequence[TeacherContext], on_result: OnResult) -> None:
        """One forward per document, then one text per context."""
        if self._predictor is None:
            raise RuntimeError("prepare() was not called")
        groups = group_by_document(contexts)
        plan = [(group[-1].input_ids, [len(c.input_ids) - 1 for c in group]) for group in groups]

        def finish(index: int, predictions: list[Prediction]) -> None:
            for context, prediction in zip(groups[index], predictions, strict=True):
                on_result(context.row, self.write(context, prediction))

        self._predictor.predict(plan, finish)

    def write(self, context: TeacherContext, prediction: Prediction) -> str:
        """The text for one context; what tells least is left out until it fits `max_words` and the token cap."""
        form = self._style.get("form", "sentences")
        limit = self._max_words()
        found = self.find(context, prediction)
        render = bullets if form == "bullets" else sentences
        text = render(found)
        while len(text.split()) > limit or self._tokens(text) > self._max_tokens:
            shorter = shorten(found)
            if shorter is None:
                break
            found, text = shorter, render(shorter)
        return text

    def find(self, context: TeacherContext, prediction: Prediction) -> Findings:
        """Everything worth saying about one prefix, chosen from the end backwards so that no key word comes twice."""
        rich = self._max_words() > 50
        seen = self._frequencies.has_seen
        ending = describe_ending(context.text, prediction)
        kind = register(context.text)
        quote = self._quote(context) if self.tail == "verbatim" else None
        used = [*words(f"{kind} {ending.kind} {ending.previous or ''} {quote or ''}"), *TEMPLATE_WORDS]
        barred = [*used, *ending.forbidden]
        next_items, top = self._next_items(prediction, barred, self.continuations or (6 if rich else 3))
        barred += [word for item in next_items for word in words(item)]
        near = pick_distinct(
            filter(seen, ending.near), barred, self.relatives if self.relatives is not None else (3 if rich else 2)
        )
        barred += near
        near_before = (
            pick_distinct(filter(seen, ending.near_before), barred, 2 if rich else 1) if self.relatives != 0 else []
        )
        barred += near_before
        sentence = current_sentence(context.text)
        spoken = [self._frequencies.spell(word) for word in sentence.words[-40:] if is_key(word)]
        spoken.sort(key=lambda word: (part_of_speech(word, None) in _PASSING, -self._frequencies.weight(word)))
        local = set(pick_distinct(spoken, barred, 5 if rich else 2))
        barred += sorted(local)
        topics = pick_distinct(topic_words(context.text, self._frequencies), barred, self.topics or (8 if rich else 3))
        shown: Ending | None = ending if self.tail != "none" else None
        ordered = list(dict.fromkeys(w for w in map(self._frequencies.spell, sentence.words) if w in local))
        return Findings(
            register=kind,
            topics=tuple(topics),
            local=tuple(ordered),
            inside=where_inside(sentence, " ".join((ending.kind, *next_items))),
            ending=shown,
            near=tuple(near) if shown else (),
            near_before=tuple(near_before) if shown else (),
            next_items=tuple(next_items),
            confidence=top,
            glued=tuple(glued_endings(prediction)) if ending.family == "fragment" else (),
            rich=rich,
            quote=quote,
        )

    def _max_words(self) -> int:
        if self.max_words is not None:
            return self.max_words
        asked = self._style.get("max_words")
        if asked is not None:
            return int(asked)
        return _LONG_WORDS if int(self._style.get("max_sentences", 2)) > 4 else _SHORT_WORDS

    def _tokens(self, text: str) -> int:
        assert self._predictor is not None
        return len(self._predictor.target.tokenizer.encode(text, add_special_tokens=False))

    def _quote(self, context: TeacherContext) -> str:
        assert self._predictor is not None
        tokenizer = self._predictor.target.tokenizer
        text = str(tokenizer.decode(context.input_ids[-self.quote_tokens :], skip_special_tokens=True))
        return " ".join(text.split())

    def _next_items(self, prediction: Prediction, barred: Sequence[str], limit: int) -> tuple[list[str], float]:
        """Likely continuations, words and marks together, best first, with the probability of the first."""
        ranked = [item for item in next_words(prediction) if self._frequencies.knows(item[0])]
        for mark in _EXPECTED_MARKS:
            name = "a line break" if mark == "\n" else MARKS[mark]
            ranked.append((name, mark_share(prediction, mark)))
        ranked = sorted((item for item in ranked if item[1] > 0.02), key=lambda item: -item[1])
        long_words = [word for word in barred if len(word) > 3]
        chosen: list[str] = []
        top = 0.0
        for item, probability in ranked:
            taken = [*long_words, *chosen] if len(item) > 3 else [*barred[-2:], *chosen]
            if len(chosen) < limit and pick_distinct([item.split()[-1]], taken, 1):
                chosen.append(item)
                top = top or probability
        return chosen, top


def group_by_document(contexts: Sequence[TeacherContext]) -> list[list[TeacherContext]]:
    """Contexts that are prefixes of one another, shortest first, so that one forward serves them all."""
    groups: list[list[TeacherContext]] = []
    for context in sorted(contexts, key=lambda c: (c.document, len(c.input_ids), c.row)):
        last = groups[-1] if groups else None
        if (
            last
            and last[-1].document == context.document
            and context.input_ids[: len(last[-1].input_ids)] == last[-1].input_ids
        ):
            last.append(context)
        else:
            groups.append([context])
    return groups
