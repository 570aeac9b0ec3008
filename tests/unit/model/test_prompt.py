"""Prompts as token ids: one slot, one BOS, a suffix that nothing moves."""

from dataclasses import replace
from pathlib import Path

import pytest

from nlae.config.build import build
from nlae.config.compose import compose_plain
from nlae.errors import NlaeError
from nlae.model.prompt import CLOSE_TAG, OPEN_TAG, Prompt, encode_raw, without_tags
from nlae.target import TinyTarget

CONF = Path(__file__).parents[3] / "conf" / "prompt"
PROMPT = Prompt("p", "Say what it holds: <concept>{slot}</concept>", "About: {explanation}\nNext:", "describe")


def shipped(name: str) -> Prompt:
    built = build(compose_plain([f"prompt={name}"]).config["prompt"], "prompt")
    assert isinstance(built, Prompt)
    return built


@pytest.fixture(scope="module")
def tokenizer():
    return TinyTarget().load_tokenizer()


@pytest.fixture(scope="module")
def raw_tokenizer():
    return TinyTarget(chat=False).load_tokenizer()


@pytest.mark.parametrize("name", sorted(p.stem for p in CONF.glob("*.yaml")))
@pytest.mark.parametrize("chat", [True, False])
def test_shipped_prompts(name, chat):
    tokenizer = TinyTarget(chat=chat).load_tokenizer()
    prompt = shipped(name)
    assert prompt.name == name
    rendered = prompt.render_verbalizer(tokenizer)
    text = tokenizer.decode(rendered.input_ids)
    assert text.endswith(OPEN_TAG)
    assert ("<|im_start|>" in text) == chat
    assert text.count(tokenizer.decode([rendered.slot_id])) == 1
    ids, mask = prompt.render_reconstructor(tokenizer, ["It is a list of towns.", "x " * 400], 160)
    assert ids.shape == (2, 160)
    suffix = prompt.reconstructor_suffix_ids(tokenizer)
    assert len(suffix) >= 1
    for row, seen in zip(ids, mask, strict=True):
        assert tuple(row[: int(seen.sum())][-len(suffix) :].tolist()) == suffix


@pytest.mark.parametrize("name", ["short", "bullets"])
def test_little_follows_the_slot_in_the_short_forms(tokenizer, name):
    rendered = shipped(name).render_verbalizer(tokenizer)
    tail = tokenizer.decode(rendered.suffix_ids)
    assert tail == "</concept><|im_end|>\n<|im_start|>assistant\n<explanation>"


def test_parts_add_up(tokenizer):
    rendered = PROMPT.render_verbalizer(tokenizer)
    assert rendered.input_ids == (*rendered.prefix_ids, rendered.slot_id, *rendered.suffix_ids)
    assert rendered.input_ids[rendered.slot] == rendered.slot_id == tokenizer.convert_tokens_to_ids("㊗")
    user = "<|bos|><|im_start|>user\nSay what it holds: <concept>㊗</concept><|im_end|>\n"
    assert tokenizer.decode(rendered.input_ids) == user + "<|im_start|>assistant\n<explanation>"


def test_trap_06_bos_exactly_once(tokenizer, raw_tokenizer):
    """The template brings its own; raw text is tokenised with special tokens, and neither gets a second."""
    bos = tokenizer.bos_token_id
    for each in (tokenizer, raw_tokenizer):
        ids = PROMPT.render_verbalizer(each).input_ids
        assert ids[0] == bos
        assert ids.count(bos) == 1
        rows, _ = PROMPT.render_reconstructor(each, ["It is long."], 64)
        assert rows[0, 0] == bos
        assert (rows == bos).sum() == 1
    without = TinyTarget().load_tokenizer()
    without.chat_template = without.chat_template.replace("{{ bos_token }}", "")
    assert PROMPT.render_verbalizer(without).input_ids[0] == bos  # the tokenizer itself would add one
    assert encode_raw(tokenizer, "<|bos|>The text").count(bos) == 1


def test_trap_08_padding_stands_on_the_right_and_is_masked(tokenizer):
    tokenizer.padding_side = "left"
    ids, mask = PROMPT.render_reconstructor(tokenizer, ["one", "one two three four five"], 64)
    tokenizer.padding_side = "right"
    alone, _ = PROMPT.render_reconstructor(tokenizer, ["one"], 64)
    n = int(mask[0].sum())
    assert mask[0].tolist() == [1] * n + [0] * (mask.shape[1] - n)
    assert ids[0, :n].tolist() == alone[0].tolist()


