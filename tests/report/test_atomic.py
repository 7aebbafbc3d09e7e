"""A file is there whole or not at all."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.report.atomic import atomic


def written(path, text, failure=None):
    with atomic(path) as temporary:
        temporary.write_text(text)
        assert temporary.parent == path.parent and temporary.name.startswith(f".{path.name}.")
        if failure:
            raise failure


def test_a_file_is_replaced_at_the_end_alone(tmp_path):
    path = tmp_path / "a.html"
    for text in ("one", "two"):
        written(path, text)
        assert path.read_text() == text
    for failure in (ValueError(), OSError(28, "No space left on device"), OSError("odd")):
        with pytest.raises((ValueError, HeapwrightError)) as raised:
            written(path, "three", failure)
        if isinstance(failure, OSError):
            reason = failure.strerror or "odd"
            told = f"cannot write {path}: {reason}; write elsewhere or make room."
            assert str(raised.value) == told
        assert path.read_text() == "two" and list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_refused_at_once(tmp_path):
    with (
        pytest.raises(HeapwrightError, match="is not a regular file; give the name of a file"),
        atomic(tmp_path),
    ):
        raise AssertionError
