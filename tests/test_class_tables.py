"""Tables of size classes: from a file to a knob, and back."""

import json

import pytest

from heapwright.class_tables import keep, kept, read_table
from heapwright.errors import HeapwrightError
from heapwright.quantities import parse_knob
from heapwright.words import setting_text


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "content", [[64, 16, 16], {"sizes": [16, 64]}, {"best": {"sizes": [16, 64]}, "more": 1}]
)
def test_a_file_becomes_a_number_and_the_number_the_table(content, tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(content))
    assert read_table(tmp_path / "t.json") == [16, 64]
    number = parse_knob("classes", str(tmp_path / "t.json"))
    assert number == keep([16, 64]) and kept(number) == [16, 64]
    assert parse_knob("classes", setting_text("classes", number)) == number


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "holds no table"),
        (b'{"sizes": "many"}', "holds no table"),
        (b'{"sizes": [16, true]}', "holds no table"),
        (b"[]", "holds no classes, too many"),
        (b"[-16, 16]", "no sensible size"),
        (b"\xff\xfe", "holds no table"),
        (None, "cannot read the table of size classes"),
    ],
)
def test_what_is_no_table_is_a_sentence(content, sentence, tmp_path):
    path = tmp_path / "t.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HeapwrightError, match=sentence):
        parse_knob("classes", str(path))


def test_a_number_without_a_table_is_a_sentence():
    with pytest.raises(HeapwrightError, match="no table of size classes is kept here under 0x7b"):
        kept(123)
