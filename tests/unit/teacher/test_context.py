from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nlae.errors import NlaeError
from nlae.target import TinyTarget
from nlae.teacher import ContextTeacher
from nlae.teacher.base import Material, TeacherContext
from nlae.teacher.context import group_by_document
from nlae.teacher.describe import describe_contexts
from nlae.teacher.ending import describe_ending
from nlae.teacher.form import current_sentence, line_kind, register
from nlae.teacher.parse import parse
from nlae.teacher.predictions import Prediction, Predictor, next_words
from nlae.teacher.words import DocumentFrequencies, pick_distinct, same_word, stem, topic_words, words

PROSE = [
    "The harbour lay quiet under the morning fog. Three old fishing boats were tied to the quay, and the captain of "
    "the largest one walked slowly along the deck, counting the nets that the storm had torn. In 1924 his father had "
    "built it.",
    "A list is a mutable sequence. Its items may be of any type (numbers, strings, other lists), and its length can "
    "change. The method append() adds an item at the end; pop() removes the last item and returns it to the caller.",
    "“You said the train leaves at nine,” Anna whispered. Her brother shook his head. “That was the winter "
    "timetable,” he answered, and they ran across the square towards the station, past the bakery and the theatre.",
    "Bees visit flowers to gather nectar and pollen. While a bee drinks, grains of pollen stick to the hairs on its "
    "body and are carried to the next blossom. Orchards depend on them: without insects, most trees would stay empty.",
]
STYLES = {
    "short": {"form": "sentences", "max_sentences": 2},
    "paper": {"form": "sentences", "max_sentences": 5},
    "bullets": {"form": "bullets", "max_sentences": 4},
}


@pytest.fixture(scope="module")
def target() -> Any:
    return TinyTarget().load()


def material_of(target: Any, style: str = "short", max_tokens: int = 400) -> Material:
    prompt = SimpleNamespace(text="", style=STYLES[style], max_tokens=max_tokens)
    return Material(prompt=prompt, load_target=lambda: target, frequencies=lambda: DocumentFrequencies.fit(PROSE))  # type: ignore[arg-type]


def contexts_of(target: Any, first: int = 8, step: int = 1) -> list[TeacherContext]:
    found = []
    for document, text in enumerate(PROSE):
        ids = target.tokenizer.encode(text)
        for end in range(first, len(ids) + 1, step):
            prefix = target.tokenizer.decode(ids[:end], skip_special_tokens=True)
            found.append(TeacherContext(len(found), document, prefix, ids[:end]))
    return found


def describe(target: Any, contexts: list[TeacherContext], style: str = "short", **settings: Any) -> dict[int, str]:
    teacher = ContextTeacher(**settings)
    teacher.prepare(material_of(target, style))
    texts: dict[int, str] = {}
    teacher.describe(contexts, lambda row, text: texts.__setitem__(row, str(text)))
    return texts


@pytest.mark.parametrize("style", STYLES)
def test_no_key_word_comes_twice(target, style):
    for text in describe(target, contexts_of(target), style).values():
        counts = Counter(stem(word) for word in words(text) if len(word) > 3)
        assert not [word for word, count in counts.items() if count > 1], text


@pytest.mark.parametrize("style", STYLES)
def test_every_text_can_be_taken_apart(target, style):
    for tail in ("described", "verbatim", "none"):
        for text in describe(target, contexts_of(target, step=5), style, tail=tail).values():
            parsed = parse(text)
            assert not parsed.rest, text
            assert {"register", "ending"} - parsed.claims.keys() <= ({"ending"} if tail == "none" else set()), text
            assert ("quote" in parsed.claims) == (tail == "verbatim"), text


@pytest.mark.parametrize("style", STYLES)
def test_described_never_quotes_the_end(target, style):
    contexts = contexts_of(target)
    texts = describe(target, contexts, style)
    for context in contexts:
        said = [word.lower() for word in words(texts[context.row])]
        last = [word.lower() for word in words(context.text)][-2:]
        assert not [word for word in last if len(word) > 4 and word in said], (context.text[-60:], texts[context.row])
        pairs = set(pairwise(said))
        assert tuple(last) not in pairs


def test_verbatim_quotes_the_last_tokens_at_the_very_end(target):
    contexts = contexts_of(target, step=7)
    texts = describe(target, contexts, tail="verbatim", quote_tokens=4, max_words=60)
    for context in contexts:
        quote = " ".join(target.tokenizer.decode(context.input_ids[-4:]).split())
        assert texts[context.row].endswith(f"“{quote}”.")


def test_none_says_nothing_about_the_end(target):
    for text in describe(target, contexts_of(target, step=7), tail="none").values():
        assert "ends on" not in text
        assert "“" not in text


def test_sentences_are_closed_and_begin_with_a_capital(target):
    for text in describe(target, contexts_of(target)).values():
        assert text.endswith(".")
        assert all(part[:1].isupper() for part in text.rstrip(".").split(". ")), text


def test_bullets_are_lines(target):
    for text in describe(target, contexts_of(target, step=5), "bullets").values():
        assert all(line.startswith("- ") for line in text.split("\n"))


def test_two_runs_agree_and_batching_changes_nothing(target):
    contexts = contexts_of(target, step=3)
    assert describe(target, contexts) == describe(target, list(reversed(contexts)), batch_tokens=1)


def test_positions_differ(target):
    texts = describe(target, contexts_of(target))
    assert len(set(texts.values())) > 0.8 * len(
        texts
    )  # the tiny tokenizer cuts words into pieces that are described alike


@pytest.mark.parametrize(("style", "most"), [("short", 32), ("paper", 90), ("bullets", 34)])
def test_length_stays_below_the_cap(target, style, most):
    for text in describe(target, contexts_of(target, step=3), style).values():
        assert 4 <= len(text.split()) <= most


