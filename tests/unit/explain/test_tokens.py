import pytest

from nlae.errors import NlaeError
from nlae.explain.inputs import ChatInput, TextInput
from nlae.explain.tokens import TEMPLATE, encode, extend, select
from nlae.target import TinyTarget

CHAT = ChatInput("chat", ({"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat on"}))


@pytest.mark.parametrize("text", ["the cat sat", "  two\n\nlines ", "🙂👩‍👩‍👧 שלום", "<script>alert(1)</script>"])
def test_pieces_join_to_the_text(tokenizer, text: str) -> None:
    passage = encode(TextInput("t", text), tokenizer)
    assert "".join(passage.pieces) == text
    assert len(passage.pieces) == len(passage.ids)
    assert list(passage.ids) == tokenizer(text)["input_ids"]


def test_a_text_that_begins_with_the_start_token_has_it_once() -> None:
    tokenizer = TinyTarget().load_tokenizer()
    plain = encode(TextInput("t", "the cat"), tokenizer)
    begun = encode(TextInput("t", f"{tokenizer.bos_token}the cat"), tokenizer)
    assert begun.ids == plain.ids
    assert begun.pieces == plain.pieces
    assert plain.ids[0] == tokenizer.bos_token_id


def test_a_chat_names_roles_and_the_template_preamble(tokenizer) -> None:
    passage = encode(CHAT, tokenizer)
    text = "".join(passage.pieces)
    assert [turn.role for turn in passage.turns] == [TEMPLATE, "user", "assistant"]
    blocks = ["".join(passage.pieces[t.start : t.end]) for t in passage.turns]
    assert blocks[0] == "<|im_start|>system\nBe kind.<|im_end|>\n"
    assert blocks[1] == "<|im_start|>user\nthe cat<|im_end|>\n"
    assert "".join(blocks) == text
    assert list(passage.ids) == tokenizer.apply_chat_template(list(CHAT.messages), return_dict=False)


def test_a_template_that_refuses_parts_still_gets_turns(tokenizer) -> None:
    strict = tokenizer.__class__(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        chat_template="{% if messages|length != 2 %}{{ raise_exception('pairs only') }}{% endif %}"
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}",
    )
    passage = encode(CHAT, strict)
    assert ["".join(passage.pieces[t.start : t.end]) for t in passage.turns] == [
        "user: the cat<|im_end|>",
        "assistant: sat on<|im_end|>",
    ]
    with pytest.raises(NlaeError, match="pairs only"):
        encode(ChatInput("chat", CHAT.messages[:1]), strict)


def test_no_chat_template_is_a_readable_error(tokenizer) -> None:
    bare = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(NlaeError, match="no chat template"):
        encode(CHAT, bare)


def test_generated_tokens_are_the_assistants(tokenizer) -> None:
    asked = encode(ChatInput("chat", CHAT.messages[:1]), tokenizer, answer=True)
    assert "".join(asked.pieces).endswith("<|im_start|>assistant\n")
    new = tokenizer("the 🙂 dog")["input_ids"]
    passage = extend(asked, new, tokenizer)
    assert passage.turns[-1].generated
    assert "".join(passage.pieces).endswith("assistant\nthe 🙂 dog")
    assert passage.turn_of(len(passage.ids) - 1).role == "assistant"


def test_select(tokenizer) -> None:
    passage = encode(TextInput("t", "the cat sat on the mat"), tokenizer)
    n = len(passage.ids)
    assert select(passage, "all") == list(range(n))
    assert select(passage, "all", stride=3) == list(range(0, n, 3))
    assert select(passage, "-1") == select(passage, -1) == [n - 1]
    assert select(passage, [-1, 0, 0]) == [0, n - 1]
    assert select(passage, "last_of_turn") == [n - 1]
    chosen = select(passage, "c.t|mat")
    assert "".join(passage.pieces[i] for i in chosen).split() == ["cat", "mat"]


def test_last_of_turn_is_the_closing_marker_not_the_line_break(tokenizer) -> None:
    passage = encode(CHAT, tokenizer)
    assert [passage.pieces[i] for i in select(passage, "last_of_turn")] == ["<|im_end|>", "<|im_end|>"]


@pytest.mark.parametrize(
    ("tokens", "message"), [("99", "tokens, so"), ("(", "regular expression"), ("zebra", "matches nothing")]
)
def test_bad_choices(tokenizer, tokens: str, message: str) -> None:
    with pytest.raises(NlaeError, match=message):
        select(encode(TextInput("t", "the cat"), tokenizer), tokens)


def test_stride_below_one(tokenizer) -> None:
    with pytest.raises(NlaeError, match="stride=0"):
        select(encode(TextInput("t", "the cat"), tokenizer), "all", stride=0)
