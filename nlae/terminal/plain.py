"""Text that a terminal shows and does not obey: what models, files and servers say may hold its control sequences.

Also against text that reads other than it is stored: signs that change the direction of writing are made visible.
"""

import unicodedata

MARK = "\N{REPLACEMENT CHARACTER}"
# joiners shape Persian, Hindi and emoji, and do nothing else
_KEPT = frozenset("\n\t\u200c\u200d")


def plain(text: str) -> str:
    """`text` with every control and formatting character but line breaks, tabs and joiners replaced by a mark."""
    return text if text.isascii() and text.isprintable() else "".join(map(_plain, text))


def _plain(sign: str) -> str:
    if sign.isprintable() or sign in _KEPT:
        return sign
    return " " if unicodedata.category(sign) == "Zs" else MARK
