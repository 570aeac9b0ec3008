"""Markup and tokenisation go, words stay."""

import pytest

from nlae.corpus.cleaning import detokenise, prose, unmark


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("weigh 0 @.@ 7 – 2 @.@ 2 kg ( 1 @.@ 5 lb )", "weigh 0.7–2.2 kg (1.5 lb)"),
        ("a species of <unk> lobster", "a species of lobster"),
        ("The first pair of <unk> is armed .", "The first pair of is armed."),
        ('becoming " lobster red " on cooking', 'becoming "lobster red" on cooking'),
        ("M @-@ 82 , 1 @,@ 000 men 's team", "M-82, 1,000 men's team"),
        ("it ( <unk> ) was", "it was"),
        ("we do n't know ; he 'll go !", "we don't know; he'll go!"),
        ('He said "no" (twice), and left.', 'He said "no" (twice), and left.'),
    ],
)
def test_detokenise(raw, clean):
    assert detokenise(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Use ``x`` or :func:`open` now", "Use x or open now"),
        ("see `the guide <http://x.y>`_", "see the guide"),
        ("**bold** and *soft*, 2*3*4", "bold and soft, 2*3*4"),
    ],
)
def test_unmark(raw, clean):
    assert unmark(raw) == clean


def test_prose_leaves_out_code_tables_and_headings():
    text = """
    The "if" statement
    ******************

    The statement is used for conditional execution of one part of a program:

       if_stmt ::= "if" assignment_expression ":" suite

    >>> if x:
    ...     print(x)

    +-----+-----+
    | a   | b   |

    It selects exactly one of the suites by evaluating the
    expressions one by one until one is found to be true.

    * The first point of the list is a whole sentence about the matter.
    * short
    """
    assert prose(text).split("\n\n") == [
        "The statement is used for conditional execution of one part of a program:",
        "It selects exactly one of the suites by evaluating the expressions one by one until one is found to be true.",
        "The first point of the list is a whole sentence about the matter.",
    ]
