"""What the verbalizer and the reconstructor are given to read, and how an explanation is cut out of what is written.

Everything here works on token ids. The marker that stands in the verbalizer's prompt must be one token that occurs
once; anything else stops with an error, since an injection that misses its slot goes unnoticed for a whole run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nlae.errors import NlaeError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

OPEN_TAG, CLOSE_TAG = "<explanation>", "</explanation>"
# rare in text, one token in some vocabulary; the first that fits is taken
MARKERS = ("㊗", "㈎", "㊙", "ⵣ", "◬", "⌘", "※", "§", "¤", "‡", "†", "¬", "¶", "◆", "☆", "ß")
_PROBES = ("a", "It ends here.", "a list:\n- one\n- two", "“quoted”", "7")


@dataclass(frozen=True)
class VerbalizerPrompt:
    """The verbalizer's prompt as token ids: prefix, one slot, suffix."""

    prefix_ids: tuple[int, ...]
    slot_id: int
    suffix_ids: tuple[int, ...]

    @property
    def input_ids(self) -> tuple[int, ...]:
        """The whole prompt, the marker's own id in the slot."""
        return (*self.prefix_ids, self.slot_id, *self.suffix_ids)

    @property
    def slot(self) -> int:
        """Position of the slot."""
        return len(self.prefix_ids)

    @property
    def neighbours(self) -> tuple[int | None, int | None]:
        """Ids to the left and right of the slot; they tell it from a marker that a text contains."""
        return (self.prefix_ids or (None,))[-1], (self.suffix_ids or (None,))[0]


