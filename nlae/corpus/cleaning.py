"""Turning marked-up or tokenised text into fluent prose.

A line-by-line heuristic and no parser: what looks like code, a table or grammar is left out rather than repaired.
"""

from __future__ import annotations

import re

_ROLE = re.compile(r":[a-zA-Z:.+-]+:`~?!?([^`]*)`")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}")
_TICKS = re.compile(r"`([^`]+)`_{0,2}")
_STRONG = re.compile(r"(?<![\w*])(\*{1,2})([^\s*](?:[^*]*[^\s*])?)\1(?![\w*])")
_BULLET = re.compile(r"^\s*(?:[*+•-]|#\.|\d+[.)])\s+")
_FIELD = re.compile(r"^\s*(?:\.\. |:\w+|@\w+)")
_RULE = re.compile(r"^\s*([=*~^+#\"'`-])\1{2,}\s*$")
_CODE = re.compile(r">>>|\.\.\. |::=|->|==|[{}\\|]|\w\(\w*=|^\s*(?:def|class|import|from|for|if|return)\b.*:?$")
_WORD = re.compile(r"[A-Za-z]{2,}")


def lines_of(text: str) -> list[str]:
    """Lines as files have them: form feeds, U+2028 and the like stay in theirs, unlike with `str.splitlines`."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def prose(text: str) -> str:
    """The paragraphs of `text` that read as English, without reStructuredText markup, separated by blank lines."""
    kept: list[str] = []
    for block in re.split(r"\n\s*\n", text.expandtabs()):
        kept.extend(paragraph for item in _items(block) if (paragraph := _paragraph(item)))
    return "\n\n".join(kept)


def unmark(text: str) -> str:
    """`text` without inline markup: roles, literals, links, emphasis."""
    text = _LINK.sub(r"\1", _ROLE.sub(r"\1", text))
    text = _TICKS.sub(r"\1", _LITERAL.sub(r"\1", text))
    return _STRONG.sub(r"\2", text)


def detokenise(text: str) -> str:
    """Undo the tokenisation of WikiText and drop its `<unk>`: `2 @.@ 7 kg ( one )` becomes `2.7 kg (one)`."""
    text = re.sub(r" ?<unk>", "", text)
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = re.sub(r'(^|\s)" ([^"]*?) "(?=\s|$)', r'\1"\2"', text)
    text = re.sub(r"(^|\s)' ([^']*?) '(?=\s|$)", r"\1'\2'", text)
    text = re.sub(r"([(\[$£€]) ", r"\1", text)
    text = re.sub(r" ([)\],.;:!?%])", r"\1", text)
    text = re.sub(r" (['’](?:s|t|d|m|ll|re|ve)\b)", r"\1", text)
    text = re.sub(r"(\w) n't\b", r"\1n't", text)
    text = re.sub(r"\(\s*[,;]?\s*\)", "", text)
    text = re.sub(r"(\d) – (\d)", r"\1–\2", text)
    return re.sub(r"[ \t]{2,}", " ", re.sub(r"[ \t]+([,.;:!?)])", r"\1", text)).strip()


def _items(block: str) -> list[str]:
    """A block of bullet points is several paragraphs."""
    items: list[list[str]] = [[]]
    for line in block.splitlines():
        if _BULLET.match(line):
            items.append([_BULLET.sub("", line)])
        else:
            items[-1].append(line)
    return ["\n".join(lines) for lines in items if lines]


def _paragraph(block: str) -> str | None:
    """One paragraph on one line, or None if it is no prose."""
    lines = [line for line in block.splitlines() if line.strip()]
    if not lines or any(_RULE.match(line) for line in lines) or _FIELD.match(lines[0]):
        return None
    if any(re.search(r"\S {3,}\S", line.strip()) for line in lines):  # columns
        return None
    plain = unmark(" ".join(line.strip() for line in lines))
    plain = re.sub(r"\s+", " ", plain).strip()
    plain = re.sub(r"::$", ":", plain)
    words = _WORD.findall(plain)
    letters = sum(character.isalpha() or character == " " for character in plain)
    if len(words) < 8 or letters < 0.88 * len(plain) or _CODE.search(plain):
        return None
    if not plain[0].isalpha() or plain[-1] not in ".:!?)":
        return None
    return plain
