"""Texts of a layer, line by line: what a kill leaves behind is gone on from."""

import pytest

from nlae.dictionary.describe.texts import SHARED, Request, write_texts

REQUESTS = [Request(SHARED, n) for n in range(6)]


def said(place: int) -> str:
    return f"text {place}: naïve\u2028two\u0085three\n“four”\r"


def test_lines_end_where_a_request_does_whatever_is_written(tmp_path):
    path, asked = tmp_path / "layer.jsonl", []

    def verbalize(places: list[int]) -> list[str]:
        asked.append(places)
        return [said(place) for place in places]

    first = write_texts(path, REQUESTS, verbalize, batch_size=2)
    whole = path.read_bytes()
    assert first == [said(place) for place in range(6)]
    assert write_texts(path, REQUESTS, verbalize, batch_size=2) == first
    assert asked == [[0, 1], [2, 3], [4, 5]]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("cut", [b"\xc3", b"\n", b"2028"])
def test_a_file_cut_anywhere_gives_the_same_texts(tmp_path, cut):
    path = tmp_path / "layer.jsonl"
    whole = write_texts(path, REQUESTS, lambda places: [said(place) for place in places], batch_size=2)
    written = path.read_bytes()
    path.write_bytes(written[: written.index(b'"context": 3')] + b'"text": "' + cut)
    asked: list[list[int]] = []

    def rest(places: list[int]) -> list[str]:
        asked.append(places)
        return [said(place) for place in places]

    assert write_texts(path, REQUESTS, rest, batch_size=2) == whole
    assert asked == [[2, 3], [4, 5]]
    assert path.read_bytes() == written
