"""What the reconstructor still reads when an explanation keeps its words and loses something else.

Two rewritings that need no second model: the words in random order (what is said by order alone is lost, and with it a
code that lives in it), and everything between quotation marks taken out (what is left is not a quote of the text).
Paraphrases and translations need a model that writes, and are left out.
"""

from __future__ import annotations

import re

import numpy as np
import torch

from nlae.evaluation.parts import Errors, put_control
from nlae.evaluation.subject import Subject
from nlae.functional.randomness import derive_seed

# a quote that the length limit has cut runs to the end; an apostrophe inside a word closes none
_QUOTES = re.compile(
    r"“[^”]*(?:”|$)|\"[^\"]*(?:\"|$)|«[^»]*(?:»|$)|(?<!\w)‘.*?’(?!\w)|(?<!\w)'.*?'(?!\w)|`[^`]*`", re.DOTALL
)


def shuffled_words(text: str, seed: int) -> str:
    """The words of `text` in an order drawn by `seed`, one blank between them."""
    words = text.split()
    return " ".join(words[place] for place in np.random.default_rng(seed).permutation(len(words)))


def without_quotes(text: str) -> str:
    """`text` without what stands in quotation marks, and without the marks."""
    return " ".join(_QUOTES.sub(" ", text).split())


def reworded(subject: Subject, errors: Errors) -> None:
    """`control/word_shuffle`, and `control/no_quotes` on the rows whose explanation quotes (`no_quotes_rows`)."""
    board, seed = subject.board, subject.settings.sample_seed
    rows = [int(row) for row in subject.rows.row]
    mixed = [
        shuffled_words(text, derive_seed(seed, "word_shuffle", row))
        for text, row in zip(subject.texts, rows, strict=True)
    ]
    put_control(subject, errors, "word_shuffle", board.error(subject.read(mixed, "words shuffled")))
    bare = [without_quotes(text) for text in subject.texts]
    quotes_N = torch.tensor([_QUOTES.search(text) is not None for text in subject.texts]) & subject.main_N
    board.put("control/no_quotes_rows", int(quotes_N.sum()))
    if quotes_N.any():
        error_N = board.error(subject.read(bare, "quotes taken out"))
        put_control(subject, errors, "no_quotes", error_N, quotes_N)
