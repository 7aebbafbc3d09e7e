"""Counts in words."""

from heapwright.words import counted


def test_one_thing_is_no_plural():
    assert counted(1, "event") == "1 event"
    assert counted(0, "thread") == "0 threads"
    assert counted(12_345, "unmatched free") == "12,345 unmatched frees"
