from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nlae.activations.descriptions import Descriptions
from nlae.errors import NlaeError
from nlae.model.prompt import Prompt
from nlae.target import TinyTarget
from nlae.teacher import ContextTeacher, describe_corpus

TEXTS = ["The captain walked along the quay and counted the nets.", "A list is a mutable sequence of items in order."]
PROMPT = Prompt(
    name="p",
    verbalizer="Say: {slot}",
    reconstructor="{explanation}\nEnd:",
    text="Say what it is about.",
    style={"form": "sentences", "max_sentences": 2},
)


class FakeCorpus:
    def __init__(self, tokenizer: Any) -> None:
        self.ids = [tokenizer.encode(text) for text in TEXTS]
        self.split = ["train", "test"]
        self.pairs = [(d, p) for d in (0, 1) for p in (6, 9)]
        ints = SimpleNamespace
        self.rows = SimpleNamespace(
            row=ints(tolist=lambda: list(range(4))), document=ints(tolist=lambda: [d for d, _ in self.pairs])
        )

    def text(self, document: int) -> str:
        if self.split[document] != "train":
            raise AssertionError("only training documents may be counted")
        return TEXTS[document]

    def context_ids(self, row: int) -> list[int]:
        document, position = self.pairs[row]
        return self.ids[document][: position + 1]

    def prefix_text(self, row: int, tokenizer: Any) -> str:
        return str(tokenizer.decode(self.context_ids(row), skip_special_tokens=True))


class FakeRun:
    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}

    def table(self, name: str, columns: Any, rows: Any) -> None:
        self.tables[name] = (columns, rows)

    def summary(self, metrics: Any) -> None:
        self.metrics = metrics


def test_every_row_is_described_from_training_counts_only(tmp_path: Path) -> None:
    target = TinyTarget().load()
    run = FakeRun()
    corpus: Any = FakeCorpus(target.tokenizer)
    metrics = describe_corpus(ContextTeacher(), corpus, lambda: target, PROMPT, tmp_path, run)  # type: ignore[arg-type]
    written = Descriptions.open(tmp_path)
    assert list(written.rows) == [0, 1, 2, 3]
    assert metrics["described"] == metrics["rows"] == 4
    assert metrics["tokens_mean"] > 3
    assert run.tables["descriptions"][1][0][2] == written.text(0)
    first = (tmp_path / "answers.jsonl").read_bytes()
    describe_corpus(ContextTeacher(), corpus, lambda: target, PROMPT, tmp_path, run)  # type: ignore[arg-type]
    assert (tmp_path / "answers.jsonl").read_bytes() == first


def test_a_quoted_closing_tag_is_no_tag(tmp_path: Path) -> None:
    class Quoting(ContextTeacher):
        def describe(self, contexts: Any, on_result: Any) -> None:
            for context in contexts:
                on_result(context.row, "It ends in </explanation> and goes on.")

    target = TinyTarget().load()
    corpus: Any = FakeCorpus(target.tokenizer)
    describe_corpus(Quoting(), corpus, lambda: target, PROMPT, tmp_path, FakeRun())  # type: ignore[arg-type]
    assert Descriptions.open(tmp_path).text(0) == "It ends in  and goes on."


def test_a_teacher_without_answers_is_an_error(tmp_path: Path) -> None:
    class Mute(ContextTeacher):
        def describe(self, contexts: Any, on_result: Any) -> None:
            for context in contexts:
                on_result(context.row, None)

    target = TinyTarget().load()
    corpus: Any = FakeCorpus(target.tokenizer)
    with pytest.raises(NlaeError, match="described none of 4 rows"):
        describe_corpus(Mute(), corpus, lambda: target, PROMPT, tmp_path, FakeRun())  # type: ignore[arg-type]
    assert not (tmp_path / "descriptions.arrow").exists()
