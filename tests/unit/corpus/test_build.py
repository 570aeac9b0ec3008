"""A corpus is a function of text, settings and tokenizer."""

import dataclasses
import json
from collections import Counter

import pytest

from invented import WORDS, Invented
from nlae.corpus import Corpus, FilesCorpus, StdlibCorpus, build_corpus
from nlae.errors import NlaeError
from nlae.target import TinyTarget

SIZES = {"works": 12, "sentences": 30, "longer": 0}


class Placed(Invented):
    """Twelve works of thirty sentences, no two of them alike."""

    def sentence(self, work, k):
        return f"The {WORDS[(work + k) % 8]} of place {work} met the {WORDS[(3 * k) % 8]} number {k}."


@pytest.fixture(scope="module")
def tokenizer():
    return TinyTarget().load_tokenizer()


def build(tmp_path, tokenizer, name="c", **settings):
    source = Placed(**{**SIZES, "max_tokens": 64, "min_tokens": 8, **settings})
    metrics = build_corpus(source, tokenizer, tmp_path / name)
    return Corpus.open(tmp_path / name), metrics


def test_corpus_is_consistent(tmp_path, tokenizer):
    corpus, metrics = build(tmp_path, tokenizer)
    rows = corpus.rows
    assert rows.row.tolist() == list(range(len(rows)))
    assert len(set(corpus.id)) == len(corpus)
    split_of_work = dict(zip(corpus.source, corpus.split, strict=True))
    assert Counter(split_of_work.values()) == {"train": 9, "val": 1, "test": 2}
    for row in range(len(rows)):
        document, position = rows.document[row], rows.position[row]
        context = corpus.context_ids(row)
        assert context == corpus.input_ids(document)[: position + 1]
        assert context[-1] == rows.token_id[row]
        assert rows.split[row] == corpus.split[document] == split_of_work[corpus.source[document]]
        assert corpus.text(document).startswith(corpus.prefix_text(row, tokenizer))
    assert metrics["rows"] == len(rows) == sum(metrics[f"rows_{s}"] for s in ("train", "val", "test"))
    assert metrics["rows_test_long"] > 0
    assert rows.row.tolist() == list(range(len(rows)))
    assert not set(corpus.document_hashes("train")) & set(corpus.document_hashes("test"))