@dataclass(frozen=True)
class Prompt:
    """Templates of both roles, and the form that is asked of a teacher.

    Attributes:
        name: Name in configs and reports.
        verbalizer: User message with exactly one `{slot}`; `{site}` stands for the place that is read, in words.
        reconstructor: Raw text with exactly one `{explanation}`; it ends in a fixed suffix.
        text: Instructions for a teacher that is a language model; the text prefix follows them.
        style: Hints for the `context` teacher.
        prefill: Start of the assistant's turn that is given rather than generated.
        marker: The slot's token as text; null lets the tokenizer decide.
        raw_verbalizer: The verbalizer's text for tokenizers without a chat template.
        max_tokens: Most tokens generated, closing tag included.
    """

    name: str
    verbalizer: str
    reconstructor: str
    text: str
    style: dict[str, Any] = field(default_factory=dict)
    prefill: str = OPEN_TAG
    marker: str | None = None
    raw_verbalizer: str | None = None
    max_tokens: int = 64

    def __post_init__(self) -> None:
        """Refuse templates without their one slot."""
        _need_one(self.verbalizer, "{slot}", "prompt.verbalizer")
        _need_one(self.reconstructor, "{explanation}", "prompt.reconstructor")
        if self.raw_verbalizer is not None:
            _need_one(self.raw_verbalizer, "{slot}", "prompt.raw_verbalizer")
        if not self.reconstructor.split("{explanation}")[1]:
            raise NlaeError("prompt.reconstructor ends in {explanation}; add a fixed suffix after it, where it is read")

    @property
    def names_site(self) -> bool:
        """Whether the verbalizer is told which site a vector comes from."""
        return "{site}" in self.verbalizer

    def at(self, label: str) -> "Prompt":
        """The same prompt with `{site}` in both roles' templates filled in."""
        raw = self.raw_verbalizer
        return replace(
            self,
            verbalizer=self.verbalizer.replace("{site}", label),
            reconstructor=self.reconstructor.replace("{site}", label),
            raw_verbalizer=raw if raw is None else raw.replace("{site}", label),
        )

    def render_verbalizer(self, tokenizer: "PreTrainedTokenizerBase") -> VerbalizerPrompt:
        """The verbalizer's prompt for this tokenizer, with BOS once if it has one.

        Raises:
            NlaeError: The marker is not one token, or not found exactly once.
        """
        if self.marker is not None:
            return self._with_marker(tokenizer, self.marker)
        for marker in _candidates(tokenizer):
            try:
                return self._with_marker(tokenizer, marker)
            except NlaeError:
                continue
        raise NlaeError("prompt.marker: no rare one-token symbol found for this tokenizer; set prompt.marker to one")

    def _with_marker(self, tokenizer: "PreTrainedTokenizerBase", marker: str) -> VerbalizerPrompt:
        marker_ids = tokenizer.encode(marker, add_special_tokens=False)
        if len(marker_ids) != 1:
            raise NlaeError(
                f"prompt.marker={marker!r} is {len(marker_ids)} tokens for this tokenizer, not one; "
                "set prompt.marker=null to have one chosen"
            )
        ids = self._verbalizer_ids(tokenizer, marker)
        if ids.count(marker_ids[0]) != 1:
            raise NlaeError(
                f"prompt.marker={marker!r} occurs {ids.count(marker_ids[0])} times in the tokenised prompt, not once; "
                "choose another marker or put a space around {slot}"
            )
        at = ids.index(marker_ids[0])
        return VerbalizerPrompt(tuple(ids[:at]), marker_ids[0], tuple(ids[at + 1 :]))

    def _verbalizer_ids(self, tokenizer: "PreTrainedTokenizerBase", marker: str) -> list[int]:
        if not has_chat_template(tokenizer):
            text = self.raw_verbalizer if self.raw_verbalizer is not None else self.verbalizer + "\n"
            return encode_raw(tokenizer, text.replace("{slot}", marker) + self.prefill)
        message = [{"role": "user", "content": self.verbalizer.replace("{slot}", marker)}]
        chat = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **_NO_THINKING)
        ids: list[int] = tokenizer.encode(str(chat) + self.prefill, add_special_tokens=False)
        bos = starting_id(tokenizer)
        return ids if bos is None or ids[0] == bos else [bos, *ids]

    def response(self, explanation: str) -> str:
        """What the verbalizer learns to write after the prompt."""
        opened = "" if self.prefill.rstrip().endswith(OPEN_TAG) else OPEN_TAG
        return f"{opened}{without_tags(explanation).strip()}{CLOSE_TAG}"

    def parse(self, generated: str) -> tuple[str, bool]:
        """The explanation in what was generated, stripped, and whether it was closed."""
        body, closed, _ = generated.partition(CLOSE_TAG)
        return body.rpartition(OPEN_TAG)[2].strip(), bool(closed)

    def render_reconstructor(
        self, tokenizer: "PreTrainedTokenizerBase", explanations: Sequence[str], max_length: int
    ) -> "tuple[Tensor, Tensor]":
        """Token ids and mask of the reconstructor's prompts, int64 of shape (B, T), padded on the right.

        The last real token of every row is the suffix's last; a text that is too long loses tokens from its own end.
        """
        from nlae.target.model import pad_id, pad_right

        head, tail = self.reconstructor.split("{explanation}")
        tail_ids: list[int] = tokenizer.encode(tail, add_special_tokens=False)
        room = max_length - len(tail_ids)
        if room < len(encode_raw(tokenizer, head)):
            raise NlaeError(
                f"reconstructor.max_tokens={max_length} leaves no room beside the template of "
                f"prompt={self.name}; raise it"
            )
        fixed = list(self.reconstructor_suffix_ids(tokenizer))
        rows = []
        for text in explanations:
            ids = encode_raw(tokenizer, head + text + tail)
            if len(ids) > max_length or ids[-len(fixed) :] != fixed:
                ids = [*encode_raw(tokenizer, head + text)[:room], *tail_ids]
            rows.append(ids)
        return pad_right(rows, pad_id(tokenizer))

    def reconstructor_suffix_ids(self, tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
        """The ids in which every reconstructor prompt ends, whatever the explanation.

        Raises:
            NlaeError: The template's end merges with the explanation, so that nothing is fixed.
        """
        head, tail = self.reconstructor.split("{explanation}")
        fixed = list(tokenizer.encode(tail, add_special_tokens=False))
        for probe in _PROBES:
            ids = encode_raw(tokenizer, head + probe + tail)
            while fixed and ids[-len(fixed) :] != fixed:
                fixed.pop(0)
        if not fixed:
            raise NlaeError("prompt.reconstructor has no token of its own at its end; add a word after {explanation}")
        return tuple(fixed)


# reasoning models would else open a thinking block first; templates without the switch ignore it
_NO_THINKING: dict[str, Any] = {"enable_thinking": False}


def has_chat_template(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether prompts go through a chat template; without one the raw form is used."""
    return bool(getattr(tokenizer, "chat_template", None))


def starting_id(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The BOS id that this tokenizer puts in front of raw text, or None if it puts none."""
    ids = tokenizer.encode("a", add_special_tokens=True)
    return tokenizer.bos_token_id if ids and ids[0] == tokenizer.bos_token_id else None


def encode_raw(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of raw text with the tokenizer's own BOS, never twice, and without an end token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=True)
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        ids = ids[1:]
    plain_ends = tokenizer.encode(text, add_special_tokens=False)[-1:]
    return ids[:-1] if ids and [ids[-1]] != plain_ends and ids[-1] == tokenizer.eos_token_id else ids


def without_tags(text: str) -> str:
    """`text` without the tags around explanations, as a quoted corpus may hold them: one inside would end it there."""
    while OPEN_TAG in text or CLOSE_TAG in text:
        text = text.replace(OPEN_TAG, "").replace(CLOSE_TAG, "")
    return text


def _need_one(template: str, slot: str, where: str) -> None:
    if template.count(slot) != 1:
        raise NlaeError(f"{where} holds {slot} {template.count(slot)} times; write it exactly once")


def _candidates(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Markers to try: rare symbols, then tokens that the vocabulary reserves, then its last entries."""
    reserved = [
        token
        for token in tokenizer.get_vocab()
        if token.startswith("<") and any(word in token for word in ("unused", "reserved", "repo_name", "extra_"))
    ]
    last = [
        str(tokenizer.decode([index])).strip() for index in range(len(tokenizer) - 1, max(0, len(tokenizer) - 200), -1)
    ]
    special = set(tokenizer.all_special_tokens) - set(reserved)
    return [token for token in (*MARKERS, *sorted(reserved), *last) if token and token not in special]
