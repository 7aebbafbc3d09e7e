"""A reader in a process of its own: what it is told, what it tells, what is left of it."""

import subprocess

import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers.isolation import isolated

READER = """
import os, signal
from heapwright.errors import HeapwrightError

def convert(path, output, advance, *more):
    for share in (0.25, 0.75):
        advance(share)
    partial = output.parent / f".{output.name}.{os.getpid()}.partial"
    partial.write_text(path.read_text() + " ".join(more))
    if "refuse" in more:
        raise HeapwrightError("this is no recording")
    if "fail" in more:
        raise ValueError
    if "crash" in more:
        os.kill(os.getpid(), signal.SIGSEGV)
    partial.rename(output)
"""


@pytest.fixture
def convert(tmp_path, monkeypatch):
    (tmp_path / "made_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "in").write_text("read: ")
    told = []

    def run(*more):
        isolated("made_reader", tmp_path / "in", tmp_path / "out" / "trace", told.append, *more)

    (tmp_path / "out").mkdir()
    return run, told, tmp_path / "out"


def test_shares_are_told_and_all_arguments_arrive(convert):
    run, told, output = convert
    run("one", "two")
    assert told == [0.25, 0.75]
    assert (output / "trace").read_text() == "read: one two"
    assert len(list(output.iterdir())) == 1


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("refuse", HeapwrightError, r"^this is no recording$"),
        ("crash", HeapwrightError, r"/in is damaged: made_reader's own reader crashed on it"),
        ("fail", RuntimeError, r"/in failed with status 1$"),
    ],
)
def test_what_breaks_off_is_told_and_leaves_nothing(convert, how, error, words):
    run, told, output = convert
    with pytest.raises(error, match=words):
        run(how)
    assert told[:2] == [0.25, 0.75]
    assert list(output.iterdir()) == []


def test_an_interrupted_import_asks_its_reader_to_end_at_once(convert, tmp_path, monkeypatch):
    _, _, output = convert
    asked = []

    def interrupt(share):
        raise KeyboardInterrupt

    def terminate(child):
        asked.append(child.poll())
        child.kill()

    monkeypatch.setattr(subprocess.Popen, "terminate", terminate)
    with pytest.raises(KeyboardInterrupt):
        isolated("made_reader", tmp_path / "in", output / "trace", interrupt)
    assert len(asked) == 1 and not list(output.glob(".*"))