def test_building_twice_gives_the_same_bytes(tmp_path, tokenizer):
    for name in ("a", "b"):
        build(tmp_path, tokenizer, name)
    for file in ("documents.arrow", "rows.arrow"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    build(tmp_path, tokenizer, "c", seed=1)
    assert (tmp_path / "a" / "rows.arrow").read_bytes() != (tmp_path / "c" / "rows.arrow").read_bytes()


def test_max_documents_spans_all_works(tmp_path, tokenizer):
    corpus, _ = build(tmp_path, tokenizer, max_documents=12)
    assert sorted(corpus.source) == sorted(f"work{k}" for k in range(12))


def test_a_passage_keeps_its_positions_when_others_come_and_go(tmp_path, tokenizer):
    def positions(corpus):
        found = {}
        for document, position in zip(corpus.rows.document, corpus.rows.position, strict=True):
            found.setdefault(corpus.id[document], []).append(int(position))
        return found

    few, many = (positions(build(tmp_path, tokenizer, str(n), max_documents=n)[0]) for n in (20, 60))
    assert set(few) < set(many)
    assert all(many[name] == places for name, places in few.items())


def test_split_by_document_serves_one_long_text(tmp_path, tokenizer):
    with pytest.raises(NlaeError, match="split_by=document"):
        build(tmp_path, tokenizer, works=1)
    corpus, _ = build(tmp_path, tokenizer, works=1, split_by="document")
    assert corpus.source == corpus.id
    assert set(corpus.split) == {"train", "val", "test"}


def test_short_documents_are_counted_or_an_error(tmp_path, tokenizer):
    _, metrics = build(tmp_path, tokenizer, min_tokens=52)
    assert metrics["short_documents"] > 0
    with pytest.raises(NlaeError, match=r"corpus\.min_tokens=64"):
        build(tmp_path, tokenizer, sentences=1, min_tokens=64)


def _lines(path, count, broken=()):
    text = "A river of number {} runs past the town and down to the sea. " * 3
    rows = [json.dumps({"text": text.replace("{}", str(k)), "source": f"w{k % 40}"}) for k in range(count)]
    for k in broken:
        rows[k] = "{oops"
    path.write_text("\n".join(rows))
    return path


def test_a_broken_record_is_counted_and_named_and_many_are_an_error(tmp_path, tokenizer, caplog):
    path = _lines(tmp_path / "j.jsonl", 200, [150])
    metrics = build_corpus(FilesCorpus(paths=[str(path)], min_tokens=8), tokenizer, tmp_path / "made")
    assert metrics["broken_records"] == 1
    assert metrics["documents"] >= 199
    assert f"{path}:151 is left out: no JSON" in caplog.text
    path = _lines(tmp_path / "k.jsonl", 200, [150, 160, 170])
    with pytest.raises(NlaeError, match=r"k\.jsonl:151: no JSON.*3 of 200 records.*corpus\.max_broken_share") as caught:
        build_corpus(FilesCorpus(paths=[str(path)], min_tokens=8), tokenizer, tmp_path / "other")
    assert "\n" not in str(caught.value)
    made = FilesCorpus(paths=[str(path)], min_tokens=8, max_broken_share=0.02)
    assert build_corpus(made, tokenizer, tmp_path / "third")["broken_records"] == 3


def test_a_chat_that_the_template_refuses_is_a_broken_record(tmp_path):
    tokenizer = TinyTarget().load_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    path = tmp_path / "chat.jsonl"
    path.write_text('{"messages": [{"role": "system", "content": "Be brief."}]}\n' * 4)
    with pytest.raises(NlaeError, match=r"the chat template refuses these messages .*4 of 4 records"):
        build_corpus(FilesCorpus(paths=[str(path)]), tokenizer, tmp_path / "made")


def test_copies_are_dropped_and_near_duplicates_kept_together(tmp_path, tokenizer):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Twins(Placed):
        def documents(self):
            for document in super().documents():
                yield document
                yield dataclasses.replace(document, id=document.id + "copy", source=document.source + "copy")
                near = document.text.replace("number 7.", "number seven.")
                yield dataclasses.replace(document, id=document.id + "near", source=document.source + "near", text=near)

    source = Twins(**{**SIZES, "sentences": 10}, max_tokens=256, min_tokens=8, near_duplicates=0.5)
    metrics = build_corpus(source, tokenizer, tmp_path)
    corpus = Corpus.open(tmp_path)
    split_of = dict(zip(corpus.source, corpus.split, strict=True))
    assert metrics["copies"] == 12
    assert metrics["near_duplicate_pairs"] >= 12
    for work in range(12):
        assert (
            len(
                {
                    split
                    for name, split in split_of.items()
                    if name.startswith(f"work{work}") and not name[len(f"work{work}") :][:1].isdigit()
                }
            )
            == 1
        )


def test_stdlib_gives_enough_test_works_for_intervals(tmp_path, tokenizer):
    metrics = build_corpus(StdlibCorpus(max_documents=400, near_duplicates=None), tokenizer, tmp_path)
    assert metrics["works_test"] >= 30
    assert metrics["rows_test_long"] >= 50


def test_missing_and_truncated_files_are_named(tmp_path, tokenizer):
    with pytest.raises(NlaeError, match=r"documents\.arrow is missing.*nlae corpus"):
        Corpus.open(tmp_path)
    build(tmp_path, tokenizer)
    path = tmp_path / "c" / "rows.arrow"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(NlaeError, match=r"rows\.arrow is truncated.*nlae corpus"):
        Corpus.open(tmp_path / "c")