def test_length_respects_the_prompts_token_cap(target):
    teacher = ContextTeacher()
    teacher.prepare(material_of(target, max_tokens=60))
    texts: list[str] = []
    teacher.describe(contexts_of(target, step=5), lambda row, text: texts.append(str(text)))
    free = describe(target, contexts_of(target, step=5))
    size = [len(target.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    before = [len(target.tokenizer.encode(text, add_special_tokens=False)) for text in free.values()]
    assert sum(size) < sum(before)


@pytest.mark.parametrize("family", ["llama", "cohere", "gemma2", "granite"])
def test_predictions_are_those_of_the_full_model(family):
    target = TinyTarget(family=family).load()
    if family == "gemma2":
        target.model.config.final_logit_softcapping = 0.5  # far below the logits of a tiny model
    ids = target.tokenizer.encode(PROSE[0])[:30]
    seen: list[Prediction] = []
    Predictor(target, top=3).predict([(ids, [9, 29])], lambda index, found: seen.extend(found))
    for end, prediction in zip((10, 30), seen, strict=True):
        with torch.no_grad():
            logits_V = target.model(torch.tensor([ids[:end]])).logits[0, -1]
        probabilities = logits_V.softmax(-1).topk(3).values.tolist()
        assert prediction.probabilities == pytest.approx(probabilities, rel=1e-4)


def test_resume_describes_only_what_is_missing(target, tmp_path):
    contexts = contexts_of(target, step=11)
    whole = describe_contexts(ContextTeacher(), contexts, material_of(target), tmp_path / "whole.jsonl")
    describe_contexts(ContextTeacher(), contexts[:5], material_of(target), tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_bytes()
    resumed = describe_contexts(ContextTeacher(), contexts, material_of(target), tmp_path / "a.jsonl")
    assert resumed == whole
    assert (tmp_path / "a.jsonl").read_bytes().startswith(lines)


def test_unknown_tail_is_named():
    with pytest.raises(NlaeError, match=r"teacher\.tail='quoted'.*verbatim, described, none"):
        ContextTeacher(tail="quoted")


NOTHING = Prediction((" of",), (0.4,))


@pytest.mark.parametrize(
    ("text", "kind", "family"),
    [
        ("He came from the", "the definite article", "word"),
        ("It was built in", "the preposition of containment", "word"),
        ("They were quickly", "an adverb", "word"),
        ("All of the boats", "a plural noun", "word"),
        ("It was in October", "a month name", "word"),
        ("She lived with Anna", "a proper name", "word"),
        ("and then he argued", "a preterite speech verb", "word"),
        ("In the year 1924", "a year of the 20th century", "number"),
        ("He had 12", "a two-digit number", "number"),
        ("The end.", "a full stop", "stop"),
        ("First,", "a comma", "comma"),
        ("A call (", "an opening bracket", "mark"),
        ("One line\n", "a line break", "break"),
        ("One paragraph\n\n", "a blank line", "break"),
        ("def f():\n    ", "the indentation of a new line", "mark"),
    ],
)
def test_kinds_of_ending(text, kind, family):
    ending = describe_ending(text, NOTHING)
    assert (ending.kind, ending.family) == (kind, family)


def test_an_unfinished_word_or_number_is_told_by_the_prediction():
    assert describe_ending("It stood on the water", Prediction(("fall", " and"), (0.7, 0.2))).family == "fragment"
    assert describe_ending("In 19", Prediction(("24",), (0.9,))).kind == "the first digits of a number"


def test_next_words_merge_case_and_drop_pieces():
    found = next_words(Prediction((" the", "ing", " The", " boat", ","), (0.4, 0.2, 0.1, 0.1, 0.1)))
    assert found == [("the", 0.5), ("boat", 0.1)]


def test_words_and_stems():
    assert [stem(word) for word in ("boats", "walking", "walked", "cities")] == ["boat", "walk", "walk", "cit"]
    assert same_word("regulation", "regulate")
    assert not same_word("car", "carpet")
    assert pick_distinct(["boats", "Boat", "sea", "fog"], ["seas"], 2) == ["boats", "fog"]


def test_topics_are_frequent_here_and_rare_elsewhere():
    frequencies = DocumentFrequencies.fit(["common words here", "common talk", "common lobster lobster"])
    assert topic_words("A common lobster met a common lobster.", frequencies)[0] == "lobster"
    assert frequencies.weight("lobster") > frequencies.weight("common")


def test_later_topics_outweigh_earlier_ones():
    text = "The castle. " + "It was so. " * 100 + "The windmill."
    assert topic_words(text, DocumentFrequencies(0, {}, {}), half_life=20)[0].lower() == "windmill"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Title\n\n# Heading one", "heading"),
        ("Things:\n- apples", "list"),
        (">>> x = 1", "interactive session"),
        ("import os\nx = 1", "source code"),
        ("Just prose", None),
    ],
)
def test_kinds_of_line(text, kind):
    assert line_kind(text) == kind


def test_register_and_sentence():
    assert register(PROSE[1]) == "technical reference"
    assert register(PROSE[2]) == "dialogue"
    sentence = current_sentence("First one. The second (with a")
    assert sentence.words == ("The", "second", "with", "a")
    assert sentence.open_bracket
    assert current_sentence("It ends here.").words == ("It", "ends", "here")


def test_documents_share_one_forward():
    def context(row: int, document: int, ids: list[int]) -> TeacherContext:
        return TeacherContext(row, document, "", ids)

    groups = group_by_document([context(0, 1, [1, 2, 3]), context(1, 1, [1]), context(2, 2, [1])])
    assert [[c.row for c in group] for group in groups] == [[1, 0], [2]]
