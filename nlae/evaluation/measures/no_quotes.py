"""What is left of an explanation that quotes without its quotes."""

from __future__ import annotations

import re

import torch

from nlae.evaluation.record import EvaluationRecord

# a quote that the length limit has cut runs to the end; an apostrophe inside a word closes none
_QUOTES = re.compile(
    r"“[^”]*(?:”|$)|\"[^\"]*(?:\"|$)|«[^»]*(?:»|$)|(?<!\w)‘.*?’(?!\w)|(?<!\w)'.*?'(?!\w)|`[^`]*`", re.DOTALL
)


def without_quotes(text: str) -> str:
    """`text` without what stands in quotation marks, and without the marks."""
    return " ".join(_QUOTES.sub(" ", text).split())


class NoQuotes:
    """`control/no_quotes`: the explanation read without its quotes, on the rows that quote (`no_quotes_rows`)."""

    def __call__(self, record: EvaluationRecord) -> None:
        """See `Measure`."""
        bare = [without_quotes(text) for text in record.texts]
        quotes_N = torch.tensor([_QUOTES.search(text) is not None for text in record.texts]) & record.main_N
        record.board.put("control/no_quotes_rows", int(quotes_N.sum()))
        if quotes_N.any():
            record.put_control("no_quotes", record.board.error(record.read(bare, "quotes taken out")), quotes_N)