def test_trap_09_marker_must_be_one_token_once(tokenizer):
    with pytest.raises(NlaeError, match=r"marker='zzq' is \d tokens.*prompt.marker=null"):
        replace(PROMPT, marker="zzq").render_verbalizer(tokenizer)
    with pytest.raises(NlaeError, match="occurs 2 times"):
        replace(PROMPT, verbalizer="㊗ is the marker: {slot}.", marker="㊗").render_verbalizer(tokenizer)
    # "the" is one token, but not behind a space
    with pytest.raises(NlaeError, match="occurs 0 times"):
        replace(PROMPT, verbalizer="A {slot} B", marker="e").render_verbalizer(tokenizer)


def test_trap_09_neighbours_are_known(tokenizer):
    rendered = PROMPT.render_verbalizer(tokenizer)
    left, right = rendered.neighbours
    assert tokenizer.decode([left, rendered.slot_id, right]) == ">㊗<"


def test_marker_is_chosen_where_the_usual_ones_are_not_tokens():
    tokenizer = TinyTarget().load_tokenizer()
    plain = replace(PROMPT, verbalizer="㊗ stands for nothing. <concept>{slot}</concept>")
    rendered = plain.render_verbalizer(tokenizer)
    assert rendered.input_ids.count(rendered.slot_id) == 1
    assert rendered.slot_id != tokenizer.convert_tokens_to_ids("㊗")
    assert rendered.slot_id not in tokenizer.all_special_ids


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verbalizer": "no slot"}, "prompt.verbalizer holds {slot} 0 times"),
        ({"verbalizer": "{slot} and {slot}"}, "prompt.verbalizer holds {slot} 2 times"),
        ({"raw_verbalizer": "none"}, "prompt.raw_verbalizer holds {slot} 0 times"),
        ({"reconstructor": "none"}, "prompt.reconstructor holds {explanation} 0 times"),
        ({"reconstructor": "ends in {explanation}"}, "add a fixed suffix"),
    ],
)
def test_templates_without_their_slot(changes, says):
    with pytest.raises(NlaeError) as error:
        replace(PROMPT, **changes)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("generated", "parsed"),
    [
        (" It is long. </explanation> more", ("It is long.", True)),
        ("It is cut", ("It is cut", False)),
        ("<explanation>\nGiven twice.</explanation>", ("Given twice.", True)),
        ("</explanation>", ("", True)),
        ("", ("", False)),
        ("a</explanation>b</explanation>", ("a", True)),
    ],
)
def test_parse(generated, parsed):
    assert PROMPT.parse(generated) == parsed


@pytest.mark.parametrize("text", ["It says </explanation> here.", "a <explanation>b", "</expl</explanation>anation>c"])
def test_a_text_that_holds_the_tags_ends_where_it_ends(text):
    written = PROMPT.response(text)
    assert written.count("</explanation>") == 1
    assert written.endswith("</explanation>")
    assert PROMPT.parse(written) == (without_tags(text).strip(), True)


def test_response_and_parse_are_inverse():
    for prompt in (PROMPT, replace(PROMPT, prefill="")):
        written = prompt.response(" It is long.\n")
        assert written.endswith("It is long." + CLOSE_TAG)
        assert written.startswith(OPEN_TAG) == (prompt.prefill == "")
        assert prompt.parse(written) == ("It is long.", True)


def test_suffix_survives_odd_explanations_and_truncation(tokenizer):
    suffix = PROMPT.reconstructor_suffix_ids(tokenizer)
    odd = ["", "<", "ends in\n", "About: it\nNext:", "é" * 200, "a\n\n\n", "<explanation>", "word " * 100]
    ids, mask = PROMPT.render_reconstructor(tokenizer, odd, 40)
    assert ids.shape[1] <= 40
    for row, seen in zip(ids, mask, strict=True):
        assert tuple(row[: int(seen.sum())][-len(suffix) :].tolist()) == suffix
    long = tokenizer.decode(ids[-1])
    assert long.startswith("<|bos|>About: word word")
    assert long.endswith("word\nNext:")


def test_no_room_for_the_template(tokenizer):
    with pytest.raises(NlaeError, match=r"reconstructor.max_tokens=4 leaves no room"):
        PROMPT.render_reconstructor(tokenizer, ["word " * 20], 4)
